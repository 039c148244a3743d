"""Turns a GGUF file into a standard Hugging Face folder, tensor by tensor.

The values are the file's de-quantised ones, rounded to bfloat16: a model that was quantised to 4 bits stays as coarse
as it was, it is only stored in a form that every program reads. Vectors (norms, biases) that bfloat16 cannot hold
exactly stay float32.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from freehold.errors import WeightsError
from freehold.hub.catalog import generation_defaults
from freehold.hub.gguf import GgufFile
from freehold.hub.gguf_architectures import read_architecture
from freehold.hub.gguf_plan import PlannedTensor
from freehold.hub.gguf_tokenizer import eos_ids, special_token_id, tokenizer_config_json, tokenizer_json
from freehold.hub.progress import Progress, quiet

__all__ = ["convert", "converted_bytes"]

SHARD_BYTES = 5_000_000_000


def convert(
    path: Path, folder: Path, *, sampling: Mapping[str, float] | None = None, progress: Progress = quiet
) -> None:
    """Writes the folder of a GGUF file: configuration, weights, tokenizer, generation defaults.

    Args:
        path: The GGUF file.
        folder: Where to write; it exists.
        sampling: What the model's makers recommend (`temperature`, `top_p`, `top_k`), for `generation_config.json`.
        progress: Told how many bytes of weights are written.

    Raises:
        WeightsError: The file is malformed, or of an architecture that cannot be converted.
        TokenizerError: Its tokenizer cannot be rebuilt.
    """
    file = GgufFile.open(path)
    config, planned = read_architecture(file)
    tokenizer = tokenizer_json(file.metadata)
    vocab_rows = file.tensor("token_embd.weight").shape[0]
    if len(tokenizer["model"]["vocab"]) > vocab_rows:
        raise WeightsError(
            f"{path.name} names {len(tokenizer['model']['vocab'])} tokens, but embeds only {vocab_rows}; it is damaged."
        )
    _write_json(folder / "config.json", config)
    _write_json(folder / "tokenizer.json", tokenizer)
    _write_json(
        folder / "tokenizer_config.json", tokenizer_config_json(file.metadata, config["max_position_embeddings"])
    )
    _write_json(folder / "generation_config.json", _generation_config(file, sampling or {}))
    _write_weights(file, planned, folder, progress)


def converted_bytes(file: GgufFile) -> int:
    """Gives the bytes that the converted weights will take, two a value."""
    return sum(2 * math.prod(tensor.shape) for tensor in file.tensors.values())


@dataclass(frozen=True, slots=True)
class _Entry:
    planned: PlannedTensor
    dtype: str
    n_bytes: int


def _generation_config(file: GgufFile, sampling: Mapping[str, float]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    bos, pad = special_token_id(file.metadata, "bos_token_id"), special_token_id(file.metadata, "padding_token_id")
    if bos is not None:
        content["bos_token_id"] = bos
    content["eos_token_id"] = eos_ids(file.metadata)
    if pad is not None:
        content["pad_token_id"] = pad
    if sampling:
        content |= generation_defaults(sampling)
    return content


def _write_weights(file: GgufFile, tensors: list[PlannedTensor], folder: Path, progress: Progress) -> None:
    entries = [_entry(planned) for planned in tensors]
    shards: list[list[_Entry]] = [[]]
    for entry in entries:
        if shards[-1] and sum(other.n_bytes for other in shards[-1]) + entry.n_bytes > SHARD_BYTES:
            shards.append([])
        shards[-1].append(entry)
    total = sum(entry.n_bytes for entry in entries)
    names = ["model.safetensors"]
    if len(shards) > 1:
        names = [f"model-{index:05}-of-{len(shards):05}.safetensors" for index in range(1, len(shards) + 1)]
    done = 0
    for name, shard in zip(names, shards, strict=True):
        for written in _write_shard(file, folder / name, shard):
            done += written
            progress("converting", done, total)
    if len(shards) > 1:
        where = {entry.planned.name: name for name, shard in zip(names, shards, strict=True) for entry in shard}
        _write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": where})


def _entry(planned: PlannedTensor) -> _Entry:
    count = math.prod(planned.shape)
    exact = len(planned.shape) > 1 or all(_is_bfloat16(rows) for rows in planned.rows())
    return _Entry(planned, "BF16" if exact else "F32", count * (2 if exact else 4))


def _write_shard(file: GgufFile, path: Path, entries: list[_Entry]) -> Iterator[int]:
    """Writes one safetensors file; yields bytes as they are written.

    Source: the safetensors format: an 8-byte length, a JSON header padded to 8 bytes with spaces, then the values.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for entry in entries:
        end = offset + entry.n_bytes
        header[entry.planned.name] = {
            "dtype": entry.dtype,
            "shape": list(entry.planned.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as out:
        out.write(len(encoded).to_bytes(8, "little"))
        out.write(encoded)
        for entry in entries:
            for rows in entry.planned.rows():
                if not np.isfinite(rows).all():
                    raise _not_finite(entry.planned, file)
                stored = _bfloat16(rows, entry.planned, file) if entry.dtype == "BF16" else rows
                out.write(stored.tobytes())
                yield stored.nbytes


def _is_bfloat16(values: npt.NDArray[np.float32]) -> bool:
    return not bool(np.any(np.ascontiguousarray(values).view(np.uint32) & 0xFFFF))


def _bfloat16(values: npt.NDArray[np.float32], tensor: PlannedTensor, file: GgufFile) -> npt.NDArray[np.uint16]:
    """Rounds to the nearest bfloat16, ties to even, as raw 16-bit words."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    if np.any((rounded & 0x7F80) == 0x7F80):  # beyond what bfloat16 holds
        raise _not_finite(tensor, file)
    return rounded


def _not_finite(tensor: PlannedTensor, file: GgufFile) -> WeightsError:
    return WeightsError(
        f"Tensor {tensor.sources[0]} of {file.path.name} holds values that are not finite; the file is damaged."
    )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
