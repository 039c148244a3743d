"""Multi-token prediction: a module that looks one token further than the model (or module) before it.

Shapes: T tokens, D hidden, V vocabulary.

Departures:
1. Eq 21 concatenates hidden state and embedding in this order; the published `eh_proj` takes the embedding first.
2. The hidden state handed in is the one after the final norm (the module's own norm, for the next depth), as serving
   engines for the published weights have it; the report does not say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from freehold.model.config import ModelConfig
from freehold.model.linear import Embedding, Linear
from freehold.model.norm import RMSNorm

if TYPE_CHECKING:
    from freehold.model.attention import Attend

__all__ = ["MTPModule", "SharedHead"]


class SharedHead(nn.Module):
    """A norm and the output head, whose weight is the main model's (published as a copy)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.head = Linear(config.hidden_size, config.vocab_size, bias=False)


class MTPModule(nn.Module):
    """One depth of multi-token prediction, with published parameter names beside those of its Transformer block.

    Args:
        config: The whole model's.
        block: A decoder layer; its parts become this module's own.

    Source: DeepSeek-V3 report, section 2.2, Eqs 21-23; layout: `README_WEIGHTS.md` of DeepSeek-V3.
    """

    self_attn: nn.Module
    mlp: nn.Module
    input_layernorm: nn.Module
    post_attention_layernorm: nn.Module

    def __init__(self, config: ModelConfig, block: nn.Module) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.enorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.hnorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.eh_proj = Linear(2 * config.hidden_size, config.hidden_size, bias=False)
        for name, part in block.named_children():
            self.add_module(name, part)
        self.shared_head = SharedHead(config)

    def share(self, embed_tokens: nn.Embedding, lm_head: nn.Linear) -> None:
        """Makes the embedding and the head physically the main model's, as in section 2.2 of the report."""
        self.embed_tokens.weight = embed_tokens.weight
        self.shared_head.head.weight = lm_head.weight

    def forward(
        self, hidden_TD: Tensor, next_token_ids_T: Tensor, rotation: tuple[Tensor, Tensor], attend: Attend
    ) -> Tensor:
        """See `Transformer.predict_further`. Returns (T, D)."""
        embedded_TD = self.enorm(self.embed_tokens(next_token_ids_T))
        x_TD = self.eh_proj(torch.cat((embedded_TD, self.hnorm(hidden_TD)), dim=-1))
        x_TD = x_TD + self.self_attn(self.input_layernorm(x_TD), rotation, attend)
        x_TD = x_TD + self.mlp(self.post_attention_layernorm(x_TD))
        further_TD: Tensor = self.shared_head.norm(x_TD)
        return further_TD

    def logits(self, further_TD: Tensor) -> Tensor:
        """Scores of the token after the one that was fed in, (T, V) in float32."""
        scores_TV: Tensor = self.shared_head.head(further_TD)
        return scores_TV.float()
