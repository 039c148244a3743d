"""The gated feed-forward layer with everything between its products taken into them.

Shapes: T tokens, D hidden, F width.
"""

from __future__ import annotations

from torch import Tensor, nn

from freehold.kernels.forms import fused_linear
from freehold.model.mlp import MLP

__all__ = ["PackedMLP"]


class PackedMLP(nn.Module):
    """The packed form of `MLP`, its twin: down(silu(gate(x)) * up(x)), plus a residual where one is given.

    Args:
        mlp: The module to replace; its weights are copied into the packed layout.
    """

    def __init__(self, mlp: MLP) -> None:
        super().__init__()
        self.gate_proj = fused_linear(mlp.gate_proj)
        self.up_proj = fused_linear(mlp.up_proj)
        self.down_proj = fused_linear(mlp.down_proj)

    def forward(self, x_TD: Tensor, residual_TD: Tensor | None = None) -> Tensor:
        """Returns (T, D)."""
        inner_TF = self.up_proj.mul(x_TD, self.gate_proj.silu(x_TD))
        return self.down_proj(inner_TF) if residual_TD is None else self.down_proj.add(inner_TF, residual_TD)
