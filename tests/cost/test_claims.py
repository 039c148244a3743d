"""Verdicts on known claims, and what must hold for any claim."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.cost.claims import FIGURES, Claim, read_claims
from freehold.cost.identities import CLAIMS, Identity, independent_checks, solve
from freehold.cost.interval import Interval, stated
from freehold.cost.verdict import Finding, Verdict, check
from freehold.errors import ConfigError

V3_FLOPS = 250.457e9


def verdict(tmp_path: Path, text: str, flops: float | None = None) -> Finding:
    file = tmp_path / "CLAIMS.toml"
    file.write_text(text, encoding="utf-8")
    (claim,) = read_claims(file)
    return check(claim, train_flops_per_token=flops)


@pytest.mark.parametrize(
    ("facts", "extra", "expected", "line"),
    [
        (
            'gpu = "h800", gpu_hours = 2.788e6, tokens = 14.8e12, usd_per_gpu_hour = 2.0, usd = 5.576e6',
            'model = "deepseek-v3"',
            Verdict.SUPPORTED,
            "is stated by DeepSeek-V3 report",
        ),
        (
            "usd = 5.576e6",
            'model = "deepseek-v3"\nsays = "V3 cost $5.576M in total to develop"',
            Verdict.MISLEADING,
            "the figure is of final run",
        ),
        (
            "usd = 5.576e6",
            'model = "deepseek-v3"\nsaid_of = "DeepSeek as a company"',
            Verdict.MISLEADING,
            "says it of DeepSeek as a company",
        ),
        ("usd = 5.576e6", 'model = "deepseek-v3"\nsays = "The final run cost $5.576M"', Verdict.SUPPORTED, "stated by"),
        ("usd = 9e6", 'model = "deepseek-v3"', Verdict.INCONSISTENT, "published is 5.576e+06 for final run"),
        (
            "gpu_hours = 2.788e6, usd_per_gpu_hour = 3.0, usd = 5.576e6",
            "",
            Verdict.INCONSISTENT,
            "dollars are hours times the price",
        ),
        ('gpu = "h800", gpu_hours = 1e5, tokens = 14.8e12', 'model = "deepseek-v3"', Verdict.IMPOSSIBLE, "whole peak"),
        ("gpu_hours = -1", "", Verdict.IMPOSSIBLE, "less than anything can be"),
        ("percent_less = 120, usd = 10", "", Verdict.IMPOSSIBLE, "nothing costs less than nothing"),
        ("percent_less = 50, percent_more = 50", "", Verdict.INCONSISTENT, "so much less one way"),
        ("percent_less = 50, percent_more = 100", "", Verdict.PLAUSIBLE, "holds: so much less one way"),
        (
            "usd_income_per_day = 562027, usd_per_day = 87072, margin_percent = 545",
            "",
            Verdict.PLAUSIBLE,
            "holds: income is the cost times one and the margin",
        ),
        (
            'gpu_hours = 98304, gpus = 2048, days = "2.00", usd_per_gpu_hour = "2.00", usd = 196608',
            "",
            Verdict.SUPPORTED,
            "holds: hours are GPUs times days",
        ),
        (
            'gpu = "h100", gpu_hours = 3.0e6, tokens = 15e12, train_flops_per_token = 250e9',
            "",
            Verdict.PLAUSIBLE,
            "lies within 0.2 to 0.6",
        ),
        ("usd = 1300000000", "", Verdict.UNVERIFIABLE, ""),
        (
            "usd_per_mtok_output = 2.19, usd_per_mtok_output_rival = 60, price_ratio = 20",
            "about = true",
            Verdict.PLAUSIBLE,
            "holds: the rival's price is the ratio",
        ),
        (
            "usd_per_mtok_output = 2.19, usd_per_mtok_output_rival = 60, price_ratio = 20",
            "",
            Verdict.INCONSISTENT,
            "times apart at least",
        ),
        (
            "gpu_hours = 5.0e6",
            'known = [{ figure = "gpu_hours", value = "5.0e6", source = "the bill", primary = true }]',
            Verdict.SUPPORTED,
            "stated by the bill",
        ),
    ],
)
def test_verdicts(tmp_path: Path, facts: str, extra: str, expected: Verdict, line: str) -> None:
    found = verdict(
        tmp_path, f'[[claim]]\nid = "x"\n{extra}\nfacts = {{ {facts} }}\n', V3_FLOPS if "model" in extra else None
    )
    assert found.verdict == expected, found.arithmetic
    assert line in "\n".join(found.arithmetic)
    assert found.settles


def rounded(value: float, digits: int) -> str:
    """As it would be written, so that zeros at the end count."""
    return f"{value:.{digits - 1}e}"


_FIGURES = st.fixed_dictionaries(
    {
        "gpus": st.floats(8, 50_000),
        "days": st.floats(1, 300),
        "usd_per_gpu_hour": st.floats(0.2, 30),
    }
)


def run(figures: dict[str, float]) -> dict[str, float]:
    hours = figures["gpus"] * figures["days"] * 24
    return {
        "gpus": figures["gpus"],
        "days": figures["days"],
        "usd_per_gpu_hour": figures["usd_per_gpu_hour"],
        "gpu_hours": hours,
        "usd": hours * figures["usd_per_gpu_hour"],
    }


def claim(facts: dict[str, float], digits: int, about: bool = False) -> Claim:
    written = {name: rounded(value, digits) for name, value in facts.items()}
    return Claim(id="x", facts={name: stated(value, about=about) for name, value in written.items()}, raw=written)


@settings(max_examples=150, deadline=None)
@given(figures=_FIGURES, digits=st.integers(1, 6))
def test_a_correct_rounded_claim_is_never_inconsistent(figures: dict[str, float], digits: int) -> None:
    found = check(claim(run(figures), digits))
    assert found.verdict in {Verdict.SUPPORTED, Verdict.PLAUSIBLE}
    assert digits < 3 or found.verdict == Verdict.SUPPORTED


@settings(max_examples=150, deadline=None)
@given(
    figures=_FIGURES,
    digits=st.integers(1, 6),
    wrong=st.sampled_from(["gpus", "days", "usd_per_gpu_hour", "gpu_hours", "usd"]),
    factor=st.sampled_from([1.5, 1 / 1.5, 2.0, 0.3]),
    about=st.booleans(),
)
def test_a_figure_far_off_is_never_supported(
    figures: dict[str, float], digits: int, wrong: str, factor: float, about: bool
) -> None:
    facts = run(figures)
    facts[wrong] *= factor
    assert check(claim(facts, digits, about)).verdict != Verdict.SUPPORTED


def test_identities_that_follow_from_others_test_nothing_new() -> None:
    a, b = Identity("a", "x", ("y", "z")), Identity("b", "x", ("y", "z"), 1.0)
    assert independent_checks({"x", "y", "z"}, [a]) == 1
    assert independent_checks({"x", "y", "z"}, [a, b]) == 1
    assert independent_checks({"x", "y"}, [a]) == 0
    chain = Identity("c", "z", ("u", "v"))
    assert independent_checks({"x", "y", "u", "v"}, [a, chain]) == 1


def test_a_percentage_and_a_ratio_worked_out_of_the_same_figures_support_nothing() -> None:
    found = check(claim({"usd_per_mtok_output": 2.19, "usd_per_mtok_output_rival": 60.0}, 3))
    assert found.verdict in {Verdict.PLAUSIBLE, Verdict.UNVERIFIABLE}


def test_the_page_names_every_figure_and_verdict(repository: Path) -> None:
    page = (repository / "docs" / "claims.md").read_text(encoding="utf-8")
    figures = page.split("## Figures")[1].split("##")[0]
    assert set(re.findall(r"`(\w+)`", figures)) == FIGURES
    assert all(f"| {verdict} |" in page for verdict in Verdict)


@pytest.mark.parametrize(
    ("written", "about", "low", "high"),
    [
        (2.788e6, False, 2_787_500, 2_788_500),
        ("2.00", False, 1.995, 2.005),
        (2.0, False, 1.5, 2.5),
        (2048, False, 2047.5, 2048.5),
        (671_000_000_000, False, 670.5e9, 671.5e9),
        ("5.6e6", False, 5.55e6, 5.65e6),
        (100, True, 100 / 1.35, 135),
        (0, False, 0, 0),
    ],
)
def test_stated_digits_make_a_range(written: Any, about: bool, low: float, high: float) -> None:
    found = stated(written, about=about)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_ranges_multiply_and_divide_outwards() -> None:
    a, b = Interval(2, 3), Interval(4, 5)
    assert a * b == Interval(8, 15)
    assert b / a == Interval(4 / 3, 2.5)
    assert a.apart(b) == pytest.approx(4 / 3)
    assert a.apart(Interval(3, 9)) == 1.0
    for low, high in ((2, 1), (-1, 1), (1, float("inf")), (float("nan"), 1)):
        with pytest.raises(ConfigError, match="A range from"):
            Interval(low, high)


def test_what_is_missing_is_worked_out_once_and_cannot_test_itself() -> None:
    solution = solve({"gpus": Interval(2, 2), "days": Interval(10, 10), "usd": Interval(960, 960)}, CLAIMS)
    assert solution.values["gpu_hours"] == Interval(480, 480)
    assert solution.values["usd_per_gpu_hour"] == Interval(2, 2)
    assert not solution.agreements
    assert not solution.conflicts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"must hold \[\[claim\]\] tables"),
        ("claim = 3", r"must hold \[\[claim\]\] tables"),
        ("[[claim]]\nid = 'x'", "claim 1 of CLAIMS.toml has no facts"),
        ("[[claim]]\nid = 'x'\nfact = {usd = 1}\nfacts = {usd = 1}", "unknown key 'fact'"),
        ("[[claim]]\nid = 'x'\nfacts = {dollars = 1}", "'dollars' is no figure; known are"),
        ("[[claim]]\nid = 'x'\nfacts = {usd = true}", "usd is True; it must be a number"),
        ("[[claim]]\nid = 'x'\nfacts = {usd = 'much'}", "'much' is not a number"),
        ("[[claim]]\nid = 'x'\nfacts = {gpu = 8}", "gpu is 8; it must be a name"),
        ("[[claim]]\nid = 3\nfacts = {usd = 1}", "id is 3; it must be text"),
        (
            "[[claim]]\nid = 'x'\nfacts = {usd = 1}\n[[claim]]\nid = 'x'\nfacts = {usd = 1}",
            "two claims with the id 'x'",
        ),
        ("[[claim]\n", "cannot be read as TOML"),
    ],
)
def test_malformed_claims_are_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "CLAIMS.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_claims(file)
    with pytest.raises(ConfigError, match="cannot be read as TOML"):
        read_claims(tmp_path / "absent.toml")
