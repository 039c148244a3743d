"""What fits where: a model in each format on some hardware, how long a context, how fast at most, and at what price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from freehold.cost.hardware import Accelerator
from freehold.cost.model import FORMATS
from freehold.cost.serving import serving
from freehold.cost.shape import Shape

__all__ = ["Fit", "plan"]

_RUNS_IN = {
    "float32": "Freehold",
    "bfloat16": "Freehold",
    "fp8": "vLLM, SGLang",
    "q8_0": "llama.cpp",
    "q4_1": "llama.cpp",
    "q4_0": "llama.cpp",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A model in one format on some hardware.

    Args:
        format: Of the weights.
        runs_in: What runs it.
        weight_gb: Of the weights.
        fits: Whether they fit beside one sequence of the context asked for.
        longest_context: Tokens of one sequence for which there is room, at most the model's own; 0 where none fits.
        read_tokens_per_second, write_tokens_per_second: Of one sequence, at most; 0 where it does not fit.
        usd_per_mtok_output: At the price of the hardware's hour; None without one, or where it does not fit.
    """

    format: str
    runs_in: str
    weight_gb: float
    fits: bool
    longest_context: int
    read_tokens_per_second: float
    write_tokens_per_second: float
    usd_per_mtok_output: float | None


def plan(
    shape: Shape, chip: Accelerator, *, count: int, context: int, usd_per_hour: float | None = None
) -> Sequence[Fit]:
    """Bounds a model in every format, the widest first.

    Args:
        shape: Of the model.
        chip: The hardware.
        count: How many of them hold the model together.
        context: Tokens of the one sequence.
        usd_per_hour: Price of one chip's hour.

    Raises:
        ConfigError: A number is out of its bounds.
    """
    fits = []
    for name in sorted(FORMATS, key=lambda name: -FORMATS[name]):
        found = serving(shape, chip, gpus=count, batch=1, context=context, weights=name, usd_per_gpu_hour=usd_per_hour)
        one = serving(shape, chip, gpus=count, batch=1, context=1, weights=name)
        longest = one.largest_batch  # sequences of one token: as many as there is room for tokens
        fits.append(
            Fit(
                format=name,
                runs_in=_RUNS_IN[name],
                weight_gb=found.weight_bytes / 1e9,
                fits=found.fits,
                longest_context=min(longest, shape.context) if shape.context else longest,
                read_tokens_per_second=found.prefill_tokens_per_second if found.fits else 0.0,
                write_tokens_per_second=found.decode_tokens_per_second,
                usd_per_mtok_output=found.usd_per_mtok_output,
            )
        )
    return fits
