"""The tensors of a published model folder: one safetensors file, or shards with an index; read through memory maps.

Headers are checked by the safetensors library (sizes, offsets, no gaps or overlaps) before anything is read; nothing of
a folder is ever executed or unpickled.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from torch import Tensor

from freehold.errors import ConfigError, WeightsError
from freehold.model.fields import read_json_object

__all__ = ["Checkpoint", "Piece", "TensorInfo", "list_some"]

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_UNSAFE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1}
_MIN_WINDOW_BYTES = 16 * 2**20
_WINDOWS_PER_FILE = 256


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where a tensor lies and what it is; `dtype` as safetensors spells it (`BF16`, `F8_E4M3`)."""

    file: Path
    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Size in the file."""
        count = 1
        for side in self.shape:
            count *= side
        return count * _BYTES.get(self.dtype, 8)


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of a tensor from `start` on (all of them, unless it is large), as a view of a memory map: copy it."""

    name: str
    start: int
    tensor: Tensor


class Checkpoint:
    """What a folder holds, by name. Opening reads headers only.

    Args:
        folder: A model folder as published.

    Raises:
        WeightsError: No weights, a shard that is missing or malformed, an index that does not fit its shards, a tensor
            of a type that is not read, or weights in a format that can carry code.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        files = _files(folder)
        self.tensors: dict[str, TensorInfo] = {}
        self._order: dict[Path, list[str]] = {}
        for file, promised in files.items():
            self._read_header(file, promised)

    def read(self, names: set[str], row_multiple: int = 1) -> Iterator[Piece]:
        """Yields the named tensors in the order of the files, piece by piece.

        The map is dropped after every window of a file (16 MiB, or 1/256 of a larger file), so that pages already read
        do not count against this process.

        Args:
            names: Tensors that the checkpoint has.
            row_multiple: Large tensors are cut at multiples of this many rows only.
        """
        for file, order in self._order.items():
            limit = max(_MIN_WINDOW_BYTES, file.stat().st_size // _WINDOWS_PER_FILE)
            spans = [
                span
                for name in order
                if name in names
                for span in _spans(name, self.tensors[name], limit, row_multiple)
            ]
            for window in _windows(spans, limit):
                with _opened(file) as reader:
                    for span in window:
                        whole = reader.get_tensor(span.name)
                        yield Piece(span.name, span.start, whole[span.start : span.stop] if whole.ndim else whole)

    def _read_header(self, file: Path, promised: set[str] | None) -> None:
        with _opened(file) as reader:
            order = list(reader.offset_keys())
            for name in order:
                piece = reader.get_slice(name)
                info = TensorInfo(file, tuple(piece.get_shape()), piece.get_dtype())
                if name in self.tensors:
                    raise WeightsError(
                        f"{name} lies in {self.tensors[name].file.name} and in {file.name}; fetch both again."
                    )
                self.tensors[name] = info
        absent = (promised or set()) - set(order)
        if absent:
            raise WeightsError(f"{file.name} lacks {list_some(absent)}, which {_INDEX} puts there; fetch both again.")
        self._order[file] = order


def list_some(names: set[str]) -> str:
    """The first few names, and how many more there are."""
    first = sorted(names)[:5]
    return ", ".join(first) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _files(folder: Path) -> dict[Path, set[str] | None]:
    if not folder.is_dir():
        raise WeightsError(f"{folder} is not a folder; a model is a folder with config.json and safetensors files.")
    if (folder / _INDEX).is_file():
        return dict(_shards(folder))
    if (folder / _SINGLE).is_file():
        return {folder / _SINGLE: None}
    present = sorted(path.name for path in folder.iterdir())
    unsafe = [name for name in present if name.endswith(_UNSAFE_SUFFIXES)]
    if any(name.endswith(".safetensors") for name in present):
        raise WeightsError(f"{folder} has safetensors files but neither {_SINGLE} nor {_INDEX}; fetch the model again.")
    if unsafe:
        raise WeightsError(
            f"{folder} has its weights in {', '.join(unsafe[:3])} only, a format that can carry code and is never "
            "opened; fetch a revision with safetensors, or convert it to safetensors on a machine that you can spare."
        )
    if any(name.endswith(".gguf") for name in present):
        raise WeightsError(
            f"{folder} has its weights in GGUF; `freehold pull` converts a .gguf file into a model folder."
        )
    raise WeightsError(f"{folder} has no weights: neither {_SINGLE} nor {_INDEX} is there; fetch the model again.")


def _shards(folder: Path) -> Iterator[tuple[Path, set[str]]]:
    try:
        weight_map = read_json_object(folder / _INDEX).get("weight_map")
    except ConfigError as error:
        raise WeightsError(str(error)) from error
    if not isinstance(weight_map, dict) or not weight_map:
        raise WeightsError(f"{_INDEX} has no weight_map; fetch it again.")
    by_shard: dict[str, set[str]] = {}
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise WeightsError(
                f"{_INDEX} puts {name} into {shard!r}; it must be the name of a safetensors file beside it."
            )
        by_shard.setdefault(shard, set()).add(name)
    missing = {shard for shard in by_shard if not (folder / shard).is_file()}
    if missing:
        raise WeightsError(
            f"Shards are missing from {folder}: {list_some(missing)}. Fetch the model again; it resumes."
        )
    for shard in sorted(by_shard):
        yield folder / shard, by_shard[shard]


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        with safe_open(file, framework="pt", device="cpu") as reader:
            yield reader
    except SafetensorError as error:
        raise WeightsError(f"{file} is not a whole safetensors file ({error}); fetch it again.") from error
    except OSError as error:
        raise WeightsError(f"{file} cannot be read: {error}.") from error


class _Span(NamedTuple):
    name: str
    start: int
    stop: int
    nbytes: int


def _spans(name: str, info: TensorInfo, limit: int, row_multiple: int) -> Iterator[_Span]:
    """Cuts a tensor into bands of rows of about `limit` bytes."""
    rows = info.shape[0] if info.shape else 1
    row_bytes = max(info.nbytes // max(rows, 1), 1)
    band = max(limit // row_bytes // row_multiple, 1) * row_multiple
    for start in range(0, max(rows, 1), band):
        stop = min(start + band, rows)
        yield _Span(name, start, stop, (stop - start) * row_bytes)


def _windows(spans: list[_Span], limit: int) -> Iterator[list[_Span]]:
    window: list[_Span] = []
    used = 0
    for span in spans:
        if window and used + span.nbytes > limit:
            yield window
            window, used = [], 0
        window.append(span)
        used += span.nbytes
    if window:
        yield window
