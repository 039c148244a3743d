"""Ranges of positive numbers, and how a figure's stated digits become one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from freehold.errors import ConfigError

__all__ = ["ABOUT", "Interval", "stated"]

ABOUT = 0.35
"""How far a figure may lie from one that is given as "about" so much."""


@dataclass(frozen=True, slots=True)
class Interval:
    """All numbers from `low` to `high`, both positive and finite, or both 0.

    Raises:
        ConfigError: The ends are no such numbers, or the wrong way round.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and 0 <= self.low <= self.high):
            raise ConfigError(f"A range from {self.low} to {self.high} is none of positive, finite numbers in order.")

    @classmethod
    def exactly(cls, value: float) -> Interval:
        """One number."""
        return cls(value, value)

    @property
    def middle(self) -> float:
        """The geometric middle, since these figures err by factors; the only number where there is one."""
        return self.low if self.low == self.high else math.sqrt(self.low * self.high)

    def __mul__(self, other: Interval) -> Interval:
        return Interval(self.low * other.low, self.high * other.high)

    def __truediv__(self, other: Interval) -> Interval:
        if other.low == 0:
            raise ZeroDivisionError(f"{other} reaches 0")
        return Interval(self.low / other.high, self.high / other.low)

    def meets(self, other: Interval) -> bool:
        """Whether any number lies in both; the width of a rounding error apart counts as meeting."""
        slack = 1e-9 * max(self.high, other.high)
        return self.low <= other.high + slack and other.low <= self.high + slack

    def widened(self, share: float) -> Interval:
        """With both ends moved out by a share of themselves."""
        return Interval(self.low / (1 + share), self.high * (1 + share))

    def apart(self, other: Interval) -> float:
        """By which factor the nearer ends differ; 1 where they meet."""
        if self.meets(other):
            return 1.0
        near, far = (self.high, other.low) if self.high < other.low else (other.high, self.low)
        return math.inf if near == 0 else far / near


def stated(value: float | int | str, *, about: bool = False) -> Interval:
    """The numbers that a figure as written may stand for: half a unit of its last digit either way.

    A number that TOML or JSON gives as a float has lost its trailing zeros, so `2.0` and `2` are the same there; give
    it as text ("2.00") to claim more digits. Whole numbers that end in zeros are taken to be rounded there:
    671000000000 stands for 670.5 to 671.5 billion.

    Args:
        value: As written, positive or 0.
        about: Given as "about" so much: 35% either way.

    Raises:
        ConfigError: Not a number.
    """
    text = repr(value) if isinstance(value, float) else str(value)
    try:
        number = Decimal(text.replace(",", "").replace("_", ""))
    except ArithmeticError as error:
        raise ConfigError(f"{value!r} is not a number.") from error
    if not number.is_finite() or number < 0:
        raise ConfigError(f"{value!r} is not a positive, finite number.")
    point = Interval.exactly(float(number))
    if about:
        return point.widened(ABOUT)
    if number == 0:
        return point
    normal = number.normalize() if isinstance(value, float | int) else number
    exponent = normal.as_tuple().exponent
    half = Decimal(5).scaleb(int(exponent) - 1)
    return Interval(float(max(number - half, Decimal(0))), float(number + half))
