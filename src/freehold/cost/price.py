"""Prices of using a model: an API's price sheet, machines of one's own, and where the two meet.

Tokens of a load are per day; money is in dollars.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from freehold.errors import ConfigError

__all__ = ["BreakEven", "Load", "PriceSheet", "break_even"]

_MILLION = 1e6
_DAYS_PER_YEAR = 365.25
_HOURS_PER_DAY = 24.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSheet:
    """What an API asks for a million tokens, in dollars.

    Args:
        input_miss: Prompt tokens that are not in its cache.
        input_hit: Those that are.
        output: Tokens written, thinking included.
    """

    input_miss: float
    input_hit: float
    output: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is used in a day.

    Args:
        input_tokens: Read.
        output_tokens: Written.
        cached_share: Of the input, how much the provider's cache holds, 0 to 1.
    """

    input_tokens: float
    output_tokens: float
    cached_share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """Owning against an API at one load.

    Args:
        api_usd_per_day: What the API comes to.
        own_usd_per_day: Purchase spread over its life, and energy, staff and space.
        own_usd_per_day_running: The latter without the purchase.
        capacity_share: How much of the machines' output the load takes; over 1 they cannot carry it.
        days_to_break_even: From buying until what the API would have cost exceeds what was spent; None where it never
            does within the machines' life, or they cannot carry the load.
        load_to_break_even: How many times this load makes both cost the same over the machines' life; None where it
            takes more than they can carry.
    """

    api_usd_per_day: float
    own_usd_per_day: float
    own_usd_per_day_running: float
    capacity_share: float
    days_to_break_even: float | None
    load_to_break_even: float | None


def break_even(
    sheet: PriceSheet,
    load: Load,
    *,
    purchase_usd: float,
    life_years: float,
    kilowatts: float,
    usd_per_kwh: float,
    other_usd_per_year: float,
    output_tokens_per_second: float,
) -> BreakEven:
    """Compares owning machines with paying an API for the same load.

    Args:
        sheet: Of the API.
        load: In a day.
        purchase_usd: Of the machines.
        life_years: Over which they are written off; nothing is left of them then.
        kilowatts: Drawn around the clock, cooling included.
        usd_per_kwh: Of energy.
        other_usd_per_year: Staff, space, network.
        output_tokens_per_second: What they can write while they read the load's prompts, over all sequences.

    Raises:
        ConfigError: A figure is negative, or one that must be positive is not.
    """
    for name, value, least in (
        ("input_miss", sheet.input_miss, 0.0),
        ("input_hit", sheet.input_hit, 0.0),
        ("output", sheet.output, 0.0),
        ("input_tokens", load.input_tokens, 0.0),
        ("output_tokens", load.output_tokens, 0.0),
        ("purchase_usd", purchase_usd, 0.0),
        ("kilowatts", kilowatts, 0.0),
        ("usd_per_kwh", usd_per_kwh, 0.0),
        ("other_usd_per_year", other_usd_per_year, 0.0),
    ):
        if not least <= value < math.inf:
            raise ConfigError(f"{name} is {value:g}; it must be 0 or more.")
    for name, value in (("life_years", life_years), ("output_tokens_per_second", output_tokens_per_second)):
        if not 0 < value < math.inf:
            raise ConfigError(f"{name} is {value:g}; it must be positive.")
    if not 0 <= load.cached_share <= 1:
        raise ConfigError(f"cached_share is {load.cached_share:g}; it must be from 0 to 1.")
    read = load.cached_share * sheet.input_hit + (1 - load.cached_share) * sheet.input_miss
    api = (load.input_tokens * read + load.output_tokens * sheet.output) / _MILLION
    running = kilowatts * _HOURS_PER_DAY * usd_per_kwh + other_usd_per_year / _DAYS_PER_YEAR
    life_days = life_years * _DAYS_PER_YEAR
    own = running + purchase_usd / life_days
    share = load.output_tokens / (output_tokens_per_second * 86400)
    days = purchase_usd / (api - running) if api > running and share <= 1 else None
    times = own / api if api > 0 else None
    return BreakEven(
        api_usd_per_day=api,
        own_usd_per_day=own,
        own_usd_per_day_running=running,
        capacity_share=share,
        days_to_break_even=days if days is not None and days <= life_days else None,
        load_to_break_even=times if times is not None and times * share <= 1 else None,
    )
