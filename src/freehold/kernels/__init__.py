"""CPU kernels behind one small interface, each with its plain PyTorch twin.

`pack` replaces the modules of a loaded model by fused ones whose weights are laid out for the CPU's matrix units: the
same names, shapes and results, in less time. `refill` puts new weights into a packed model.

    >>> from freehold.kernels import pack
    >>> model = load_model(folder, torch.bfloat16)
    >>> report = pack(model)
    >>> report.packed_bytes, report.kept_bytes

What stands in the place of what:

- `Linear` -> `NativeLinear` where there are native kernels (`native/`), else `PackedLinear` where oneDNN takes the type
  on this CPU, else `PlainLinear`, the twin of both (`linear.py`; chosen in `forms.py`);
- `GroupedQueryAttention` -> `PackedAttention`: q, k and v from one matrix, rotated in one go, the residual added by
  the output projection (`attention.py`);
- `MLP`, also a mixture's experts -> `PackedMLP`: the gate's SiLU, the product with the up projection and the residual
  are done while the products are still in registers (`mlp.py`);
- `RMSNorm` -> `PackedRMSNorm` (`norm.py`).

`native_decoder` gives the whole stack of such layers as one native call, where all of them have native products.

Multi-head latent attention keeps its module and gets packed matrices, apart from `kv_b_proj`, whose halves are
absorbed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from freehold.kernels.invariance import rows_are_independent
    from freehold.kernels.native.decoder import NativeDecoder, Rows, native_decoder
    from freehold.kernels.prepack import PackReport, pack
    from freehold.kernels.weights import refill

__all__ = [
    "NativeDecoder",
    "PackReport",
    "Rows",
    "native_decoder",
    "pack",
    "refill",
    "rows_are_independent",
]

_HOMES = {
    "NativeDecoder": "native.decoder",
    "Rows": "native.decoder",
    "native_decoder": "native.decoder",
    "PackReport": "prepack",
    "pack": "prepack",
    "refill": "weights",
    "rows_are_independent": "invariance",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
