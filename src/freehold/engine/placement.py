"""Where a model runs, and in which type: chosen by name, refused by name."""

from __future__ import annotations

from pathlib import Path

import torch

from freehold.errors import ConfigError

__all__ = ["choose_device", "choose_dtype"]

_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float16": torch.float16}
_SMALL_BYTES = 10**9


def choose_device(device: str | None) -> torch.device:
    """Takes a device by name, or the GPU where there is one.

    Raises:
        ConfigError: Not a device, or not there.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"Device {device!r} is not known; use cpu, cuda or cuda:N.") from error
    if chosen.type not in {"cpu", "cuda"}:
        raise ConfigError(f"Device {device!r} is not supported; use cpu, cuda or cuda:N.")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"Device {device!r} is not there: torch sees {torch.cuda.device_count()} GPUs. Use cpu.")
    return chosen


def choose_dtype(name: str, device: torch.device, folder: Path | None = None) -> torch.dtype:
    """Takes a dtype by name.

    `auto` is bfloat16, but float32 on a CPU for weights under a gigabyte as stored. Rounding costs small models the
    most: where two tokens are nearly as likely, it can decide between a right answer and a wrong one, and decide anew
    whenever the prompt is read in other pieces. In float32 the same request gets the same answer.

    Args:
        name: `auto`, `bfloat16`, `float32` or `float16`.
        device: Where the model is to run.
        folder: Of the model, for `auto`.

    Raises:
        ConfigError: Not one of these, or float16 on a CPU, whose matrix units do not know it: it would be many times
            slower than bfloat16.
    """
    if name == "auto":
        small = folder is not None and sum(path.stat().st_size for path in folder.glob("*.safetensors")) < _SMALL_BYTES
        return torch.float32 if small and device.type == "cpu" else torch.bfloat16
    if name not in _DTYPES:
        raise ConfigError(f"dtype {name!r} is not known; use auto, {', '.join(_DTYPES)}.")
    if name == "float16" and device.type == "cpu":
        raise ConfigError("dtype float16 is not offered on a CPU, where it is very slow; use bfloat16 or float32.")
    return _DTYPES[name]
