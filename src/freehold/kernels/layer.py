"""A decoder layer whose sublayers add the residual themselves.

Shapes: T tokens, D hidden.
"""

from __future__ import annotations

from torch import Tensor, nn

from freehold.kernels.attention import PackedAttention
from freehold.kernels.mlp import PackedMLP
from freehold.kernels.norm import PackedRMSNorm
from freehold.model.attention import Attend

__all__ = ["PackedDecoderLayer"]


class PackedDecoderLayer(nn.Module):
    """The packed form of `DecoderLayer`, its twin, with grouped-query attention and a dense feed-forward layer."""

    def __init__(
        self,
        self_attn: PackedAttention,
        mlp: PackedMLP,
        input_layernorm: PackedRMSNorm,
        post_attention_layernorm: PackedRMSNorm,
    ) -> None:
        super().__init__()
        self.self_attn = self_attn
        self.mlp = mlp
        self.input_layernorm = input_layernorm
        self.post_attention_layernorm = post_attention_layernorm

    def forward(self, x_TD: Tensor, rotation: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        """Returns (T, D)."""
        # `forward` itself: the call with its hooks would take a quarter of a millisecond a step over all layers
        x_TD = self.self_attn.forward(self.input_layernorm.forward(x_TD), rotation, attend, x_TD)
        return self.mlp.forward(self.post_attention_layernorm.forward(x_TD), x_TD)
