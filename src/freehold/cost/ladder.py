"""Cost ladders: from the run that is usually quoted to the whole undertaking, and what each rung leaves out."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from freehold.cost.interval import Interval
from freehold.errors import ConfigError

__all__ = ["Factor", "Ladder", "Rung", "ladder"]


@dataclass(frozen=True, slots=True)
class Factor:
    """One factor of a rung.

    Args:
        name: With its unit.
        value: From low to high.
        source: Of the figure.
        assumed: Nobody has published it.
    """

    name: str
    value: Interval
    source: str
    assumed: bool = False


@dataclass(frozen=True, slots=True)
class Rung:
    """One kind of cost.

    Args:
        name: What it is.
        factors: Whose product it comes to, in dollars.
        excludes: What it leaves out.
        sums: To which sums it belongs: `rented`, `owned`, or both.
    """

    name: str
    factors: Sequence[Factor]
    excludes: str
    sums: Sequence[str]

    @property
    def usd(self) -> Interval:
        """The product of the factors."""
        result = Interval.exactly(1.0)
        for factor in self.factors:
            result = result * factor.value
        return result

    @property
    def assumed(self) -> bool:
        """Whether any factor is an assumption."""
        return any(factor.assumed for factor in self.factors)


@dataclass(frozen=True, slots=True)
class Ladder:
    """All rungs of one undertaking."""

    title: str
    rungs: Sequence[Rung]

    def total(self, sum_: str) -> Interval:
        """Dollars of all rungs of one sum, `rented` or `owned`."""
        values = [rung.usd for rung in self.rungs if sum_ in rung.sums]
        return Interval(sum(value.low for value in values), sum(value.high for value in values))

    def with_factors(self, changes: Mapping[str, float]) -> Ladder:
        """The ladder with some factors set to one value, wherever they occur.

        Raises:
            ConfigError: No rung has a factor of that name, or the value is not positive.
        """
        names = {factor.name for rung in self.rungs for factor in rung.factors}
        for name, value in changes.items():
            if name not in names:
                raise ConfigError(f"The ladder has no factor {name!r}; it has {', '.join(sorted(names))}.")
            if not 0 < value < float("inf"):
                raise ConfigError(f"{name} is {value:g}; it must be positive.")
        rungs = [
            Rung(
                rung.name,
                [
                    Factor(f.name, Interval.exactly(changes[f.name]), "set by you") if f.name in changes else f
                    for f in rung.factors
                ],
                rung.excludes,
                rung.sums,
            )
            for rung in self.rungs
        ]
        return Ladder(self.title, rungs)


def ladder(name: str) -> Ladder:
    """A ladder by the model's name (`ladders.toml`).

    Raises:
        ConfigError: There is none.
    """
    ladders = _ladders()
    if name not in ladders:
        raise ConfigError(f"There is no cost ladder for {name!r}; there are {', '.join(ladders)}.")
    entry = ladders[name]
    return Ladder(entry["title"], [_rung(rung) for rung in entry["rung"]])


@cache
def _ladders() -> dict[str, Any]:
    text = files("freehold.cost").joinpath("ladders.toml").read_text(encoding="utf-8")
    ladders: dict[str, Any] = tomllib.loads(text)["ladders"]
    return ladders


def _rung(entry: Mapping[str, Any]) -> Rung:
    factors = [
        Factor(f["name"], Interval(f["low"], f["high"]), f["source"], f.get("assumed", False)) for f in entry["factors"]
    ]
    return Rung(entry["name"], factors, entry["excludes"], tuple(entry["sums"]))
