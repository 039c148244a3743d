"""The cost ladder: the quoted figures at its foot, sums by hand, assumptions that can be changed."""

from __future__ import annotations

import pytest

from freehold.cost.ladder import ladder
from freehold.errors import ConfigError


def test_the_quoted_figures_stand_at_its_foot() -> None:
    first, second, *_ = ladder("deepseek-r1").rungs
    assert (first.usd.low, first.usd.high) == (5.576e6, 5.576e6)
    assert (second.usd.low, second.usd.high) == (294e3, 294e3)
    assert not first.assumed
    assert "prior research and ablation experiments" in first.excludes


def test_every_rung_names_its_sources_and_what_it_leaves_out() -> None:
    for rung in ladder("deepseek-r1").rungs:
        assert rung.excludes
        assert rung.sums
        assert set(rung.sums) <= {"rented", "owned"}
        assert all(factor.source for factor in rung.factors)
        assert rung.usd.low <= rung.usd.high


def test_sums_take_rent_or_capital_and_never_both() -> None:
    found = ladder("deepseek-r1")
    by_name = {rung.name: rung for rung in found.rungs}
    assert by_name["capital: servers and networks"].sums == ("owned",)
    rented = [rung.usd for rung in found.rungs if "rented" in rung.sums]
    assert found.total("rented").low == sum(value.low for value in rented)
    assert found.total("rented").high == sum(value.high for value in rented)
    assert found.total("owned").low > found.total("rented").low


def test_assumptions_can_be_set() -> None:
    found = ladder("deepseek-r1").with_factors({"dollars per GPU hour": 3.0})
    assert found.rungs[0].usd.middle == pytest.approx(2.788e6 * 3)
    assert found.rungs[0].factors[1].source == "set by you"
    with pytest.raises(ConfigError, match="has no factor 'hours'; it has H800 GPU hours"):
        found.with_factors({"hours": 1.0})
    with pytest.raises(ConfigError, match="people is -1; it must be positive"):
        found.with_factors({"people": -1.0})
    with pytest.raises(ConfigError, match="no cost ladder for 'gpt-5'; there are deepseek-r1"):
        ladder("gpt-5")
