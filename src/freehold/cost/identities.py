"""Products that must hold between figures, and what follows from them.

Each says that one figure is the product of others and a constant. From figures as ranges, `solve` works out what is
missing, keeps each step, and finds every identity whose sides do not meet. The same machinery plans a training run and
tests somebody's claim about one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from freehold.cost.interval import Interval

__all__ = ["CLAIMS", "SERVING", "TRAINING", "Conflict", "Identity", "Solution", "Step", "independent_checks", "solve"]


@dataclass(frozen=True, slots=True)
class Identity:
    """`product` = `constant` x the product of `factors`.

    Args:
        name: In words, for whoever reads the arithmetic.
        product: A figure's name.
        factors: Figures' names.
        constant: For units.
    """

    name: str
    product: str
    factors: tuple[str, ...]
    constant: float = 1.0

    def evaluate(self, figure: str, known: Mapping[str, Interval]) -> Interval | None:
        """The figure as the others give it; None where one of them is missing, or a divisor may be 0."""
        others = [name for name in (self.product, *self.factors) if name != figure]
        if any(name not in known for name in others):
            return None
        if figure == self.product:
            result = Interval.exactly(self.constant)
            for name in self.factors:
                result = result * known[name]
            return result
        divisor = Interval.exactly(self.constant)
        for name in self.factors:
            if name != figure:
                divisor = divisor * known[name]
        return None if divisor.low == 0 else known[self.product] / divisor


@dataclass(frozen=True, slots=True)
class Step:
    """One figure worked out: by which identity, from what."""

    figure: str
    value: Interval
    identity: Identity
    inputs: Mapping[str, Interval]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two values of one figure that do not meet.

    Args:
        identity: That gives the second.
        figure: Whose values they are.
        given: The one.
        derived: The other.
        inputs: What the second was derived from.
    """

    identity: Identity
    figure: str
    given: Interval
    derived: Interval
    inputs: Mapping[str, Interval]

    @property
    def factor(self) -> float:
        """By how much they miss each other."""
        return self.given.apart(self.derived)


@dataclass(frozen=True, slots=True)
class Solution:
    """What follows from some figures.

    Args:
        values: All figures, those given and those worked out.
        steps: How the latter were, in order.
        agreements: Identities whose every figure was there otherwise, and whose sides meet.
        conflicts: Those whose sides do not.
    """

    values: Mapping[str, Interval]
    steps: Sequence[Step]
    agreements: Sequence[Identity]
    conflicts: Sequence[Conflict]


def solve(known: Mapping[str, Interval], identities: Sequence[Identity]) -> Solution:
    """Works out what is missing, and tests what is not.

    An identity that was used to work something out cannot test it too, and is in neither list of the tested.
    """
    values = dict(known)
    steps: list[Step] = []
    used: set[Identity] = set()
    progress = True
    while progress:
        progress = False
        for identity in identities:
            names = (identity.product, *identity.factors)
            missing = [name for name in names if name not in values]
            if identity in used or len(missing) != 1:
                continue
            value = identity.evaluate(missing[0], values)
            if value is None:
                continue
            inputs = {name: values[name] for name in names if name != missing[0]}
            values[missing[0]] = value
            steps.append(Step(missing[0], value, identity, inputs))
            used.add(identity)
            progress = True
    agreements: list[Identity] = []
    conflicts: list[Conflict] = []
    for identity in identities:
        names = (identity.product, *identity.factors)
        if identity in used or any(name not in values for name in names):
            continue
        derived = identity.evaluate(identity.product, values)
        if derived is None:
            continue
        if derived.meets(values[identity.product]):
            agreements.append(identity)
        else:
            inputs = {name: values[name] for name in identity.factors}
            conflicts.append(Conflict(identity, identity.product, values[identity.product], derived, inputs))
    return Solution(values, tuple(steps), tuple(agreements), tuple(conflicts))


