"""Owning against an API: by hand, and where they meet."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from freehold.cost.price import BreakEven, Load, PriceSheet, break_even
from freehold.errors import ConfigError

R1 = PriceSheet(input_miss=0.55, input_hit=0.14, output=2.19)
"""Source: DeepSeek's prices at R1's launch, 20 January 2025."""
OWN: dict[str, Any] = {
    "purchase_usd": 300_000.0,
    "life_years": 4.0,
    "kilowatts": 10.0,
    "usd_per_kwh": 0.2,
    "other_usd_per_year": 20_000.0,
    "output_tokens_per_second": 5_000.0,
}


def compare(load: Load, **changes: Any) -> BreakEven:
    return break_even(R1, load, **{**OWN, **changes})


def test_a_day_by_hand() -> None:
    found = compare(Load(input_tokens=100e6, output_tokens=20e6, cached_share=0.5))
    assert found.api_usd_per_day == pytest.approx(100 * (0.14 + 0.55) / 2 + 20 * 2.19)
    assert found.own_usd_per_day_running == pytest.approx(10 * 24 * 0.2 + 20_000 / 365.25)
    assert found.own_usd_per_day == pytest.approx(found.own_usd_per_day_running + 300_000 / (4 * 365.25))
    assert found.capacity_share == pytest.approx(20e6 / (5000 * 86400))
    assert found.days_to_break_even is None
    assert found.load_to_break_even == pytest.approx(found.own_usd_per_day / found.api_usd_per_day)


def test_a_heavy_load_pays_for_the_machines() -> None:
    found = compare(Load(input_tokens=1e9, output_tokens=300e6))
    assert found.days_to_break_even is not None
    spent = OWN["purchase_usd"] + found.days_to_break_even * found.own_usd_per_day_running
    assert spent == pytest.approx(found.days_to_break_even * found.api_usd_per_day)


def test_what_the_machines_cannot_carry_never_breaks_even() -> None:
    found = compare(Load(input_tokens=0, output_tokens=1e9))
    assert found.capacity_share > 1
    assert found.days_to_break_even is None
    assert compare(Load(input_tokens=0, output_tokens=0)).load_to_break_even is None


@given(st.floats(1e3, 1e9), st.floats(1e3, 4e8), st.floats(0, 1))
def test_at_the_load_that_breaks_even_both_cost_the_same(read: float, written: float, cached: float) -> None:
    load = Load(input_tokens=read, output_tokens=written, cached_share=cached)
    times = compare(load).load_to_break_even
    assume(times is not None)
    assert times is not None
    scaled = compare(Load(input_tokens=read * times, output_tokens=written * times, cached_share=cached))
    assert scaled.api_usd_per_day == pytest.approx(scaled.own_usd_per_day)


def test_what_is_out_of_bounds_is_named() -> None:
    load = Load(input_tokens=1, output_tokens=1)
    for changes, message in (
        ({"purchase_usd": -1.0}, "purchase_usd is -1; it must be 0 or more"),
        ({"life_years": 0.0}, "life_years is 0; it must be positive"),
        ({"usd_per_kwh": float("nan")}, "usd_per_kwh is nan"),
        ({"output_tokens_per_second": float("inf")}, "output_tokens_per_second is inf"),
    ):
        with pytest.raises(ConfigError, match=message):
            compare(load, **changes)
    with pytest.raises(ConfigError, match="cached_share is 2; it must be from 0 to 1"):
        compare(Load(input_tokens=1, output_tokens=1, cached_share=2.0))
