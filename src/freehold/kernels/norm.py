"""Root-mean-square normalisation in few operations.

`F.rms_norm` on a CPU is some ten small operations. Between matrix products, whose weights have just driven everything
else out of the core's caches, each costs several times what it does in a loop of its own, so fewer matter. In bfloat16:

- one row: layer normalisation of (x, -x), whose mean is zero and whose variance is x's mean square, is RMS
  normalisation, in one fused operation;
- more rows: x w sqrt(D) / hypot(|x|, sqrt(D eps)), which is the same formula.

Both compute in float32 and round once, as the twin (`RMSNorm`, plain `F.rms_norm`) does. float32 keeps the twin's own
operation, so that results do not change with the number of rows.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from freehold.errors import WeightsError
from freehold.model.norm import RMSNorm

__all__ = ["PackedRMSNorm"]


class PackedRMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last of two dimensions.

    Args:
        norm: The module to replace; its weight is copied.

    Source: arXiv 1910.07467, Eq 4.
    """

    def __init__(self, norm: RMSNorm) -> None:
        super().__init__()
        self.eps = norm.eps
        self.size = norm.weight.shape[0]
        self.dtype = norm.weight.dtype
        self._floor = torch.tensor(math.sqrt(self.size * self.eps))
        self._signs_21 = torch.tensor([[1.0], [-1.0]], dtype=self.dtype)
        self.weight = torch.empty(self.size, dtype=self.dtype)
        self.load(norm.weight)

    def load(self, weight: Tensor) -> None:
        """Takes new weights; they are copied. Not safe while a forward pass runs.

        Raises:
            WeightsError: The shape differs.
        """
        if tuple(weight.shape) != (self.size,):
            raise WeightsError(f"A weight of shape {list(weight.shape)} cannot go into a norm of {self.size} numbers.")
        with torch.no_grad():
            self.weight.copy_(weight)
        self._scaled_D = self.weight.float() * math.sqrt(self.size)
        self._twice_2D = torch.stack((self.weight, self.weight))

    def forward(self, x_TD: Tensor) -> Tensor:
        """Normalises each row; shape and type stay."""
        if x_TD.dtype != torch.bfloat16:
            return F.rms_norm(x_TD, (self.size,), self.weight, self.eps)
        if x_TD.shape[0] == 1:
            both_2D = x_TD * self._signs_21
            return torch.layer_norm(both_2D, both_2D.shape, self._twice_2D, None, self.eps)[:1]
        length_T1 = torch.hypot(torch.linalg.vector_norm(x_TD, 2, -1, True, dtype=torch.float32), self._floor)
        return torch.div(x_TD * self._scaled_D, length_T1, out=torch.empty_like(x_TD))

    def extra_repr(self) -> str:
        """Size and eps, for printing."""
        return f"{self.size}, eps={self.eps:g}"
