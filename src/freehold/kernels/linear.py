"""Matrix products for inference: a packed form, and its plain twin.

At small batches a product is a read of its weights, so what counts is how fast they stream. oneDNN's blocked layout
reads them at about the memory's speed, `F.linear` in bfloat16 at half of it, because it lays them out anew in every
call. Both forms take what follows a product in a transformer (adding the residual, SiLU, multiplying the gate) into the
call; the packed form applies it before the result leaves the registers.

Batch invariance: in float32 with AVX-512, a row of a packed product is the same, bit by bit, whatever other rows are
computed with it. oneDNN's kernels for two rows and more block the inner dimension alike; the one for a single row does
not, so that a single row is computed twice over. `F.linear` gives no such promise (MKL changes its order of adding
between 1 and 16 rows), nor do packed products in bfloat16. Elsewhere the rows agree to rounding.

Shapes: T tokens, K inputs, N outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from freehold.errors import WeightsError

__all__ = ["FusedLinear", "PackedLinear", "PlainLinear", "packs"]

_NO_SCALARS: list[int | float | None] = []
_PACK_ROWS = 16
"""For how many rows the layout is chosen; the layouts for 1 and 16 rows are the same, that for hundreds differs."""


@cache
def packs(dtype: torch.dtype) -> bool:
    """Whether this CPU has a packed form for the type; False sends everything to the plain twin.

    oneDNN must be there, and for bfloat16 the CPU must have at least AVX-512 (slower CPUs emulate it). float16 is left
    to the plain twin: only the newest CPUs compute in it.
    """
    if not torch.backends.mkldnn.enabled or not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


class FusedLinear(nn.Module, ABC):
    """x W^T + b, and what may follow it, in one call. For inference only: no gradients.

    Args:
        weight: (N, K).
        bias: (N,) or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.dtype = weight.dtype
        self._bias: Tensor | None = None
        self._has_bias = bias is not None
        self.load(weight, bias)

    def load(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """Takes new weights of the same shape; they are copied. Not safe while a forward pass runs.

        Args:
            weight: (N, K), in any floating type.
            bias: (N,), where the layer has one.

        Raises:
            WeightsError: A shape differs, or a bias is missing or too much.
        """
        if tuple(weight.shape) != (self.out_features, self.in_features):
            raise WeightsError(
                f"A weight of shape {list(weight.shape)} cannot go into a packed layer of shape "
                f"{[self.out_features, self.in_features]}; load a model of the new shape instead."
            )
        if (bias is not None) != self._has_bias or (bias is not None and tuple(bias.shape) != (self.out_features,)):
            raise WeightsError(
                f"The packed layer {'has' if self._has_bias else 'has no'} bias of {self.out_features} numbers; "
                f"got {'none' if bias is None else list(bias.shape)}."
            )
        with torch.no_grad():
            self._store(weight.detach().to(device="cpu", dtype=self.dtype))
            if bias is not None and self._bias is not None:
                self._bias.copy_(bias)
            elif bias is not None:
                self._bias = bias.detach().to(device="cpu", dtype=self.dtype, copy=True)

    @property
    @abstractmethod
    def weight(self) -> Tensor:
        """The weight (N, K) as it was loaded; the packed form makes a copy."""

    @property
    def bias(self) -> Tensor | None:
        """The bias (N,)."""
        return self._bias

    @property
    def nbytes(self) -> int:
        """Bytes of weight and bias."""
        return (self.in_features + self._has_bias) * self.out_features * self.dtype.itemsize

    @abstractmethod
    def _store(self, weight: Tensor) -> None:
        """Keeps a copy of the weight in the form's own layout."""

    @abstractmethod
    def forward(self, x_TK: Tensor) -> Tensor:
        """x W^T + b, (T, N)."""

    @abstractmethod
    def add(self, x_TK: Tensor, other_TN: Tensor) -> Tensor:
        """other + x W^T + b, (T, N)."""

    @abstractmethod
    def silu(self, x_TK: Tensor) -> Tensor:
        """silu(x W^T + b), (T, N)."""

    @abstractmethod
    def mul(self, x_TK: Tensor, other_TN: Tensor) -> Tensor:
        """other * (x W^T + b), (T, N)."""

    def extra_repr(self) -> str:
        """Shape and type, for printing."""
        return f"{self.in_features}, {self.out_features}, bias={self._has_bias}, dtype={self.dtype}"


class PlainLinear(FusedLinear):
    """The twin in plain PyTorch; also what runs where `packs` is False."""

    _weight: Tensor

    def _store(self, weight: Tensor) -> None:
        self._weight = weight.clone()

    @property
    def weight(self) -> Tensor:
        """The weight (N, K)."""
        return self._weight

    def forward(self, x_TK: Tensor) -> Tensor:
        """See `FusedLinear.forward`."""
        return F.linear(x_TK, self._weight, self._bias)

    def add(self, x_TK: Tensor, other_TN: Tensor) -> Tensor:
        """See `FusedLinear.add`."""
        return other_TN + self.forward(x_TK)

    def silu(self, x_TK: Tensor) -> Tensor:
        """See `FusedLinear.silu`."""
        return F.silu(self.forward(x_TK))

    def mul(self, x_TK: Tensor, other_TN: Tensor) -> Tensor:
        """See `FusedLinear.mul`."""
        return other_TN * self.forward(x_TK)


class PackedLinear(FusedLinear):
    """Weights in oneDNN's blocked layout. The original is not kept; `weight` lays it out anew."""

    _packed: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__(weight, bias)
        self._op = torch.ops.mkldnn._linear_pointwise.default
        self._binary_op = torch.ops.mkldnn._linear_pointwise.binary
        self._doubles_single_rows = self.dtype == torch.float32

    def _store(self, weight: Tensor) -> None:
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _PACK_ROWS)

    @property
    def weight(self) -> Tensor:
        """The weight (N, K), in fresh memory."""
        return self._packed.to_dense()

    def forward(self, x_TK: Tensor) -> Tensor:
        """See `FusedLinear.forward`."""
        return self._unary(x_TK, "none")

    def silu(self, x_TK: Tensor) -> Tensor:
        """See `FusedLinear.silu`."""
        return self._unary(x_TK, "swish")

    def add(self, x_TK: Tensor, other_TN: Tensor) -> Tensor:
        """See `FusedLinear.add`."""
        return self._binary(x_TK, other_TN, "add")

    def mul(self, x_TK: Tensor, other_TN: Tensor) -> Tensor:
        """See `FusedLinear.mul`."""
        return self._binary(x_TK, other_TN, "mul")

    def _unary(self, x_TK: Tensor, attribute: str) -> Tensor:
        if self._doubles_single_rows and x_TK.shape[0] == 1:
            return self._unary(x_TK.expand(2, -1), attribute)[:1]
        out_TN: Tensor = self._op(x_TK, self._packed, self._bias, attribute, _NO_SCALARS, "")
        return out_TN

    def _binary(self, x_TK: Tensor, other_TN: Tensor, attribute: str) -> Tensor:
        if self._doubles_single_rows and x_TK.shape[0] == 1:
            return self._binary(x_TK.expand(2, -1), other_TN.expand(2, -1), attribute)[:1]
        out_TN: Tensor = self._binary_op(x_TK, other_TN, self._packed, self._bias, attribute)
        return out_TN
