"""Whether a row of a step depends on the other rows."""

from __future__ import annotations

import torch
from torch import nn

from freehold.kernels.linear import FusedLinear, PackedLinear
from freehold.kernels.native.linear import NativeLinear
from freehold.model.transformer import Transformer

__all__ = ["rows_are_independent"]


def rows_are_independent(model: Transformer) -> bool:
    """Whether every product of a model gives a row the same bits whatever other rows are computed with it.

    So it is with native products, and with oneDNN's in float32 on AVX-512 (see `linear.py`), in dense models with
    grouped-query attention. Experts see other numbers of rows anyway, and latent attention has products of its own.
    """
    config = model.config
    if config.kind != "gqa" or any(config.is_moe_layer(layer) for layer in range(config.num_hidden_layers)):
        return False
    return all(_is_independent(module) for module in model.modules() if isinstance(module, nn.Linear | FusedLinear))


def _is_independent(product: nn.Module) -> bool:
    if isinstance(product, NativeLinear):
        return True
    is_wide = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return isinstance(product, PackedLinear) and product.dtype == torch.float32 and is_wide
