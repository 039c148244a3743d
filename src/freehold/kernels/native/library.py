"""The native library: found, opened and checked, or absent.

It is built beside this package where a C++ compiler is at hand (`cpp/`, see `build.py`), once for each level of
instructions; the best one that this processor has is opened. It has no threads of its own: torch's OpenMP library lends
its pool, since a second one would fight with it for the processors.

Absent is a normal state: another system or processor, no compiler when Freehold was installed, or
`FREEHOLD_NATIVE=0`. Everything then runs in PyTorch. `FREEHOLD_NATIVE=avx2`, for instance, takes that level or none.
"""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import sys
from ctypes import CDLL, POINTER, Structure, byref, c_float, c_int64, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from freehold.errors import ConfigError
from freehold.kernels.native.build import LEVELS, is_current, library_path

__all__ = ["DecoderStruct", "LayerStruct", "LinearStruct", "Native", "PassStruct", "ProductStruct", "native"]

_logger = logging.getLogger(__name__)


class LinearStruct(Structure):
    """`Linear` of decoder.cpp."""

    _fields_ = (("packed", c_void_p), ("bias", c_void_p), ("n", c_int64), ("k", c_int64))


class LayerStruct(Structure):
    """`Layer` of decoder.cpp."""

    _fields_ = (
        *((name, LinearStruct) for name in ("qkv", "o", "gate", "up", "down")),
        *((name, c_void_p) for name in ("attention_norm", "mlp_norm", "q_norm", "k_norm")),
    )


class DecoderStruct(Structure):
    """`Decoder` of decoder.cpp."""

    _fields_ = (
        *((name, c_int64) for name in ("layers", "hidden", "heads", "groups", "head_size", "width", "rotated")),
        ("eps", c_float),
        ("scale", c_float),
        ("layer", POINTER(LayerStruct)),
        ("norm", c_void_p),
        ("rope", c_void_p),
        ("half", c_int64),
    )


class PassStruct(Structure):
    """`Pass` of decoder.cpp."""

    _fields_ = (
        ("rows", c_int64),
        *((name, c_void_p) for name in ("input", "output", "positions", "slots", "lengths", "table", "table_start")),
        ("cache", c_void_p),
        *((name, c_int64) for name in ("layer_stride", "slot_stride", "block_size")),
        ("workspace", c_void_p),
        ("workspace_bytes", c_int64),
        ("threads", c_int64),
    )


class ProductStruct(Structure):
    """`Product` of decoder.cpp."""

    _fields_ = (
        ("linear", LinearStruct),
        *((name, c_int64) for name in ("half", "half_out", "after", "rows")),
        *((name, c_void_p) for name in ("x", "other", "out", "workspace")),
        ("threads", c_int64),
    )


class _OpenMP(Structure):
    _fields_ = (("parallel", c_void_p), ("thread", c_void_p), ("threads", c_void_p))


@dataclass(frozen=True, slots=True)
class Native:
    """The opened library.

    Args:
        level: For which instructions it was compiled, one of `build.LEVELS`.
        tiles: Whether it multiplies bfloat16 with AMX; else in float32.
    """

    level: str
    tiles: bool
    _library: CDLL
    _openmp: _OpenMP

    def pack(self, weight: torch.Tensor, packed: torch.Tensor) -> None:
        """Copies a weight (N, K) into panels (see product.h); both contiguous, float32 or bfloat16, of one size."""
        self._copy(weight, packed, back=False)

    def unpack(self, packed: torch.Tensor, weight: torch.Tensor) -> None:
        """The inverse of `pack`."""
        self._copy(weight, packed, back=True)

    def _copy(self, weight: torch.Tensor, packed: torch.Tensor, *, back: bool) -> None:
        rows, columns = weight.shape
        half = weight.dtype == torch.bfloat16
        self._library.freehold_pack(weight.data_ptr(), packed.data_ptr(), rows, columns, half, back)

    def product(self, product: ProductStruct) -> None:
        """x W^T and what follows it."""
        self._library.freehold_product(byref(product), byref(self._openmp))

    def workspace_bytes(self, decoder: DecoderStruct, step: PassStruct) -> int:
        """What `decode` needs for this pass."""
        return int(self._library.freehold_workspace(byref(decoder), byref(step)))

    def decode(self, decoder: DecoderStruct, step: PassStruct) -> bool:
        """Takes rows through all layers; False where the workspace is too small, and nothing has happened."""
        return bool(self._library.freehold_decode(byref(decoder), byref(step), byref(self._openmp)) == 0)


@cache
def native() -> Native | None:
    """The library for this processor, or None where there is none.

    Raises:
        ConfigError: `FREEHOLD_NATIVE` is no level.
    """
    wanted = os.environ.get("FREEHOLD_NATIVE", "")
    names = [level.name for level in LEVELS]
    if wanted not in {"", "0", *names}:
        raise ConfigError(
            f"FREEHOLD_NATIVE is {wanted!r}; it must be 0 for no native kernels, or one of {', '.join(names)}. "
            "Leave it out to have the best that this processor can run."
        )
    if wanted == "0" or sys.platform != "linux" or platform.machine() != "x86_64":
        return None
    openmp = _openmp()
    if openmp is None:
        return None
    flags = _processor_flags()
    for level in LEVELS:
        path = library_path(level.name)
        if wanted in {"", level.name} and flags.issuperset(level.needs) and path.exists():
            if not is_current(path):
                _logger.warning("%s was made from other sources and is left alone; run make install", path.name)
                continue
            library = _open(path)
            if not level.tiles or library.freehold_allow_tiles():
                return Native(level.name, level.tiles, library, openmp)
    if wanted:
        _logger.warning("FREEHOLD_NATIVE is %s, which is not built or not for this processor; PyTorch computes", wanted)
    return None


def _open(path: Path) -> CDLL:
    library = CDLL(str(path))
    for name in ("freehold_allow_tiles", "freehold_workspace", "freehold_decode"):
        getattr(library, name).restype = c_int64
    library.freehold_pack.argtypes = (c_void_p, c_void_p, c_int64, c_int64, c_int64, c_int64)
    library.freehold_pack.restype = None
    library.freehold_product.argtypes = (c_void_p, c_void_p)
    library.freehold_product.restype = None
    library.freehold_workspace.argtypes = (c_void_p, c_void_p)
    library.freehold_decode.argtypes = (c_void_p, c_void_p, c_void_p)
    return library


def _openmp() -> _OpenMP | None:
    """The functions of GNU's OpenMP library that torch itself calls; None where its OpenMP is another.

    They are looked up through torch's library: other packages bring copies of their own, each with a pool of its own.
    """
    try:
        library = CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        names = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
        return _OpenMP(*(ctypes.cast(getattr(library, name), c_void_p) for name in names))
    except (OSError, AttributeError):
        return None


def _processor_flags() -> frozenset[str]:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()