def independent_checks(given: Collection[str], identities: Sequence[Identity]) -> int:
    """How many tests of the given figures some identities amount to, when all hold.

    Each identity is a linear equation between logarithms. Those that it takes to tell the figures that are not given
    test nothing, and one that follows from others tests nothing new: what is left is the rank of all, less the rank of
    the part that concerns figures not given.
    """
    names = sorted({name for identity in identities for name in (identity.product, *identity.factors)})
    rows = [[Fraction((name == i.product) - i.factors.count(name)) for name in names] for i in identities]
    free = [column for column, name in enumerate(names) if name not in given]
    return _rank(rows) - _rank([[row[column] for column in free] for row in rows])


def _rank(rows: Sequence[Sequence[Fraction]]) -> int:
    left = [list(row) for row in rows]
    rank = 0
    for column in range(len(left[0]) if left else 0):
        pivot = next((row for row in left[rank:] if row[column]), None)
        if pivot is None:
            continue
        left.remove(pivot)
        left.insert(rank, pivot)
        for row in left[rank + 1 :]:
            share = row[column] / pivot[column]
            for place, value in enumerate(pivot):
                row[place] -= share * value
        rank += 1
    return rank


TRAINING = (
    Identity("FLOPs are tokens times FLOPs per token", "flops_total", ("tokens", "train_flops_per_token")),
    Identity(
        "FLOPs are hours at the BF16 peak times utilisation",
        "flops_total",
        ("gpu_hours", "bf16_flops", "mfu_bf16"),
        3600.0,
    ),
    Identity(
        "FLOPs are hours at the FP8 peak times utilisation",
        "flops_total",
        ("gpu_hours", "fp8_flops", "mfu_fp8"),
        3600.0,
    ),
    Identity("dollars are hours times the price of an hour", "usd", ("gpu_hours", "usd_per_gpu_hour")),
    Identity("hours are GPUs times days", "gpu_hours", ("gpus", "days"), 24.0),
    Identity("tokens are steps times sequences times their length", "tokens", ("steps", "batch", "sequence_length")),
)
"""Between the figures of a training run. FLOP/s of a peak, and FLOPs; hours of one GPU; utilisation as a share."""

SERVING = (
    Identity(
        "a fleet's output is nodes times a node's",
        "output_tokens_per_second",
        ("nodes", "output_tokens_per_second_per_node"),
    ),
    Identity(
        "a day's output is its seconds times the rate", "output_tokens_per_day", ("output_tokens_per_second",), 86400.0
    ),
    Identity(
        "a day's dollars are GPUs times a day's hours times the price",
        "usd_per_day",
        ("gpus", "usd_per_gpu_hour"),
        24.0,
    ),
    Identity("GPUs are nodes times those of a node", "gpus", ("nodes", "gpus_per_node")),
    Identity(
        "a day's dollars are its tokens times the price of a million",
        "usd_per_day",
        ("output_tokens_per_day", "usd_per_mtok_output"),
        1e-6,
    ),
)
"""Between the figures of a serving fleet."""

CLAIMS = (
    *TRAINING,
    *SERVING,
    Identity(
        "the rival's price is the ratio times this one",
        "usd_per_mtok_output_rival",
        ("price_ratio", "usd_per_mtok_output"),
    ),
    Identity("the rival's cost is the ratio times this one", "usd_rival", ("price_ratio", "usd")),
    Identity(
        "this price is the share that is left of the rival's",
        "usd_per_mtok_output",
        ("remaining_share", "usd_per_mtok_output_rival"),
    ),
    Identity("this cost is the share that is left of the rival's", "usd", ("remaining_share", "usd_rival")),
    Identity(
        "the rival's price is this one times what it is more",
        "usd_per_mtok_output_rival",
        ("more_factor", "usd_per_mtok_output"),
    ),
    Identity("the rival's cost is this one times what it is more", "usd_rival", ("more_factor", "usd")),
    Identity("so much less one way is so much more the other", "one", ("remaining_share", "more_factor")),
    Identity("income is the cost times one and the margin", "usd_income_per_day", ("income_factor", "usd_per_day")),
)
"""Those that a claim is tested by; `remaining_share` is 1 less the percentage that something is cheaper, `more_factor`
1 and the percentage that the other is dearer, `income_factor` 1 and the margin on the cost."""
