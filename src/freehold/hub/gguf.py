"""A strict reader of GGUF files: every number of the header is checked against the file's size before it is used.

    model = GgufFile.open(path)
    model.metadata["general.architecture"], model.tensors["output_norm.weight"].shape
    for rows in model.rows("token_embd.weight"):   # float32, a few megabytes at a time
        ...

Only what passed `GgufFile.open` is ever mapped; the `gguf` package does the de-quantisation of the blocks. Its own
reader is not used, because it trusts counts and lengths (one parse means that no two parsers can disagree about a
file).

Source: the GGUF specification, ggml `docs/gguf.md`, versions 2 and 3 (little-endian).
"""

from __future__ import annotations

import itertools
import math
import mmap
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from freehold.errors import WeightsError

__all__ = ["GgufFile", "GgufTensor", "GgufValue", "shown"]

GgufValue: TypeAlias = str | int | float | bool | list[str] | list[int] | list[float] | list[bool]

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_HEADER_BYTES = 256 * 2**20
MAX_METADATA = 65_536
MAX_TENSORS = 262_144
MAX_KEY_BYTES = 65_535
MAX_ITEMS = 2**22
"""Of one array: the largest vocabularies and lists of merges have a quarter of a million to a million."""
MAX_TENSOR_NAME_BYTES = 256
MAX_DIMENSIONS = 4
MAX_ALIGNMENT = 2**20
DEFAULT_ALIGNMENT = 32
ROWS_BYTES = 8 * 2**20

_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q", 12: "<d"}
_SHOWN_CHARACTERS = 300
_REMEDY = "The file is damaged, cut short or hostile: fetch it again from a source you trust."


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """Where one tensor lies in the file.

    Args:
        name: Its name in the file, such as `blk.0.attn_q.weight`.
        shape: Rows first, as PyTorch writes it (GGUF stores the reverse); the last axis is contiguous.
        kind: How its blocks are quantised.
        offset: Bytes from the start of the file.
        n_bytes: Its length in the file.
    """

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    offset: int
    n_bytes: int


