"""Grouped-query attention with one matrix for queries, keys and values, and the residual added on the way out.

Shapes: T tokens, D hidden, H query heads, G key/value heads, d head size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from freehold.kernels.forms import fused_linear
from freehold.kernels.rotary import rotate_packed
from freehold.model.attention import Attend
from freehold.model.gqa import GroupedQueryAttention

__all__ = ["PackedAttention"]


class PackedAttention(nn.Module):
    """The packed form of `GroupedQueryAttention`, its twin.

    Args:
        attention: The module to replace; its weights are copied into the packed layout.
    """

    def __init__(self, attention: GroupedQueryAttention) -> None:
        super().__init__()
        size = attention.head_dim
        self.layer, self.head_dim, self.scale = attention.layer, size, attention.scale
        self.num_heads = attention.q_proj.out_features // size
        self.num_groups = attention.k_proj.out_features // size
        self.qkv_proj = fused_linear(attention.q_proj, attention.k_proj, attention.v_proj)
        self.o_proj = fused_linear(attention.o_proj)
        self.q_norm, self.k_norm = attention.q_norm, attention.k_norm
        self.parts = {
            "q_proj": self.num_heads * size,
            "k_proj": self.num_groups * size,
            "v_proj": self.num_groups * size,
        }
        self._rotated = (self.num_heads + self.num_groups) * size

    def forward(self, x_TD: Tensor, rotation: tuple[Tensor, Tensor], attend: Attend, residual_TD: Tensor) -> Tensor:
        """Attends from each token to its own sequence's past, and adds the residual. Returns (T, D).

        Args:
            x_TD: Normalised input.
            rotation: From `PackedRope`.
            attend: Stores the keys and values.
            residual_TD: What the result is added to.
        """
        rows, heads, size = x_TD.shape[0], self.num_heads, self.head_dim
        qkv = self.qkv_proj.forward(x_TD)
        qk_THd = qkv[:, : self._rotated].view(rows, -1, size)
        if self.q_norm is not None and self.k_norm is not None:
            qk_THd = torch.cat((self.q_norm(qk_THd[:, :heads]), self.k_norm(qk_THd[:, heads:])), 1)
        qk_THd = rotate_packed(qk_THd, *rotation)
        v_TGd = qkv[:, self._rotated :].view(rows, -1, size)
        out_THd = attend.gqa(self.layer, qk_THd[:, :heads], qk_THd[:, heads:], v_TGd, self.scale)
        return self.o_proj.add(out_THd.reshape(rows, -1), residual_TD)
