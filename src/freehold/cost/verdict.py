"""Claims about models and money, tested by arithmetic.

A claim states figures. Whatever must hold between them is tested (`identities.py`), between them and what is published
(`facts.toml`), and against ranges that others measured. The verdict is the first of these that applies:

- *impossible*: a figure is negative, or more was computed than the chips can;
- *inconsistent*: two of its figures, or one and a published one, differ by more than their stated digits allow;
- *misleading in scope*: the figure is published for a part and the claim puts it to the whole;
- *supported*: a primary source states it, or two independent identities hold that would show an error of 1.5 times;
- *plausible*: what follows from it lies inside a cited range, or only one identity holds;
- *unverifiable*: nothing here can tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from freehold.cost.claims import FIGURES, PERCENTAGES, Claim, published
from freehold.cost.hardware import accelerator
from freehold.cost.identities import CLAIMS, Identity, independent_checks, solve
from freehold.cost.interval import Interval

__all__ = ["Finding", "Verdict", "check"]

_NEVER_ZERO = FIGURES - set(PERCENTAGES) - {"usd", "usd_rival"}
_WHOLE_WORDS = (
    "in total",
    "total cost",
    "entire",
    "altogether",
    "whole",
    "developing",
    "development",
    "all costs",
    "to build deepseek",
    "the company",
)
"""How a claim says that it means everything."""

_TELLING = 1.5
"""An identity supports a claim only where it would show an error of this factor."""
_WHOLE = "the whole"


class Verdict(StrEnum):
    """What the arithmetic says of a claim."""

    IMPOSSIBLE = "impossible"
    INCONSISTENT = "inconsistent"
    MISLEADING = "misleading in scope"
    SUPPORTED = "supported"
    PLAUSIBLE = "plausible"
    UNVERIFIABLE = "unverifiable"


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on one claim.

    Args:
        claim: Which.
        verdict: What the arithmetic says.
        intervals: All figures, those that follow too.
        arithmetic: What was tested, in words, one line each.
        settles: What would settle it.
    """

    claim: Claim
    verdict: Verdict
    intervals: Mapping[str, Interval]
    arithmetic: Sequence[str]
    settles: str


def check(claim: Claim, *, train_flops_per_token: float | None = None) -> Finding:
    """Tests a claim.

    Args:
        claim: With its figures.
        train_flops_per_token: Of its model, where the architecture is known.

    Returns:
        The verdict, with every step that led to it.
    """
    return _Test(claim, train_flops_per_token).finding()


