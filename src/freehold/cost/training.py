"""A training run: FLOPs, utilisation, hours, days and dollars, any unknown one from the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from freehold.cost.hardware import Accelerator
from freehold.cost.identities import TRAINING, Identity, solve
from freehold.cost.interval import Interval
from freehold.cost.model import ModelCost
from freehold.errors import ConfigError

__all__ = ["TrainingRun", "training_run"]

_TERA = 1e12
_POSITIVE = ("tokens", "gpu_hours", "usd_per_gpu_hour", "usd", "gpus", "days", "mfu_bf16", "mfu_fp8")


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What is known of a run, given or worked out.

    Args:
        figures: `flops_total`, `tokens`, `gpu_hours`, `mfu_bf16`, `mfu_fp8`, `usd`, `usd_per_gpu_hour`, `gpus`, `days`:
            those that can be told. Utilisation is a share of the peak that its name says.
        arithmetic: How each figure that was not given follows, in words.
        missing: Figures that cannot be told from what was given.
    """

    figures: Mapping[str, float]
    arithmetic: Sequence[str]
    missing: Sequence[str]


def training_run(model: ModelCost, chip: Accelerator, given: Mapping[str, float]) -> TrainingRun:
    """Works a run out.

    Args:
        model: At the run's sequence length.
        chip: What it runs on.
        given: Of the figures, those that are known; at least the tokens, or enough to tell them.

    Raises:
        ConfigError: A figure is not positive, a utilisation is over 1 (given, or as it follows), or figures contradict
            each other by more than 1%.
    """
    for name, value in given.items():
        if name not in _POSITIVE:
            raise ConfigError(f"{name} is no figure of a run; they are {', '.join(_POSITIVE)}.")
        if not value > 0 or value == float("inf"):
            raise ConfigError(f"{name} is {value:g}; it must be a positive number.")
    known = {name: Interval.exactly(value) for name, value in given.items()}
    known["train_flops_per_token"] = Interval.exactly(model.train_flops_per_token)
    known["bf16_flops"] = Interval.exactly(chip.bf16_tflops * _TERA)
    if chip.fp8_tflops is not None:
        known["fp8_flops"] = Interval.exactly(chip.fp8_tflops * _TERA)
    solution = solve(known, TRAINING)
    for conflict in solution.conflicts:
        if conflict.factor > 1.01:
            raise ConfigError(
                f"The figures contradict each other: {conflict.figure} is {conflict.given.middle:.4g}, but "
                f"{conflict.identity.name}, which is {conflict.derived.middle:.4g}. Leave one of them out."
            )
    values = {name: interval.middle for name, interval in solution.values.items()}
    for name in ("mfu_bf16", "mfu_fp8"):
        if values.get(name, 0.0) > 1.0:
            raise ConfigError(
                f"{name} would be {values[name]:.3g}, more than the whole of the {chip.title}'s peak; the hours are "
                "too few, or the tokens too many."
            )
    wanted = ("flops_total", *_POSITIVE)
    return TrainingRun(
        {name: values[name] for name in wanted if name in values},
        tuple(_words(step.identity, step.figure, step.value.middle, step.inputs) for step in solution.steps),
        tuple(name for name in wanted if name not in values),
    )


def _words(identity: Identity, figure: str, value: float, inputs: Mapping[str, Interval]) -> str:
    parts = ", ".join(f"{name} = {interval.middle:.6g}" for name, interval in inputs.items())
    return f"{figure} = {value:.6g}, since {identity.name} ({parts})"
