"""The sampling that a model's makers recommend, and changes to it by name. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from freehold.errors import ConfigError, InvalidRequestError
from freehold.types import SamplingParams

__all__ = ["recommended", "with_changes"]

_RECOMMENDED = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


def recommended(folder: Path) -> SamplingParams:
    """Reads `generation_config.json`: temperature, top_p, top_k, min_p and repetition_penalty, as far as it names them.

    `do_sample: false` beside no temperature means greedy decoding. Other entries do not concern sampling.

    Raises:
        ConfigError: The file is malformed, or a value is out of bounds.
    """
    path = folder / "generation_config.json"
    if not path.is_file():
        return SamplingParams()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}. Fetch the model again.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is not a JSON object. Fetch the model again.")
    chosen = {name: values[name] for name in _RECOMMENDED if values.get(name) is not None}
    for name, value in chosen.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{path}: {name} is {value!r}; it must be a number. Correct or remove it.")
    if "top_k" in chosen:
        chosen["top_k"] = int(chosen["top_k"])
    if values.get("do_sample") is False and "temperature" not in chosen:
        chosen["temperature"] = 0.0
    try:
        return SamplingParams(**chosen)
    except InvalidRequestError as error:
        raise ConfigError(f"{path}: {error} Correct or remove it.") from error


def with_changes(params: SamplingParams, changes: Mapping[str, Any]) -> SamplingParams:
    """Gives `params` with some fields changed; a single stop string and lists are taken too, and None for no stops.

    Raises:
        InvalidRequestError: An unknown field, a value of a wrong type, or one out of bounds.
    """
    known = {entry.name for entry in fields(SamplingParams)}
    if unknown := sorted(set(changes) - known):
        raise InvalidRequestError(
            f"Unknown sampling parameter {unknown[0]!r}; known are {', '.join(sorted(known))}.", param=unknown[0]
        )
    values = dict(changes)
    if isinstance(values.get("stop"), str):
        values["stop"] = (values["stop"],)
    for name in ("stop", "stop_token_ids"):
        if values.get(name, ()) is None:
            values[name] = ()
        elif isinstance(values.get(name), Iterable):
            values[name] = tuple(values[name])
    return replace(params, **values)
