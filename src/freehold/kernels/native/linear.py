"""Matrix products by the native library (`cpp/product.h`), and what they ask of a matrix.

Shapes: T tokens, K inputs, N outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from freehold.kernels.linear import FusedLinear
from freehold.kernels.native.library import LinearStruct, Native, ProductStruct, native
from freehold.kernels.native.team import team_size

__all__ = ["NativeLinear", "takes"]

_TILE, _PANEL = 32, 16
_CHUNK = 128
"""Rows that the library takes at a time."""
_NOTHING, _SILU, _ADD, _MULTIPLY = range(4)


def takes(in_features: int, out_features: int, dtype: torch.dtype) -> bool:
    """Whether there is a native library, and a matrix of this shape and type fits its panels."""
    fits = in_features % _TILE == 0 and out_features % _PANEL == 0 and in_features > 0 and out_features > 0
    return fits and dtype in (torch.float32, torch.bfloat16) and native() is not None


class NativeLinear(FusedLinear):
    """Weights in panels, read once from start to end. The original is not kept; `weight` lays it out anew.

    A row of a product has the same bits whatever other rows are computed with it, in bfloat16 too. Its memory stays
    where it is when new weights are loaded.

    Args:
        weight: (N, K) that `takes` accepts.
        bias: (N,) or None.
        wide: Give results in float32, also where the weights are bfloat16 (they are summed in float32 anyway).
    """

    _packed: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None, *, wide: bool = False) -> None:
        library = native()
        if library is None:
            raise RuntimeError("There is no native library here; ask `takes` first.")
        self._library: Native = library
        self._out_dtype = torch.float32 if wide else weight.dtype
        super().__init__(weight, bias)

    def _store(self, weight: Tensor) -> None:
        if not hasattr(self, "_packed"):
            self._packed = torch.empty(self.out_features * self.in_features, dtype=self.dtype)
        self._library.pack(weight.contiguous(), self._packed)

    @property
    def weight(self) -> Tensor:
        """The weight (N, K), in fresh memory."""
        weight = torch.empty(self.out_features, self.in_features, dtype=self.dtype)
        self._library.unpack(self._packed, weight)
        return weight

    @property
    def struct(self) -> LinearStruct:
        """Where the weight and the bias lie; they stay there as long as the layer lives."""
        bias = None if self._bias is None else self._bias.data_ptr()
        return LinearStruct(self._packed.data_ptr(), bias, self.out_features, self.in_features)

    def forward(self, x_TK: Tensor) -> Tensor:
        """See `FusedLinear.forward`."""
        return self._product(x_TK, None, _NOTHING)

    def silu(self, x_TK: Tensor) -> Tensor:
        """See `FusedLinear.silu`."""
        return self._product(x_TK, None, _SILU)

    def add(self, x_TK: Tensor, other_TN: Tensor) -> Tensor:
        """See `FusedLinear.add`."""
        return self._product(x_TK, other_TN, _ADD)

    def mul(self, x_TK: Tensor, other_TN: Tensor) -> Tensor:
        """See `FusedLinear.mul`."""
        return self._product(x_TK, other_TN, _MULTIPLY)

    def _product(self, x_TK: Tensor, other_TN: Tensor | None, after: int) -> Tensor:
        rows, inputs = x_TK.shape
        if inputs != self.in_features or x_TK.dtype != self.dtype:
            raise ValueError(
                f"The layer takes {self.in_features} inputs in {self.dtype}; got {inputs} in {x_TK.dtype}."
            )
        out_TN = torch.empty(rows, self.out_features, dtype=self._out_dtype)
        if other_TN is not None:
            if other_TN.shape != out_TN.shape or other_TN.dtype != self.dtype:
                raise ValueError(
                    f"What follows the product must be {list(out_TN.shape)} in {self.dtype}; "
                    f"got {list(other_TN.shape)} in {other_TN.dtype}."
                )
            other_TN = other_TN.contiguous()
        if rows:
            x_TK = x_TK.contiguous()
            half = self.dtype == torch.bfloat16
            threads = team_size()
            widened = None
            if half and not self._library.tiles:
                widened = torch.empty(threads * _CHUNK * inputs, dtype=torch.float32)
            self._library.product(
                ProductStruct(
                    self.struct,
                    half,
                    self._out_dtype == torch.bfloat16,
                    after,
                    rows,
                    x_TK.data_ptr(),
                    None if other_TN is None else other_TN.data_ptr(),
                    out_TN.data_ptr(),
                    None if widened is None else widened.data_ptr(),
                    threads,
                )
            )
        return out_TN
