"""The gated feed-forward layer, of dense layers, shared experts and routed experts alike."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from freehold.model.linear import Linear

__all__ = ["MLP"]


class MLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x)).

    Source: arXiv 2002.05202, Eq 6.
    """

    def __init__(self, hidden_size: int, intermediate_size: int, *, bias: bool = False) -> None:
        super().__init__()
        self.gate_proj = Linear(hidden_size, intermediate_size, bias=bias)
        self.up_proj = Linear(hidden_size, intermediate_size, bias=bias)
        self.down_proj = Linear(intermediate_size, hidden_size, bias=bias)

    def forward(self, x_TD: Tensor) -> Tensor:
        """Returns (T, D)."""
        out_TD: Tensor = self.down_proj(F.silu(self.gate_proj(x_TD)) * self.up_proj(x_TD))
        return out_TD
