"""What a model is made of, as its published `config.json` states it; without torch.

>>> config = ModelConfig.from_folder(Path("DeepSeek-V3"))
>>> config.kind, config.cache_width, config.context_length
('mla', 576, 163840)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from freehold.model.families import MAX_POSITIONS, Architecture, read_config
from freehold.model.fields import read_json_object
from freehold.model.rope_config import RopeConfig

__all__ = ["Architecture", "ModelConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The shape and the mathematics of one model; field names are those of the published configurations.

    Args:
        architecture: Which family; decides the defaults that a configuration leaves out.
        attention_bias: Biases on q, k and v (GQA), or on `q_a_proj` and `kv_a_proj_with_mqa` (MLA).
        attention_out_bias: A bias on `o_proj`.
        mlp_bias: Biases in the dense feed-forward layers.
        qk_norm: RMSNorm on every query and key head (Qwen3).
        head_dim: Of a query head, its rotary part included.
        q_lora_rank: Width of MLA's compressed queries; None where they are not compressed.
        rope_interleave: The rotary part of MLA's projections has its pairs side by side, as DeepSeek publishes them.
        n_routed_experts: 0 in a dense model.
        n_shared_experts: How many experts' width every token passes through besides.
        first_k_dense_replace: Layers before this one are dense.
        moe_layer_freq: Of the others, those whose index it divides have experts.
        scoring_func: How router logits become scores.
        topk_method: `greedy`; `group_limited_greedy` (V2: a group's score is its best expert's); `noaux_tc` (V3: it is
            the sum of its two best, and a selection bias is added for choosing only).
        num_nextn_predict_layers: Multi-token prediction modules stored after the last layer.
        eos_token_ids: Tokens that end an answer, of `config.json` and `generation_config.json` together.
        dtype: In which type the weights were published, where stated.
        fp8_block: Rows and columns that share one scale in an FP8 checkpoint; None in others.
    """

    architecture: Architecture
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    attention_out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    rope: RopeConfig = field(default_factory=RopeConfig)
    q_lora_rank: int | None = None
    kv_lora_rank: int = 0
    qk_nope_head_dim: int = 0
    qk_rope_head_dim: int = 0
    v_head_dim: int = 0
    rope_interleave: bool = True
    n_routed_experts: int = 0
    n_shared_experts: int = 0
    num_experts_per_tok: int = 0
    moe_intermediate_size: int = 0
    first_k_dense_replace: int = 0
    moe_layer_freq: int = 1
    n_group: int = 1
    topk_group: int = 1
    scoring_func: Literal["sigmoid", "softmax"] = "softmax"
    topk_method: Literal["greedy", "group_limited_greedy", "noaux_tc"] = "greedy"
    norm_topk_prob: bool = False
    routed_scaling_factor: float = 1.0
    num_nextn_predict_layers: int = 0
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    dtype: str | None = None
    fp8_block: tuple[int, int] | None = None

    @classmethod
    def from_folder(cls, folder: Path | str) -> ModelConfig:
        """Reads `config.json` of a model folder, and the end tokens of `generation_config.json` where there is one.

        Raises:
            ConfigError: The file is missing or malformed, names an unknown architecture, or states what is not offered.
        """
        folder = Path(folder)
        config = read_json_object(folder / "config.json")
        generation = folder / "generation_config.json"
        ends = read_json_object(generation).get("eos_token_id") if generation.is_file() else None
        return cls.from_dict(config, generation_eos=ends)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], *, generation_eos: Any = None) -> ModelConfig:
        """Reads a parsed `config.json`.

        Args:
            config: The parsed object.
            generation_eos: `eos_token_id` of `generation_config.json`, an id or a list of them.

        Raises:
            ConfigError: As `from_folder`.
        """
        return cls(**read_config(config, generation_eos))

    @property
    def kind(self) -> Literal["gqa", "mla"]:
        """Which attention, and so what a cache holds."""
        return "mla" if self.kv_lora_rank else "gqa"

    @property
    def cache_width(self) -> int:
        """Numbers cached per token and layer: the latent with its rotary key (MLA), or all keys and values (GQA)."""
        if self.kind == "mla":
            return self.kv_lora_rank + self.qk_rope_head_dim
        return 2 * self.num_key_value_heads * self.head_dim

    @property
    def num_layers_with_mtp(self) -> int:
        """Layers that attend, the multi-token prediction modules' included."""
        return self.num_hidden_layers + self.num_nextn_predict_layers

    @property
    def context_length(self) -> int:
        """Most tokens of one sequence. YaRN may state its original length only; the longer of both counts."""
        if self.rope.rope_type == "yarn":
            stretched = int(self.rope.factor * self.rope.original_max_position_embeddings)
            return min(max(self.max_position_embeddings, stretched), MAX_POSITIONS)
        return self.max_position_embeddings

    @property
    def rotary_dim(self) -> int:
        """Numbers of a head that rotate."""
        return self.qk_rope_head_dim if self.kind == "mla" else self.head_dim

    @property
    def softmax_scale(self) -> float:
        """What query-key products are multiplied with: 1/sqrt(head size), and YaRN's correction for MLA."""
        scale = float(self.head_dim**-0.5)
        return scale * self.rope.softmax_scale_factor if self.kind == "mla" else scale

    def is_moe_layer(self, layer: int) -> bool:
        """Whether this layer routes to experts; MTP modules are counted after the last layer."""
        if self.n_routed_experts == 0:
            return False
        return layer >= self.first_k_dense_replace and layer % self.moe_layer_freq == 0
