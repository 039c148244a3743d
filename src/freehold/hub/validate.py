"""Checks that a folder is a whole, loadable model, without reading its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from freehold.errors import ModelNotFoundError, PullError, WeightsError
from freehold.hub.names import check_file_name, check_links
from freehold.model.config import ModelConfig

__all__ = ["INDEX", "check_folder", "indexed_files"]

INDEX = "model.safetensors.index.json"
_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}
MAX_INDEX_BYTES = 64 * 2**20


def check_folder(folder: Path) -> ModelConfig:
    """Checks a model folder: configuration, tokenizer, the headers of its weights, and that no link leads out of it.

    Returns:
        Its configuration.

    Raises:
        ModelNotFoundError: There is no `config.json`.
        ConfigError: The configuration cannot be used.
        WeightsError: Weights are missing, malformed, incomplete, only pickles, or a link leads out of the folder.
    """
    if not (folder / "config.json").is_file():
        ggufs = sorted(path.name for path in folder.glob("*.gguf"))
        remedy = (
            f"give the GGUF file itself, as in {folder / ggufs[0]}."
            if ggufs
            else "give the folder that holds a model's config.json, tokenizer.json and safetensors files, or take a "
            "model by its name: `freehold models` lists them."
        )
        raise ModelNotFoundError(f"{folder} is no model folder: it has no config.json; {remedy}")
    check_links(folder)
    config = ModelConfig.from_folder(folder)
    if not (folder / "tokenizer.json").is_file():
        raise WeightsError(f"{folder} has no tokenizer.json; put the model's own beside its config.json.")
    expected = _index(folder / INDEX) if (folder / INDEX).is_file() else {}
    files = sorted(set(expected.values())) or sorted(path.name for path in folder.glob("*.safetensors"))
    if not files:
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
        raise WeightsError(
            f"{folder} holds its weights only as pickles "
            f"({', '.join(pickles[:3])}), which are refused because loading them "
            "runs code; convert them to safetensors."
            if pickles
            else f"{folder} holds no safetensors file; put the model's own beside its config.json."
        )
    present = {tensor: name for name in files for tensor in _tensors(folder / name)}
    missing = sorted(tensor for tensor, name in expected.items() if present.get(tensor) != name)
    if missing:
        raise WeightsError(
            f"{folder}: {len(missing)} tensors of {INDEX} are not where it says, {missing[0]} among them."
        )
    return config


def indexed_files(path: Path) -> list[str]:
    """Gives the weight files that an index names, each checked to be a plain name.

    Raises:
        WeightsError: The index is malformed.
    """
    return sorted(set(_index(path).values()))


def _index(path: Path) -> dict[str, str]:
    if path.stat().st_size > MAX_INDEX_BYTES:
        raise WeightsError(f"{path} has {path.stat().st_size} bytes; an index has at most {MAX_INDEX_BYTES}.")
    try:
        content: Any = json.loads(path.read_text("utf-8"))
        where = {str(tensor): check_file_name(name) for tensor, name in content["weight_map"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, PullError) as error:
        raise WeightsError(f"{path} is malformed: {error!r}.") from error
    if not where:
        raise WeightsError(f"{path} names no tensors.")
    return where


def _tensors(path: Path) -> list[str]:
    try:
        with safe_open(path, framework="numpy") as file:
            return list(file.keys())
    except FileNotFoundError as error:
        raise WeightsError(f"{path} is missing; the model is incomplete: pull it again.") from error
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged: {error}. Pull the model again.") from error
