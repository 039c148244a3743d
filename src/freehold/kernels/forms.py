"""Which form of a matrix product stands for a layer on this machine."""

from __future__ import annotations

import torch
from torch import nn

from freehold.kernels.linear import FusedLinear, PackedLinear, PlainLinear, packs
from freehold.kernels.native.linear import NativeLinear, takes

__all__ = ["fused_linear"]


def fused_linear(*layers: nn.Linear, wide: bool = False) -> FusedLinear:
    """Makes one layer of several that see the same input; their outputs then lie side by side.

    Args:
        *layers: At least one; all of one type and width, and all with a bias or all without.
        wide: Give results in float32 where that costs nothing; elsewhere they come in the weights' type.

    Returns:
        The native form where there is one, else oneDNN's, else the plain one.
    """
    weights = [layer.weight.detach() for layer in layers]
    biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
    weight = weights[0] if len(weights) == 1 else torch.cat(weights)
    bias = (biases[0] if len(biases) == 1 else torch.cat(biases)) if biases else None
    if takes(weight.shape[1], weight.shape[0], weight.dtype):
        return NativeLinear(weight, bias, wide=wide)
    return (PackedLinear if packs(weight.dtype) else PlainLinear)(weight, bias)
