"""Accelerators by name: what they compute, read and reach, with source and date (`hardware.toml`)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from freehold.errors import ConfigError

__all__ = ["Accelerator", "accelerator", "accelerators"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One kind of accelerator. FLOP/s are dense; bytes and bits are SI.

    Args:
        name: By which it is asked for.
        bf16_tflops, fp8_tflops: Peak; None where it has no such unit.
        memory_gb, memory_tb_per_s: Its own memory.
        nvlink_gb_per_s: To the others in its node, both directions together, as makers state it.
        nvlink_used_gb_per_s: One direction as used in practice, where that is published; else half of the above.
        network_gb_per_s: One direction between nodes, for each accelerator.
        watts: Of the accelerator alone.
        total_processing_performance: TFLOP/s times the bits of the operands, the largest over the types: the measure of
            the United States' export rules.
        source, date: Of the figures.
    """

    name: str
    title: str
    bf16_tflops: float
    fp8_tflops: float | None = None
    memory_gb: float
    memory_tb_per_s: float
    nvlink_gb_per_s: float
    nvlink_used_gb_per_s: float | None = None
    network_gb_per_s: float
    watts: float
    source: str
    date: str

    @property
    def total_processing_performance(self) -> float:
        """Source: 15 CFR part 774, supplement 1, note 2 to 3A090."""
        return max(self.bf16_tflops * 16, (self.fp8_tflops or 0.0) * 8)

    @property
    def node_gb_per_s(self) -> float:
        """Bytes a second to the others in its node, one direction."""
        return self.nvlink_used_gb_per_s or self.nvlink_gb_per_s / 2


@cache
def accelerators() -> Mapping[str, Accelerator]:
    """All that are known, by name."""
    text = files("freehold.cost").joinpath("hardware.toml").read_text(encoding="utf-8")
    return {name: Accelerator(name=name, **entry) for name, entry in tomllib.loads(text).items()}


def accelerator(name: str) -> Accelerator:
    """One by name.

    Raises:
        ConfigError: It is not known.
    """
    found = accelerators().get(name.lower())
    if found is None:
        raise ConfigError(f"The accelerator {name!r} is not known; known are {', '.join(accelerators())}.")
    return found
