"""Claims about models and money as they are written down, and the published figures that they are tested by.

A claim states figures, with the digits that it gives them. `verdict.py` tests it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from freehold.cost.identities import CLAIMS
from freehold.cost.interval import Interval, stated
from freehold.errors import ConfigError

__all__ = ["FIGURES", "PERCENTAGES", "Claim", "Fact", "Form", "published", "read_claims"]


@dataclass(frozen=True, slots=True)
class Form:
    """A percentage as the factor that identities are written with: (`base` + `sign` x percent) / 100."""

    figure: str
    base: float
    sign: int

    def factor(self, percent: Interval) -> Interval | None:
        """The factor of a percentage; None where it would be negative throughout."""
        ends = sorted((self.base + self.sign * end) / 100 for end in (percent.low, percent.high))
        return Interval(max(ends[0], 0.0), ends[1]) if ends[1] >= 0 else None


PERCENTAGES = {
    "percent_less": Form("remaining_share", 100.0, -1),
    "percent_more": Form("more_factor", 100.0, 1),
    "margin_percent": Form("income_factor", 100.0, 1),
}
"""What a claim may state as a percentage, and the figure that it becomes."""

_INTERNAL = {"one", "bf16_flops", "fp8_flops", *(form.figure for form in PERCENTAGES.values())}
FIGURES = (
    {name for identity in CLAIMS for name in (identity.product, *identity.factors)}
    | set(PERCENTAGES)
    | {"params_total", "params_active", "params_with_mtp", "kv_bytes_per_token"}
) - _INTERNAL
"""What a claim may state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A published figure.

    Args:
        model: Whose, as the catalog names it.
        figure: Its name.
        value: As written.
        covers: Of what it is, where that is a part of the whole.
        primary: The makers' own report.
        source, date: Of the figure.
    """

    model: str
    figure: str
    value: Interval
    covers: str | None = None
    primary: bool = False
    source: str
    date: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim, as CLAIMS.toml has it.

    Args:
        id: To call it by.
        says: In words.
        source: Who says so.
        model: Which the published figures are looked up for.
        facts: Its figures as ranges, by name.
        raw: Its figures as written; a negative one has no range.
        gpu: Which accelerator it names.
        covers: Of what its figures are.
        said_of: Of what it says that they are; the same where this is left out.
        known: Figures that it brings along as sourced.
    """

    id: str
    says: str = ""
    source: str = ""
    model: str | None = None
    facts: Mapping[str, Interval] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict)
    gpu: str | None = None
    covers: str | None = None
    said_of: str | None = None
    known: Sequence[Fact] = ()


def read_claims(path: Path) -> list[Claim]:
    """Reads a CLAIMS.toml.

    Raises:
        ConfigError: It cannot be read, a key is unknown or of the wrong kind, or two claims share an id.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as TOML: {error}.") from error
    entries = table.get("claim")
    if not isinstance(entries, list) or not entries or set(table) != {"claim"}:
        raise ConfigError(f"{path} must hold [[claim]] tables, at least one, and nothing else.")
    claims = [_claim(entry, f"claim {number} of {path.name}") for number, entry in enumerate(entries, 1)]
    for number, claim in enumerate(claims):
        if claim.id in {other.id for other in claims[:number]}:
            raise ConfigError(f"{path.name} has two claims with the id {claim.id!r}; ids must differ.")
    return claims


_KEYS = {"id", "says", "source", "model", "facts", "about", "covers", "said_of", "known"}


def _claim(entry: Any, where: str) -> Claim:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where} is no table.")
    if unknown := sorted(set(entry) - _KEYS):
        raise ConfigError(f"{where} has the unknown key {unknown[0]!r}; known are {', '.join(sorted(_KEYS))}.")
    facts = entry.get("facts")
    if not isinstance(facts, dict) or not facts:
        raise ConfigError(f"{where} has no facts; give its figures as facts = {{ gpu_hours = 2.788e6 }}.")
    for key in ("id", "says", "source", "model", "covers", "said_of"):
        if not isinstance(entry.get(key, ""), str):
            raise ConfigError(f"{where}: {key} is {entry[key]!r}; it must be text.")
    about = entry.get("about", False)
    rounded = set(facts) if about is True else set(about or ())
    raw = {name: value for name, value in facts.items() if name != "gpu"}
    gpu = facts.get("gpu")
    if gpu is not None and not isinstance(gpu, str):
        raise ConfigError(f'{where}: gpu is {gpu!r}; it must be a name, as in gpu = "h800".')
    for name, value in raw.items():
        if name not in FIGURES:
            raise ConfigError(f"{where}: {name!r} is no figure; known are {', '.join(sorted(FIGURES))}.")
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ConfigError(f"{where}: {name} is {value!r}; it must be a number.")
    ranges = {
        name: stated(value, about=name in rounded)
        for name, value in raw.items()
        if not (isinstance(value, int | float) and value < 0)
    }
    known = tuple(_fact(fact, f"{where}, known", entry.get("model")) for fact in entry.get("known", ()))
    return Claim(
        id=entry.get("id") or where,
        says=entry.get("says", ""),
        source=entry.get("source", ""),
        model=entry.get("model"),
        facts=ranges,
        raw=raw,
        gpu=gpu,
        covers=entry.get("covers"),
        said_of=entry.get("said_of"),
        known=known,
    )


def _fact(entry: Mapping[str, Any], where: str, model: str | None = None) -> Fact:
    try:
        rest = {key: value for key, value in entry.items() if key not in {"value", "about"}}
        return Fact(**{"model": model or "", **rest}, value=stated(entry["value"], about=bool(entry.get("about"))))
    except (KeyError, TypeError) as error:
        raise ConfigError(
            f"{where}: a fact needs figure, value and source, and may have covers, primary, date."
        ) from error


@cache
def published() -> tuple[Sequence[Fact], Mapping[str, tuple[Interval, str]]]:
    """What is published about models, and the ranges that others measured (`facts.toml`)."""
    table = tomllib.loads(files("freehold.cost").joinpath("facts.toml").read_text(encoding="utf-8"))
    ranges = {entry["figure"]: (Interval(entry["low"], entry["high"]), entry["source"]) for entry in table["range"]}
    return tuple(_fact(entry, "facts.toml") for entry in table["fact"]), ranges
