"""How the engine is set up; validated once, frozen after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from freehold.errors import ConfigError

__all__ = ["INVARIANT_ROWS", "EngineConfig"]

INVARIANT_ROWS = 32
"""Most rows of a forward pass in batch-invariant mode without native kernels (`EngineConfig.batch_invariant`)."""

_BOUNDS: dict[str, tuple[int, int]] = {
    "max_batch": (1, 1024),
    "block_size": (1, 256),
    "prefill_chunk": (1, 65_536),
    "max_context": (2, 2**24),
    "cache_tokens": (2, 2**31),
    "max_waiting": (1, 100_000),
    "threads": (1, 4096),
}


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Sizes and switches of one engine.

    Args:
        max_batch: Most answers written at the same time.
        block_size: Tokens of a cache block, the unit of allocation and of prefix reuse.
        prefill_chunk: Most prompt tokens taken in one step, beside one token of each answer being written. Smaller
            chunks keep running answers fluent, larger ones read prompts faster.
        max_context: Most tokens of prompt and answer together; None takes the model's own context length.
        cache_tokens: Tokens the cache holds over all sequences; None takes at most a quarter of the free memory, no
            more than `max_batch` full contexts, and on a CPU no more than 1 GiB or one full context, whichever is
            larger.
        max_waiting: Most answers that may queue; more are refused with `OverloadedError`.
        prefix_cache: Whether prompts reuse what the same user's earlier sequences left in the cache.
        batch_invariant: Whether a sequence gets the same logits alone and in any batch. Native kernels do so by
            themselves. Without them forward passes have at most 32 rows (`INVARIANT_ROWS`), and exactly so many where
            matrix products of different heights add in different orders: that costs the padding, most at batch 1. None
            turns it on for float32 alone.
        pack: Whether weights are laid out for the CPU's matrix units when the model runs on a CPU. This is done in
            place.
        threads: Threads of torch's matrix products, for the whole process; None leaves torch's choice.

    Raises:
        ConfigError: A value out of its bounds; the message names both.
    """

    max_batch: int = 32
    block_size: int = 16
    prefill_chunk: int = 512
    max_context: int | None = None
    cache_tokens: int | None = None
    max_waiting: int = 512
    prefix_cache: bool = True
    batch_invariant: bool | None = None
    pack: bool = True
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if value is None and name in {"max_context", "cache_tokens", "threads"}:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ConfigError(
                    f"Engine setting {name} is {value!r}; it must be a whole number from {low} to {high}."
                )
        for name in ("prefix_cache", "pack"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"Engine setting {name} is {getattr(self, name)!r}; it must be true or false.")
        if self.batch_invariant not in (True, False, None):
            raise ConfigError(f"Engine setting batch_invariant is {self.batch_invariant!r}; it must be true or false.")
        if self.batch_invariant and self.prefill_chunk < INVARIANT_ROWS:
            raise ConfigError(
                f"Engine setting prefill_chunk is {self.prefill_chunk}; with batch_invariant it must be at least "
                f"{INVARIANT_ROWS}."
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EngineConfig:
        """Makes a configuration from a TOML table.

        Raises:
            ConfigError: An unknown key, or a value out of its bounds.
        """
        known = {entry.name for entry in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ConfigError(f"Unknown engine setting {unknown[0]!r}; known are {', '.join(sorted(known))}.")
        return cls(**values)
