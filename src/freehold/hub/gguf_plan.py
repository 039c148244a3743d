"""What every architecture's conversion shares: the metadata's numbers, the common configuration, planned tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from freehold.errors import WeightsError
from freehold.hub.gguf import GgufFile, shown
from freehold.hub.gguf_tokenizer import eos_ids, special_token_id

__all__ = ["TOP_TENSORS", "Numbers", "PlannedTensor", "Rows", "check_all_used", "common_config", "whole_tensor"]

Rows: TypeAlias = Iterator[npt.NDArray[np.float32]]

TOP_TENSORS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
"""llama.cpp's and the published names of the tensors outside the layers; the last is absent where it is tied."""


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """One tensor of the folder to write.

    Args:
        name: Its published name, such as `model.layers.0.self_attn.q_proj.weight`.
        sources: The GGUF tensors that hold its values.
        shape: As written.
        rows: Gives its values, some rows of the last axis at a time.
    """

    name: str
    sources: tuple[str, ...]
    shape: tuple[int, ...]
    rows: Callable[[], Rows]


class Numbers:
    """The architecture's numbers in a file's metadata, each checked; `Numbers(file).whole("block_count")`."""

    def __init__(self, file: GgufFile) -> None:
        self.file = file
        self.architecture = str(file.metadata["general.architecture"])

    def whole(self, key: str, default: int | None = None, *, least: int = 1) -> int:
        """Gives a whole number.

        Raises:
            WeightsError: It is absent and has no default, is no whole number, or is out of bounds.
        """
        value = self._number(key, default)
        if not isinstance(value, int) or not least <= value < 2**31:
            raise self.bad(key, value, f"a whole number from {least} to {2**31 - 1}")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        """Gives a number over 0, as it read before it was stored in 32 bits (1e-05, not 9.999999747378752e-06).

        Raises:
            WeightsError: It is absent and has no default, or is not finite and over 0.
        """
        value = self._number(key, default)
        if not math.isfinite(value) or value <= 0:
            raise self.bad(key, value, "finite and over 0")
        return float(str(np.float32(value)))

    def flag(self, key: str, default: bool) -> bool:
        """Gives a truth value.

        Raises:
            WeightsError: It is something else.
        """
        value = self.file.metadata.get(f"{self.architecture}.{key}", default)
        if not isinstance(value, bool):
            raise self.bad(key, value, "true or false")
        return value

    def text(self, key: str, default: str) -> str:
        """Gives a text."""
        return str(self.file.metadata.get(f"{self.architecture}.{key}", default))

    def has(self, key: str) -> bool:
        """Tells whether the file states it."""
        return f"{self.architecture}.{key}" in self.file.metadata

    def bad(self, key: str, value: object, wanted: str) -> WeightsError:
        """Makes the error that names a key, its value and what it must be."""
        return WeightsError(f"{self.file.path.name}: {self.architecture}.{key} is {shown(value)}; it must be {wanted}.")

    def _number(self, key: str, default: float | None) -> float | int:
        value = self.file.metadata.get(f"{self.architecture}.{key}", default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.bad(key, value, "a number; without it this model cannot be converted")
        return value


def common_config(numbers: Numbers, hf_class: str, model_type: str) -> dict[str, Any]:
    """Gives the part of `config.json` that all architectures have."""
    file = numbers.file
    ends = eos_ids(file.metadata)
    return {
        "architectures": [hf_class],
        "model_type": model_type,
        "vocab_size": file.tensor("token_embd.weight").shape[0],
        "hidden_size": numbers.whole("embedding_length"),
        "intermediate_size": numbers.whole("feed_forward_length"),
        "num_hidden_layers": numbers.whole("block_count"),
        "num_attention_heads": numbers.whole("attention.head_count"),
        "hidden_act": "silu",
        "max_position_embeddings": numbers.whole("context_length"),
        "rms_norm_eps": numbers.real("attention.layer_norm_rms_epsilon"),
        "rope_theta": numbers.real("rope.freq_base", 10000.0),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "bos_token_id": special_token_id(file.metadata, "bos_token_id"),
        "eos_token_id": ends[0] if len(ends) == 1 else ends or None,
        "pad_token_id": special_token_id(file.metadata, "padding_token_id"),
        "torch_dtype": "bfloat16",
        "use_cache": True,
    }


def whole_tensor(
    file: GgufFile,
    source: str,
    name: str,
    shape: tuple[int, ...],
    order: Callable[[], npt.NDArray[np.int64]] | None = None,
) -> PlannedTensor:
    """Plans a tensor that one tensor of the file holds, its rows perhaps in another order.

    Args:
        file: The file.
        source: The tensor's name there.
        name: As published.
        shape: What the metadata ask for.
        order: Gives which rows come in which order. Asked when they are read, so that no number of the metadata is
            used before the file's own shape has confirmed it.

    Raises:
        WeightsError: The file has none of that name, or it has another shape.
    """
    found = file.tensor(source).shape
    if found != shape:
        raise WeightsError(f"{file.path.name}: tensor {source} has shape {found}; its metadata ask for {shape}.")
    return PlannedTensor(name, (source,), shape, lambda: file.rows(source, None if order is None else order()))


def check_all_used(file: GgufFile, planned: Iterable[PlannedTensor], derived: Iterable[str] = ()) -> None:
    """Refuses a file with tensors that nothing is made of.

    Args:
        file: The file.
        planned: All tensors to write.
        derived: Tensors whose values are recovered from the metadata in another way.

    Raises:
        WeightsError: There are others; the message names the first of them.
    """
    unknown = sorted(set(file.tensors) - {source for tensor in planned for source in tensor.sources} - set(derived))
    if unknown:
        raise WeightsError(
            f"{file.path.name} holds {len(unknown)} tensors that its architecture has no place for: "
            f"{', '.join(unknown[:5])}. Pull the model's original folder (hf:org/repo) instead."
        )
