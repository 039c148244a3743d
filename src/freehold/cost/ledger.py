"""The ledger: what ran, for how long, on what, and what it came to; a line of JSON for each entry, only ever appended.

What a run cost is the sum of its ledger, failed and repeated work included. An entry is written whole or not at all: a
line that was cut off when the machine stopped is the last one, and is set aside by name when the ledger is read.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from freehold.errors import ConfigError

__all__ = ["Entry", "Ledger", "Totals", "totals"]

KINDS = (
    "pre-training",
    "context extension",
    "supervised",
    "reinforcement learning",
    "distillation",
    "evaluation",
    "other",
)
OUTCOMES = ("done", "failed", "repeated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Work that was done.

    Args:
        started, ended: In ISO 8601 with a time zone.
        run: Of which run it is a part, by name.
        kind: One of `KINDS`.
        outcome: `done`; `failed` where its result was lost; `repeated` where it was done before already.
        device: What it ran on, such as `h800` or `cpu`.
        devices: How many of them.
        device_hours: Of one device, summed over all.
        tokens: Trained on, or written.
        flops: Computed, as reckoned from the architecture.
        energy_joules: As the machine tells it, or an estimate.
        energy_is_estimate: Which of the two.
        usd: What it cost; None where nobody has set a price.
        note: For people.

    Raises:
        ConfigError: A value is out of its bounds, or it ended before it started.
    """

    started: str
    ended: str
    run: str
    kind: str
    outcome: str = "done"
    device: str
    devices: int = 1
    device_hours: float
    tokens: int = 0
    flops: float = 0.0
    energy_joules: float | None = None
    energy_is_estimate: bool = True
    usd: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        for name, value, allowed in (("kind", self.kind, KINDS), ("outcome", self.outcome, OUTCOMES)):
            if value not in allowed:
                raise ConfigError(f"Ledger: {name} is {value!r}; it must be one of {', '.join(allowed)}.")
        for name in ("device_hours", "tokens", "flops", "energy_joules", "usd"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and 0 <= value < math.inf):
                raise ConfigError(f"Ledger: {name} is {value!r}; it must be 0 or more.")
        if self.devices < 1:
            raise ConfigError(f"Ledger: devices is {self.devices}; it must be at least 1.")
        for name in ("run", "device"):
            if not getattr(self, name):
                raise ConfigError(f"Ledger: {name} is empty; name it.")
        if _time("ended", self.ended) < _time("started", self.started):
            raise ConfigError(f"Ledger: the work ended at {self.ended}, before it started at {self.started}.")


def _time(name: str, text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"Ledger: {name} is {text!r}; write it as 2026-01-31T12:00:00+00:00.") from error
    if time.tzinfo is None:
        raise ConfigError(f"Ledger: {name} is {text!r}, without a time zone; add one, such as +00:00.")
    return time


class Ledger:
    """A ledger in a file, which need not be there yet.

    Args:
        path: Such as `cost.jsonl` in the folder of a run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, entry: Entry) -> None:
        """Writes an entry and has the system put it on the disk. Processes may append to one ledger at the same time.

        Raises:
            OSError: The file cannot be written; what is in it stays.
        """
        line = json.dumps(asdict(entry), ensure_ascii=False, allow_nan=False) + "\n"
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            end = os.lseek(handle, 0, os.SEEK_END)
            if end and os.pread(handle, 1, end - 1) != b"\n":
                line = "\n" + line  # whatever was cut off keeps a line of its own
            os.write(handle, line.encode())
            os.fsync(handle)
        finally:
            os.close(handle)

    def read(self) -> tuple[Sequence[Entry], Sequence[str]]:
        """All entries in order, and what could not be read, by line, with the reason.

        A ledger that is not there is empty.

        Raises:
            OSError: The file is there and cannot be read.
        """
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return (), ()
        entries: list[Entry] = []
        unread: list[str] = []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                entries.append(_entry(json.loads(line)))
            except (ValueError, ConfigError) as error:
                unread.append(f"{self.path.name}, line {number}: {error}")
        return tuple(entries), tuple(unread)


def _entry(raw: Any) -> Entry:
    names = {field.name for field in fields(Entry)}
    if not isinstance(raw, dict) or set(raw) - names:
        raise ConfigError("it is no entry of a ledger.")
    try:
        return Entry(**raw)
    except TypeError as error:
        raise ConfigError(f"it lacks what an entry has ({error}).") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The sum of some entries.

    Args:
        device_hours: By device.
        device_hours_by_kind: By kind of work.
        device_hours_lost: Of failed and repeated work, which the above include.
        tokens, flops: Of work that was done and kept.
        energy_joules: Of the entries that tell it.
        energy_is_estimate: Whether any of them is an estimate.
        usd: Of the entries that have a price.
        entries_without_usd, entries_without_energy: How many do not tell.
    """

    device_hours: Mapping[str, float]
    device_hours_by_kind: Mapping[str, float]
    device_hours_lost: float
    tokens: int
    flops: float
    energy_joules: float
    energy_is_estimate: bool
    usd: float
    entries_without_usd: int
    entries_without_energy: int


def totals(entries: Iterable[Entry]) -> Totals:
    """Sums entries up. Hours, energy and dollars count all work; tokens and FLOPs only what was kept."""
    every = list(entries)
    devices: dict[str, list[float]] = {}
    kinds: dict[str, list[float]] = {}
    for entry in every:
        devices.setdefault(entry.device, []).append(entry.device_hours)
        kinds.setdefault(entry.kind, []).append(entry.device_hours)
    kept = [entry for entry in every if entry.outcome == "done"]
    measured = [entry for entry in every if entry.energy_joules is not None]
    return Totals(
        device_hours={name: math.fsum(hours) for name, hours in devices.items()},
        device_hours_by_kind={name: math.fsum(hours) for name, hours in kinds.items()},
        device_hours_lost=math.fsum(entry.device_hours for entry in every if entry.outcome != "done"),
        tokens=sum(entry.tokens for entry in kept),
        flops=math.fsum(entry.flops for entry in kept),
        energy_joules=math.fsum(entry.energy_joules or 0.0 for entry in measured),
        energy_is_estimate=any(entry.energy_is_estimate for entry in measured),
        usd=math.fsum(entry.usd or 0.0 for entry in every),
        entries_without_usd=sum(entry.usd is None for entry in every),
        entries_without_energy=len(every) - len(measured),
    )