class GgufFile:
    """A GGUF file whose header has been checked whole, mapped read-only.

    Args:
        path: The file.
        metadata: Its key-value pairs.
        tensors: Its tensors by name, in file order.
    """

    def __init__(self, path: Path, metadata: Mapping[str, GgufValue], tensors: Mapping[str, GgufTensor]) -> None:
        self.path = path
        self.metadata = MappingProxyType(dict(metadata))
        self.tensors = MappingProxyType(dict(tensors))

    @classmethod
    def open(cls, path: Path) -> GgufFile:
        """Checks and reads the header of a file.

        Raises:
            WeightsError: Anything in the header is not as the specification and the file's size allow; the message
                names the value, the bound and the remedy.
        """
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return cls(path, *_Header(path, data).read())
        except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
            raise WeightsError(f"{path} cannot be read as a GGUF file: {error}.") from error

    def rows(
        self, name: str, order: Sequence[int] | npt.NDArray[np.int64] | None = None
    ) -> Iterator[npt.NDArray[np.float32]]:
        """De-quantises a tensor, some rows at a time, so that memory stays small.

        Args:
            name: A tensor of this file.
            order: Which rows of the tensor flattened to (rows, last axis), in which order; None means all, in order.

        Yields:
            Arrays (some rows, last axis), float32.

        Raises:
            WeightsError: No such tensor, or blocks of a kind that the `gguf` package cannot de-quantise.
        """
        tensor = self.tensor(name)
        width = tensor.shape[-1]
        n_rows = math.prod(tensor.shape[:-1])
        raw = np.memmap(
            self.path, dtype=np.uint8, mode="r", offset=tensor.offset, shape=(n_rows, tensor.n_bytes // n_rows)
        )
        picked = np.arange(n_rows) if order is None else np.asarray(order)
        step = max(1, ROWS_BYTES // (4 * width))
        for start in range(0, len(picked), step):
            block = np.ascontiguousarray(raw[picked[start : start + step]])
            try:
                values = dequantize(block, tensor.kind)
            except NotImplementedError as error:
                raise WeightsError(
                    f"Tensor {name} of {self.path.name} is stored as "
                    f"{tensor.kind.name}, which cannot be de-quantised here; "
                    "use a file in F16, BF16, Q8_0, Q6_K, Q5_K, Q4_K, Q4_0 or Q4_1."
                ) from error
            yield np.asarray(values, dtype=np.float32).reshape(-1, width)

    def tensor(self, name: str) -> GgufTensor:
        """Gives the entry of a tensor.

        Raises:
            WeightsError: The file has no tensor of that name.
        """
        try:
            return self.tensors[name]
        except KeyError:
            raise WeightsError(
                f"{self.path.name} has no tensor {name!r}; it is incomplete for its architecture."
            ) from None


class _Header:
    """Reads a header front to back; `position` never passes the end of the file or the header's limit."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.data = data
        self.size = len(data)
        self.limit = min(self.size, MAX_HEADER_BYTES)
        self.position = 0

    def read(self) -> tuple[dict[str, GgufValue], dict[str, GgufTensor]]:
        magic = self._take(4, "the magic")
        if magic != MAGIC:
            raise WeightsError(f"{self.path} begins with {magic!r}, not {MAGIC!r}: it is not a GGUF file.")
        version = int(self._scalar(4, "the version"))
        if version not in VERSIONS:
            swapped = " (big-endian files are not supported)" if version & 0xFFFF == 0 else ""
            raise WeightsError(
                f"{self.path} is GGUF version {version}{swapped}; versions 2 and 3 are read: convert it anew."
            )
        n_tensors = self._count("tensors", MAX_TENSORS, smallest_bytes=8 + 4 + 8 + 4 + 8)
        n_metadata = self._count("metadata entries", MAX_METADATA, smallest_bytes=8 + 4 + 1)
        metadata: dict[str, GgufValue] = {}
        for index in range(n_metadata):
            key = self._string(f"the key of metadata entry {index}", MAX_KEY_BYTES)
            if key in metadata:
                raise self._bad(f"metadata key {key!r} occurs twice")
            metadata[key] = self._value(int(self._scalar(4, f"the type of {key!r}")), key)
        alignment = _alignment(self, metadata)
        entries = [self._tensor_entry(index) for index in range(n_tensors)]
        start = -(-self.position // alignment) * alignment
        return metadata, self._place(entries, start, alignment)

    def _take(self, count: int, what: str) -> bytes:
        end = self.position + count
        if end > self.limit:
            bound = (
                f"the file's {self.size} bytes"
                if self.limit == self.size
                else f"the {MAX_HEADER_BYTES} bytes a header may have"
            )
            raise self._bad(f"{what} needs {count} bytes at offset {self.position}, past {bound}")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def _scalar(self, kind: int, what: str) -> int | float:
        layout = _SCALARS[kind]
        value: int | float = struct.unpack(layout, self._take(struct.calcsize(layout), what))[0]
        return value

    def _count(self, what: str, most: int, *, smallest_bytes: int) -> int:
        count = int(self._scalar(10, f"the number of {what}"))
        room = (self.limit - self.position) // smallest_bytes
        if count > min(most, room):
            raise self._bad(
                f"it declares {count} {what}; at most {most}, and {room} in a file of {self.size} bytes, are possible"
            )
        return count

    def _string(self, what: str, most: int) -> str:
        length = int(self._scalar(10, f"the length of {what}"))
        if length > most:
            raise self._bad(f"{what} is {length} bytes long; at most {most} are allowed")
        raw = self._take(length, what)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._bad(f"{what} is not UTF-8 ({error.reason} at byte {error.start})") from error

    def _value(self, kind: int, key: str) -> GgufValue:
        if kind == _STRING:
            return self._string(f"the value of {key!r}", MAX_HEADER_BYTES)
        if kind == _ARRAY:
            return self._array(key)
        if kind not in _SCALARS:
            raise self._bad(f"the type of {key!r} is {kind}; types 0 to 12 exist")
        value = self._scalar(kind, f"the value of {key!r}")
        return _boolean(self, value, key) if kind == _BOOL else value

    def _array(self, key: str) -> GgufValue:
        kind = int(self._scalar(4, f"the item type of {key!r}"))
        if kind != _STRING and kind not in _SCALARS:
            raise self._bad(
                f"the items of {key!r} have type {kind}; strings and scalars (0 to "
                "8, 10 to 12) are read, not nested arrays"
            )
        size = 8 if kind == _STRING else struct.calcsize(_SCALARS[kind])
        length = int(self._scalar(10, f"the length of {key!r}"))
        room = (self.limit - self.position) // size
        if length > min(MAX_ITEMS, room):
            raise self._bad(
                f"{key!r} declares {length} items; at most {MAX_ITEMS} are read, and the rest of the header has room "
                f"for {room}"
            )
        if kind == _STRING:
            return [self._string(f"item {index} of {key!r}", MAX_HEADER_BYTES) for index in range(length)]
        values: list[int] = list(
            struct.unpack(f"<{length}{_SCALARS[kind][1]}", self._take(length * size, f"the items of {key!r}"))
        )
        return [_boolean(self, value, key) for value in values] if kind == _BOOL else values

    def _tensor_entry(self, index: int) -> tuple[str, tuple[int, ...], GGMLQuantizationType, int]:
        name = self._string(f"the name of tensor {index}", MAX_TENSOR_NAME_BYTES)
        n_dims = int(self._scalar(4, f"the number of dimensions of {name!r}"))
        if not 1 <= n_dims <= MAX_DIMENSIONS:
            raise self._bad(f"tensor {name!r} has {n_dims} dimensions; 1 to {MAX_DIMENSIONS} are allowed")
        # Read as signed, so that a negative dimension is named as such and not as one near 2^64.
        dims = [int(self._scalar(11, f"dimension {axis} of {name!r}")) for axis in range(n_dims)]
        if any(dim < 1 for dim in dims) or math.prod(dims) >= 2**63:
            raise self._bad(
                f"tensor {name!r} has dimensions {dims}; each must be at least 1 and their product under 2^63"
            )
        kind = int(self._scalar(4, f"the type of {name!r}"))
        try:
            quantisation = GGMLQuantizationType(kind)
        except ValueError:
            raise self._bad(f"tensor {name!r} has the unknown type {kind}") from None
        return name, tuple(reversed(dims)), quantisation, int(self._scalar(10, f"the offset of {name!r}"))

    def _place(
        self, entries: list[tuple[str, tuple[int, ...], GGMLQuantizationType, int]], start: int, alignment: int
    ) -> dict[str, GgufTensor]:
        tensors: dict[str, GgufTensor] = {}
        for name, shape, kind, relative in entries:
            if name in tensors:
                raise self._bad(f"tensor {name!r} occurs twice")
            block, block_bytes = GGML_QUANT_SIZES[kind]
            if shape[-1] % block:
                raise self._bad(
                    f"tensor {name!r} has rows of {shape[-1]} values, no multiple of the {block} of a {kind.name} block"
                )
            n_bytes = math.prod(shape) // block * block_bytes
            if relative % alignment:
                raise self._bad(f"tensor {name!r} lies at offset {relative}, no multiple of the alignment {alignment}")
            if start + relative + n_bytes > self.size:
                raise self._bad(
                    f"tensor {name!r} ends at byte {start + relative + n_bytes} (offset {relative}, size {n_bytes}); "
                    f"the file has {self.size}"
                )
            tensors[name] = GgufTensor(name, shape, kind, start + relative, n_bytes)
        in_order = sorted(tensors.values(), key=lambda tensor: tensor.offset)
        for before, after in itertools.pairwise(in_order):
            if before.offset + before.n_bytes > after.offset:
                raise self._bad(
                    f"tensors {before.name!r} (bytes {before.offset} to {before.offset + before.n_bytes}) and "
                    f"{after.name!r} "
                    f"(from byte {after.offset}) overlap"
                )
        return tensors

    def _bad(self, what: str) -> WeightsError:
        return WeightsError(f"{self.path}: {_clipped(what)}. {_REMEDY}")


def shown(value: object) -> str:
    """Gives a value out of a file as an error can name it: on one line, and not longer than a person reads."""
    return _clipped(repr(value[:_SHOWN_CHARACTERS] if isinstance(value, str | list) else value))


def _clipped(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _boolean(header: _Header, value: int | float, key: str) -> bool:
    if value not in (0, 1):
        raise header._bad(f"the boolean {key!r} is {value}; 0 and 1 are allowed")
    return bool(value)


def _alignment(header: _Header, metadata: Mapping[str, GgufValue]) -> int:
    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if type(alignment) is not int or not 8 <= alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
        raise header._bad(f"general.alignment is {alignment!r}; it must be a power of two from 8 to {MAX_ALIGNMENT}")
    return alignment
