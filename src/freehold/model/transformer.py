"""The whole model: embedding, layers, head, and the multi-token prediction modules.

A forward pass takes one flat run of tokens that may belong to many sequences; an `Attend` (see `attention.py`) knows
which is whose, and keeps the cache. Names of parameters are those of the published weights, so that `state_dict()` is a
release.

    >>> model = Transformer.random(ModelConfig.from_folder(folder), seed=0)
    >>> hidden_TD = model(token_ids_T, positions_T, DenseAttend([len(token_ids_T)]))
    >>> model.logits(hidden_TD)

Shapes: T tokens, D hidden, V vocabulary.
"""

from __future__ import annotations

from itertools import islice

import torch
from torch import Tensor, nn

from freehold.model.attention import Attend
from freehold.model.config import ModelConfig
from freehold.model.gqa import GroupedQueryAttention
from freehold.model.linear import Embedding, Linear
from freehold.model.mla import MultiHeadLatentAttention
from freehold.model.mlp import MLP
from freehold.model.moe import MoE, Router
from freehold.model.mtp import MTPModule
from freehold.model.norm import RMSNorm
from freehold.model.rope import Rope

__all__ = ["Backbone", "DecoderLayer", "Transformer"]

_INIT_STD = 0.006


class DecoderLayer(nn.Module):
    """Pre-norm attention and feed-forward, each with a residual connection."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.self_attn: nn.Module = (
            MultiHeadLatentAttention(config, layer) if config.kind == "mla" else GroupedQueryAttention(config, layer)
        )
        self.mlp: nn.Module = (
            MoE(config)
            if config.is_moe_layer(layer)
            else MLP(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        )
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x_TD: Tensor, rotation: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        """Returns (T, D)."""
        x_TD = x_TD + self.self_attn(self.input_layernorm(x_TD), rotation, attend)
        out_TD: Tensor = x_TD + self.mlp(self.post_attention_layernorm(x_TD))
        return out_TD


class Backbone(nn.Module):
    """Embedding, layers and final norm. MTP modules stand in `layers` after the last one, as published."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config, layer) for layer in range(config.num_hidden_layers))
        for layer in range(config.num_hidden_layers, config.num_layers_with_mtp):
            self.layers.append(MTPModule(config, DecoderLayer(config, layer)))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class Transformer(nn.Module):
    """A causal language model of any family that `ModelConfig` knows.

    Args:
        config: Its shape. Weights are allocated but not drawn; see `random` and `weights.load_model`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Backbone(config)
        self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight
        self.rope = Rope(config)

    @classmethod
    def random(cls, config: ModelConfig, seed: int, dtype: torch.dtype = torch.float32) -> Transformer:
        """A model to train from scratch: matrices drawn with a standard deviation of 0.006, norms one, biases zero.

        Source: DeepSeek-V3 report, section 4.2.
        """
        model = cls(config)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim >= 2:
                    parameter.normal_(0.0, _INIT_STD, generator=generator)
                elif name.endswith("bias"):
                    parameter.zero_()
            for module in model.mtp:
                module.share(model.model.embed_tokens, model.lm_head)
        return model.cast(dtype)

    def cast(self, dtype: torch.dtype) -> Transformer:
        """Changes the weights' type in place, except routers and rotary tables, which stay in float32."""
        for module in self.modules():
            if not isinstance(module, Router | Rope):
                for parameter in module.parameters(recurse=False):
                    parameter.data = parameter.data.to(dtype)
        return self

    @property
    def mtp(self) -> list[MTPModule]:
        """The multi-token prediction modules, by depth; empty where the model has none."""
        return [module for module in self.model.layers if isinstance(module, MTPModule)]

    def forward(self, token_ids_T: Tensor, positions_T: Tensor, attend: Attend) -> Tensor:
        """Runs the layers over one step's tokens.

        Args:
            token_ids_T: Token ids, of all sequences in the step one after the other.
            positions_T: Each token's position in its own sequence, from 0, under `config.context_length`.
            attend: Knows the sequences; its cache, where it has one, is extended.

        Returns:
            The hidden state after the final norm, (T, D).
        """
        x_TD = self.model.embed_tokens(token_ids_T)
        rotation = self.rope(positions_T)
        for layer in islice(self.model.layers, self.config.num_hidden_layers):
            x_TD = layer(x_TD, rotation, attend)
        out_TD: Tensor = self.model.norm(x_TD)
        return out_TD

    def logits(self, hidden_TD: Tensor) -> Tensor:
        """Scores of every token of the vocabulary to come next, (T, V) in float32."""
        scores_TV: Tensor = self.lm_head(hidden_TD)
        return scores_TV.float()

    def predict_further(
        self, depth: int, hidden_TD: Tensor, next_token_ids_T: Tensor, positions_T: Tensor, attend: Attend
    ) -> Tensor:
        """Runs one multi-token prediction module; its `logits` then predict one token further than the input's.

        Args:
            depth: Which module, from 0.
            hidden_TD: What `forward` gave for these tokens (depth 0), or what this gave for depth - 1.
            next_token_ids_T: At depth k and position i, token i + k + 1.
            positions_T: Position i of each.
            attend: As in `forward`; the module's cache is that of layer `num_hidden_layers + depth`.

        Returns:
            The hidden state after the module's own norm, (T, D). `mtp[depth].logits` of it scores token i + k + 2.

        Raises:
            IndexError: The model has no such module.
        """
        further_TD: Tensor = self.mtp[depth](hidden_TD, next_token_ids_T, self.rope(positions_T), attend)
        return further_TD
