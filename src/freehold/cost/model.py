"""What a model weighs, keeps in its cache, and computes per token: sums over the walk of its architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from freehold.cost.shape import Shape
from freehold.cost.walk import Part, attentions, walk
from freehold.errors import ConfigError

__all__ = ["FORMATS", "ModelCost", "model_cost"]

FORMATS: Mapping[str, float] = {
    "float32": 4.0,
    "bfloat16": 2.0,
    "fp8": 1.0 + 4.0 / (128 * 128),
    "q8_0": 34.0 / 32.0,
    "q4_0": 18.0 / 32.0,
    "q4_1": 20.0 / 32.0,
}
"""Bytes of one weight. fp8: one float32 scale for 128 x 128 of them (DeepSeek-V3 report, 3.3.2); the others: blocks of
32 with a float16 scale, q4_1 also with a minimum (ggml's `ggml-common.h`)."""

_BACKWARD = 2
"""FLOPs backward for each forward: one product for the input's gradient, one for the weight's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCost:
    """A model at one context length.

    Args:
        context: Tokens of a sequence. A token of it sees (context + 1) / 2 keys on average, itself included.
        params_total: Numbers stored, without multi-token prediction.
        params_active: Numbers that one token passes through, the embedding's table and the head counted whole.
        params_active_head_only: Likewise without the embedding, of which a token reads one row.
        params_active_no_embeddings: Likewise without the head.
        params_with_mtp: Numbers stored, with the multi-token prediction modules (embedding and head shared).
        kv_bytes_per_token: Of the cache, in bfloat16, over all layers.
        forward_flops_per_token: Of matrices, and of attention over the average number of keys.
        attention_flops_per_token: The part of attention.
        train_flops_per_token: Forward and backward, without multi-token prediction and without recomputation.
        weight_bytes: Of all weights without multi-token prediction, by format.
    """

    context: int
    params_total: int
    params_active: int
    params_active_head_only: int
    params_active_no_embeddings: int
    params_with_mtp: int
    kv_bytes_per_token: int
    forward_flops_per_token: float
    attention_flops_per_token: float
    train_flops_per_token: float
    weight_bytes: Mapping[str, int]


def model_cost(shape: Shape, context: int) -> ModelCost:
    """Sums a model up.

    Args:
        shape: Of the model.
        context: Tokens of a sequence, 1 or more.

    Raises:
        ConfigError: The context is not positive.

    Source: causal attention is counted over the keys that a token sees, as DeepSeek does (arXiv 2505.09343, Table 2).
    """
    if context < 1:
        raise ConfigError(f"The context is {context} tokens; it must be at least 1.")
    parts = [part for part in walk(shape) if not part.mtp]
    total = sum(part.params for part in parts)
    active = sum(part.active for part in parts)
    without_embedding = _active(parts, without=("embedding",))
    keys = (context + 1) / 2
    attention = sum(a.flops(keys) for a in attentions(shape) if not a.mtp)
    forward = sum(part.flops for part in parts) + attention
    return ModelCost(
        context=context,
        params_total=total,
        params_active=active,
        params_active_head_only=without_embedding,
        params_active_no_embeddings=_active(parts, without=("embedding", "head")),
        params_with_mtp=sum(part.params for part in walk(shape)),
        kv_bytes_per_token=cache_numbers(shape) * 2,
        forward_flops_per_token=forward,
        attention_flops_per_token=attention,
        train_flops_per_token=forward * (1 + _BACKWARD),
        weight_bytes={name: round(total * size) for name, size in FORMATS.items()},
    )


def cache_numbers(shape: Shape) -> int:
    """Numbers that the cache keeps of one token: keys and values, or MLA's latent; and the indexer's key, where there
    is one."""
    width = shape.kv_lora_rank + shape.qk_rope_head_dim if shape.latent else 2 * shape.kv_heads * shape.head_size
    return shape.layers * (width + (shape.index_head_size if shape.index_heads else 0))


def _active(parts: list[Part], without: tuple[str, ...]) -> int:
    return sum(part.active for part in parts if part.kind not in without)
