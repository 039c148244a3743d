"""Loads a published model folder into a `Transformer`: every tensor accounted for, none silently.

    >>> model = load_model(Path("models/smollm2-135m-instruct"), torch.bfloat16)

Files are memory-mapped and copied tensor by tensor into memory of our own, converted on the way; pages of the map that
have been read are given back as it goes. Peak memory is therefore the weights, one window of a file and one tensor. A
file that is replaced while the model serves changes nothing.

Departures:
1. FP8 blocks are de-quantised as they load: the arithmetic is that of the chosen type, not FP8.
2. `num_nextn_predict_layers` without any weights of those layers loads as a model without them, with a warning:
   transformers saves such folders.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from freehold.errors import WeightsError
from freehold.model.checkpoint import Checkpoint, list_some
from freehold.model.config import ModelConfig
from freehold.model.fp8 import dequantise_blocks, scale_shape
from freehold.model.transformer import Transformer

__all__ = ["load_model"]

_log = logging.getLogger(__name__)

_DTYPES = (torch.bfloat16, torch.float16, torch.float32)
_READABLE = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3"})
_HARMLESS = re.compile(r"(^|\.)rotary_emb\.inv_freq$")
"""Rotary frequencies that older checkpoints stored; they follow from the configuration."""
_SCALE_SUFFIX = "_scale_inv"
_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def load_model(
    folder: Path | str, dtype: torch.dtype = torch.bfloat16, device: torch.device | str | None = None
) -> Transformer:
    """Loads configuration and weights of a model folder, for inference (`requires_grad` off, `eval` mode).

    Args:
        folder: As published on the Hugging Face hub, or as `freehold pull` writes it.
        dtype: bfloat16, float16 or float32. Routers stay in float32. FP8 blocks are de-quantised to this type.
        device: Where the weights go; the CPU by default.

    Raises:
        ConfigError: The configuration cannot be used.
        WeightsError: A tensor is missing, unexpected, of a wrong shape or type, or a file is malformed.
    """
    if dtype not in _DTYPES:
        raise WeightsError(f"dtype is {dtype}; weights are held in bfloat16, float16 or float32.")
    folder = Path(folder)
    config = ModelConfig.from_folder(folder)
    checkpoint = Checkpoint(folder)
    config = _without_absent_mtp(config, checkpoint)
    with torch.device("meta"):
        model = Transformer(config).cast(dtype)
    wanted = dict(model.state_dict())
    if config.tie_word_embeddings:
        del wanted[_HEAD]
    quantised = _check(config, checkpoint, wanted)
    loaded = _read(config, checkpoint, wanted, quantised, torch.device(device or "cpu"))
    if config.tie_word_embeddings:
        _check_tied_head(checkpoint, loaded[_EMBEDDING])
        loaded[_HEAD] = loaded[_EMBEDDING]
    model.load_state_dict(loaded, assign=True)
    if config.tie_word_embeddings:
        model.lm_head.weight = model.model.embed_tokens.weight
    _share_copies(model)
    model.rope.to(device)
    return model.requires_grad_(False).eval()


def _read(
    config: ModelConfig, checkpoint: Checkpoint, wanted: dict[str, Tensor], quantised: set[str], device: torch.device
) -> dict[str, Tensor]:
    """Copies every wanted tensor into memory of our own, in the type of its counterpart in `wanted`."""
    block = config.fp8_block or (1, 1)
    scales: dict[str, Tensor] = {}
    for piece in checkpoint.read({name + _SCALE_SUFFIX for name in quantised}):
        name = piece.name.removesuffix(_SCALE_SUFFIX)
        scales[name] = torch.cat((scales[name], piece.tensor)) if name in scales else piece.tensor.clone()
    loaded: dict[str, Tensor] = {}
    for piece in checkpoint.read(set(wanted), row_multiple=block[0]):
        model = wanted[piece.name]
        if piece.name not in loaded:
            loaded[piece.name] = torch.empty(model.shape, dtype=model.dtype, device=device)
        rows = loaded[piece.name][piece.start : piece.start + len(piece.tensor)]
        if piece.name in quantised:
            dequantise_blocks(piece.tensor, scales[piece.name][piece.start // block[0] :], block, rows)
        else:
            rows.copy_(piece.tensor)
    return loaded


def _without_absent_mtp(config: ModelConfig, checkpoint: Checkpoint) -> ModelConfig:
    first, last = config.num_hidden_layers, config.num_layers_with_mtp
    prefixes = tuple(f"model.layers.{layer}." for layer in range(first, last))
    if not prefixes or any(name.startswith(prefixes) for name in checkpoint.tensors):
        return config
    _log.warning(
        "%s states %d multi-token prediction module(s) but holds no weights of them (transformers saves none); "
        "the model runs without.",
        checkpoint.folder,
        config.num_nextn_predict_layers,
    )
    return replace(config, num_nextn_predict_layers=0)


def _check(config: ModelConfig, checkpoint: Checkpoint, wanted: dict[str, Tensor]) -> set[str]:
    """Compares names, shapes and types before anything is read; returns the names of FP8 weights."""
    present = checkpoint.tensors
    missing = set(wanted) - set(present)
    if missing:
        raise WeightsError(
            f"{checkpoint.folder} lacks {list_some(missing)}, which a {config.architecture} of this configuration has; "
            "fetch the model again, or correct config.json."
        )
    quantised = {name for name in wanted if present[name].dtype == "F8_E4M3"}
    known = set(wanted) | {name + _SCALE_SUFFIX for name in quantised}
    if config.tie_word_embeddings:
        known.add(_HEAD)
    unexpected = {name for name in present if name not in known and not _HARMLESS.search(name)}
    if unexpected:
        raise WeightsError(
            f"{checkpoint.folder} has tensors that a {config.architecture} of this configuration does not use: "
            f"{list_some(unexpected)}. config.json and weights do not belong together; fetch the model again."
        )
    for name, tensor in wanted.items():
        info = present[name]
        if info.shape != tuple(tensor.shape):
            raise WeightsError(
                f"{name} has the shape {list(info.shape)} in {info.file.name}; by config.json it must be "
                f"{list(tensor.shape)}. Fetch the model again, or correct config.json."
            )
        if info.dtype not in _READABLE:
            raise WeightsError(
                f"{name} is of type {info.dtype} in {info.file.name}; read are {', '.join(sorted(_READABLE))}. "
                "Fetch the unquantised weights, or a GGUF file of the model."
            )
    for name in quantised:
        _check_scale(config, checkpoint, name)
    return quantised


def _check_scale(config: ModelConfig, checkpoint: Checkpoint, name: str) -> None:
    scale, shape = checkpoint.tensors.get(name + _SCALE_SUFFIX), checkpoint.tensors[name].shape
    if config.fp8_block is None:
        raise WeightsError(f"{name} is FP8, but config.json has no quantization_config with a weight_block_size.")
    if scale is None:
        raise WeightsError(f"{name} is FP8, but {name + _SCALE_SUFFIX} is missing; fetch the model again.")
    if len(shape) != 2 or scale.shape != scale_shape(shape, config.fp8_block) or scale.dtype not in ("F32", "BF16"):
        raise WeightsError(
            f"{name + _SCALE_SUFFIX} is {scale.dtype} of shape {list(scale.shape)}; for {name} of shape {list(shape)} "
            f"and blocks of {list(config.fp8_block)} it must hold one F32 per block."
        )


def _check_tied_head(checkpoint: Checkpoint, embedding: Tensor) -> None:
    """A head stored beside a tied embedding is a copy of it, and otherwise a mistake that must not pass."""
    if _HEAD not in checkpoint.tensors:
        return
    is_copy = checkpoint.tensors[_HEAD].shape == tuple(embedding.shape) and all(
        torch.equal(piece.tensor.to(embedding), embedding[piece.start : piece.start + len(piece.tensor)])
        for piece in checkpoint.read({_HEAD})
    )
    if not is_copy:
        raise WeightsError(
            f"config.json ties the head to the embedding, but {_HEAD} in {checkpoint.folder} differs from it; "
            "set tie_word_embeddings to false if the head is meant."
        )


def _share_copies(model: Transformer) -> None:
    """MTP modules are published with copies of embedding and head: where they are equal, hold them once."""
    for module in model.mtp:
        if torch.equal(module.embed_tokens.weight, model.model.embed_tokens.weight):
            module.embed_tokens.weight = model.model.embed_tokens.weight
        if torch.equal(module.shared_head.head.weight, model.lm_head.weight):
            module.shared_head.head.weight = model.lm_head.weight