class _Test:
    def __init__(self, claim: Claim, train_flops_per_token: float | None) -> None:
        self._claim = claim
        self._lines: list[str] = []
        known = {name: value for name, value in claim.facts.items() if name not in PERCENTAGES}
        known["one"] = Interval.exactly(1.0)
        for name, form in PERCENTAGES.items():
            if name in claim.facts and (value := form.factor(claim.facts[name])) is not None:
                known[form.figure] = value
        if train_flops_per_token is not None and "tokens" in known:
            known.setdefault("train_flops_per_token", Interval.exactly(train_flops_per_token))
        if claim.gpu is not None:
            chip = accelerator(claim.gpu)
            known["bf16_flops"] = Interval.exactly(chip.bf16_tflops * 1e12)
            known["fp8_flops"] = Interval.exactly((chip.fp8_tflops or chip.bf16_tflops) * 1e12)
        self._given = set(known)
        self._solution = solve(known, CLAIMS)
        facts, self._ranges = published()
        self._facts = [fact for fact in (*claim.known, *facts) if fact.model in {claim.model or "", ""}]

    def finding(self) -> Finding:
        for test in (self._impossible, self._inconsistent, self._misleading, self._supported, self._plausible):
            found = test()
            if found is not None:
                verdict, settles = found
                break
        else:
            verdict, settles = (
                Verdict.UNVERIFIABLE,
                (
                    "a primary source for the figure, or figures that it must agree with: hours and price, tokens and "
                    "parameters, GPUs and days"
                ),
            )
        intervals = {name: value for name, value in self._solution.values.items() if name != "one"}
        return Finding(self._claim, verdict, intervals, tuple(self._lines), settles)

    def _say(self, line: str) -> None:
        if line not in self._lines:
            self._lines.append(line)

    def _impossible(self) -> tuple[Verdict, str] | None:
        for step in self._solution.steps:
            inputs = ", ".join(f"{name} {_range(value)}" for name, value in step.inputs.items() if name != "one")
            self._say(f"{step.figure} = {_range(step.value)}, since {step.identity.name} ({inputs})")
        for name, value in self._claim.raw.items():
            if isinstance(value, int | float) and (value < 0 or (value == 0 and name in _NEVER_ZERO)):
                self._say(f"{name} is {value}, which is less than anything can be")
                return Verdict.IMPOSSIBLE, "the figure as its source has it"
        for name in ("mfu_bf16", "mfu_fp8"):
            value = self._solution.values.get(name)
            precise = name == "mfu_fp8" or "fp8_flops" not in self._solution.values or name in self._claim.facts
            if value is not None and precise and value.low > 1.0:
                self._say(f"{name} = {_range(value)}: more than the whole peak of the chips")
                return (
                    Verdict.IMPOSSIBLE,
                    "which of tokens, hours, chips and parameters is wrong: the run's log, or its bill",
                )
        for name in ("percent_less",):
            if name in self._claim.facts and self._claim.facts[name].low > 100.0:
                self._say(f"{name} is {_range(self._claim.facts[name])}: nothing costs less than nothing")
                return Verdict.IMPOSSIBLE, "the two figures that the percentage compares"
        return None

    def _inconsistent(self) -> tuple[Verdict, str] | None:
        for conflict in self._solution.conflicts:
            self._say(
                f"{conflict.figure} is {_range(conflict.given)}, but {conflict.identity.name}, which is "
                f"{_range(conflict.derived)}: {conflict.factor:.2f} times apart at least"
            )
        if self._solution.conflicts:
            return Verdict.INCONSISTENT, "which of the figures is wrong: the source of each"
        for figure, value in self._claim.facts.items():
            same = [fact for fact in self._facts if fact.figure == figure]
            wanted = [
                fact for fact in same if fact.covers is None or fact.covers == (self._claim.covers or fact.covers)
            ]
            if wanted and not any(fact.value.meets(value) for fact in wanted):
                nearest = min(wanted, key=lambda fact: fact.value.apart(value))
                self._say(
                    f"{figure} is {_range(value)}; published is {_range(nearest.value)}"
                    f"{f' for {nearest.covers}' if nearest.covers else ''} ({nearest.source})"
                )
                return Verdict.INCONSISTENT, f"why it differs from {nearest.source}"
        return None

    def _misleading(self) -> tuple[Verdict, str] | None:
        claim = self._claim
        of = claim.said_of or (_WHOLE if _speaks_of_the_whole(claim.says) else None)
        if of is None:
            return None
        parts = {claim.covers} if claim.covers else set()
        for figure, value in claim.facts.items():
            for fact in self._facts:
                if fact.figure == figure and fact.covers is not None and fact.value.meets(value):
                    self._say(f"{figure} {_range(value)} is published for {fact.covers} ({fact.source})")
                    parts.add(fact.covers)
        parts.discard(None)
        if parts and of not in parts:
            named = ", ".join(sorted(str(part) for part in parts))
            self._say(f"the claim says it of {of}; the figure is of {named}")
            return Verdict.MISLEADING, f"what {of} comes to, with everything that {named} leaves out"
        return None

    def _supported(self) -> tuple[Verdict, str] | None:
        telling = [identity for identity in self._solution.agreements if self._tells(identity)]
        for identity in self._solution.agreements:
            self._say(f"holds: {identity.name}")
        for figure, value in self._claim.facts.items():
            for fact in self._facts:
                if (
                    fact.primary
                    and fact.figure == figure
                    and fact.value.meets(value)
                    and _width(value, fact.value) < _TELLING
                ):
                    self._say(f"{figure} {_range(value)} is stated by {fact.source}")
                    return Verdict.SUPPORTED, "nothing more, unless the primary source is doubted"
        if independent_checks(self._given, [*telling, *(step.identity for step in self._solution.steps)]) >= 2:
            return Verdict.SUPPORTED, "nothing more: independent identities agree"
        return None

    def _plausible(self) -> tuple[Verdict, str] | None:
        for figure, (allowed, source) in self._ranges.items():
            value = self._solution.values.get(figure)
            if value is None:
                continue
            if allowed.meets(value):
                self._say(f"{figure} {_range(value)} lies within {_range(allowed)} ({source})")
                return Verdict.PLAUSIBLE, "a primary source, or a second figure that it must agree with"
            self._say(f"{figure} {_range(value)} lies outside {_range(allowed)} ({source})")
        if self._solution.agreements:
            return Verdict.PLAUSIBLE, "a second, independent figure that it must agree with"
        if any(
            fact.figure in self._claim.facts and fact.value.meets(self._claim.facts[fact.figure])
            for fact in self._facts
        ):
            return Verdict.PLAUSIBLE, "a primary source"
        return None

    def _tells(self, identity: Identity) -> bool:
        derived = identity.evaluate(identity.product, self._solution.values)
        return derived is not None and _width(derived, self._solution.values[identity.product]) < _TELLING


def _width(a: Interval, b: Interval) -> float:
    """The largest error that two ranges that meet may hide."""
    if a.low == 0 or b.low == 0:
        return float("inf")
    return max(a.high / b.low, b.high / a.low)


def _speaks_of_the_whole(says: str) -> bool:
    text = says.lower()
    return any(word in text for word in _WHOLE_WORDS)


def _range(value: Interval) -> str:
    if value.low == value.high or value.high / max(value.low, 1e-300) < 1.0005:
        return f"{value.middle:.4g}"
    return f"{value.low:.4g} to {value.high:.4g}"
