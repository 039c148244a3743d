"""Grouped-query attention: the layer, and its mathematics over padded batches.

Shapes: B batch, T query, S key, D hidden, H query heads, G key/value heads, d head size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from freehold.model.config import ModelConfig
from freehold.model.linear import Linear
from freehold.model.norm import RMSNorm
from freehold.model.rope import rotate_half_split

if TYPE_CHECKING:
    from freehold.model.attention import Attend

__all__ = ["GroupedQueryAttention", "gqa"]


def gqa(q_BTHd: Tensor, k_BSGd: Tensor, v_BSGd: Tensor, mask_BTS: Tensor | None, scale: float) -> Tensor:
    """Softmax attention in which H/G query heads share each key/value head.

    Args:
        q_BTHd: Queries, rotary embedding applied.
        k_BSGd: Keys, likewise.
        v_BSGd: Values.
        mask_BTS: True where a query may see a key (T or B may be 1 to be shared); None means causal, with T = S. Rows
            that see nothing have no meaning; keys and values that nobody sees must still be finite.
        scale: Of the products before the softmax.

    Returns:
        (B, T, H, d).

    Source: GQA (arXiv 2305.13245), section 2.2.
    """
    batch, queries, heads, size = q_BTHd.shape
    groups = k_BSGd.shape[2]
    k_BGSd, v_BGSd = k_BSGd.transpose(1, 2), v_BSGd.transpose(1, 2)
    if queries == 1 and mask_BTS is not None:
        # One token per sequence: the heads of a group are rows against the same keys, which are then never repeated.
        rows = q_BTHd.reshape(batch, groups, heads // groups, size)
        out = F.scaled_dot_product_attention(rows, k_BGSd, v_BGSd, attn_mask=mask_BTS[:, None], scale=scale)
        return out.reshape(batch, 1, heads, -1)
    out = F.scaled_dot_product_attention(
        q_BTHd.transpose(1, 2),
        k_BGSd,
        v_BGSd,
        attn_mask=None if mask_BTS is None else mask_BTS[:, None],
        is_causal=mask_BTS is None,
        scale=scale,
        enable_gqa=heads != groups,
    )
    return out.transpose(1, 2)


class GroupedQueryAttention(nn.Module):
    """Attention of Llama, Qwen2 (biases on q, k, v) and Qwen3 (normalised query and key heads).

    Source: `LlamaAttention`, `Qwen2Attention`, `Qwen3Attention` of transformers; Qwen3 (arXiv 2505.09388), section 2.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        heads, groups, size = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        self.layer = layer
        self.head_dim = size
        self.scale = config.softmax_scale
        self.q_proj = Linear(config.hidden_size, heads * size, bias=config.attention_bias)
        self.k_proj = Linear(config.hidden_size, groups * size, bias=config.attention_bias)
        self.v_proj = Linear(config.hidden_size, groups * size, bias=config.attention_bias)
        self.o_proj = Linear(heads * size, config.hidden_size, bias=config.attention_out_bias)
        self.q_norm = RMSNorm(size, config.rms_norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(size, config.rms_norm_eps) if config.qk_norm else None

    def forward(self, x_TD: Tensor, rotation: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        """Attends from each token to its own sequence's past. `attend` stores the keys and values. Returns (T, D)."""
        q_THd = self.q_proj(x_TD).unflatten(-1, (-1, self.head_dim))
        k_TGd = self.k_proj(x_TD).unflatten(-1, (-1, self.head_dim))
        v_TGd = self.v_proj(x_TD).unflatten(-1, (-1, self.head_dim))
        if self.q_norm is not None and self.k_norm is not None:
            q_THd, k_TGd = self.q_norm(q_THd), self.k_norm(k_TGd)
        q_THd, k_TGd = rotate_half_split(q_THd, *rotation), rotate_half_split(k_TGd, *rotation)
        out_THd = attend.gqa(self.layer, q_THd, k_TGd, v_TGd, self.scale)
        out_TD: Tensor = self.o_proj(out_THd.flatten(1))
        return out_TD
