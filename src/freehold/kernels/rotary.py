"""Rotary embedding of all query and key heads of a layer in three operations.

The rotation of pairs (i, i + r/2) is x * (cos, cos) + swap(x) * (-sin, sin), where swap exchanges the halves of a head.
Tables hold the doubled cosines and the signed sines of every position in the model's own type. In bfloat16 they are
rounded, as those of `transformers` are, which is where the models were trained; the twin, `rotate_half_split`, computes
in float32.

Shapes: P positions, T tokens, H heads (queries' and keys'), r head size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from freehold.model.rope import Rope

__all__ = ["PackedRope", "rotate_packed"]


class PackedRope(nn.Module):
    """Looks up each token's factors once a step, for all layers.

    Args:
        rope: The tables to take over.
        dtype: Of queries and keys.
    """

    table: Tensor
    """Cosines, then sines, in float32 (P, r)."""

    def __init__(self, rope: Rope, dtype: torch.dtype) -> None:
        super().__init__()
        self.table = rope.table
        cos, sin = rope.table.chunk(2, dim=-1)
        self._cos_Pr = torch.cat((cos, cos), dim=-1).to(dtype)
        self._sin_Pr = torch.cat((-sin, sin), dim=-1).to(dtype)

    def forward(self, positions_T: Tensor) -> tuple[Tensor, Tensor]:
        """Factors of a head and of its swapped halves, each (T, 1, r)."""
        return self._cos_Pr[positions_T].unsqueeze(1), self._sin_Pr[positions_T].unsqueeze(1)


def rotate_packed(x_THr: Tensor, cos_T1r: Tensor, sin_T1r: Tensor) -> Tensor:
    """Rotates every head with the factors of `PackedRope`."""
    swapped_THr = torch.roll(x_THr, x_THr.shape[-1] // 2, -1)
    return torch.addcmul(x_THr * cos_T1r, swapped_THr, sin_T1r)
