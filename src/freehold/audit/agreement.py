"""How well two judges agree: balanced accuracy with its interval, area under the curve, kappa, length-matched pairs.

Throughout, `truth` is whether the first judge says that an answer is not COMPLETE, `said` whether the other does.
A figure that needs both sides and finds one is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from freehold.audit.classifier import LABELS
from freehold.audit.features import FloatArray
from freehold.audit.labelled import LabelledAnswer

__all__ = [
    "BoolArray",
    "area_under_curve",
    "balanced_accuracy",
    "balanced_accuracy_interval",
    "kappa",
    "labels_of",
    "matched_pairs",
]

BoolArray = npt.NDArray[np.bool_]


def labels_of(logits: FloatArray, threshold: FloatArray) -> list[str]:
    """Labels of logits, as `Classifier.predict` gives them.

    Args:
        logits: Shape (n, 2).
        threshold: Of each model's probability, shape (2,).
    """
    cuts = np.log(threshold / (1.0 - threshold))
    return [
        LABELS[0] if first < cuts[0] else LABELS[2 if second >= cuts[1] else 1] for first, second in logits.tolist()
    ]


def balanced_accuracy(truth: BoolArray, said: BoolArray) -> float:
    """The mean of the recalls of both sides; `truth` and `said` have shape (n,)."""
    if truth.all() or not truth.any():
        return math.nan
    return float((said[truth].mean() + (~said[~truth]).mean()) / 2)


def balanced_accuracy_interval(
    items: Sequence[str], truth: BoolArray, said: BoolArray, draws: int = 2000
) -> tuple[float, float]:
    """A 95% bootstrap interval of the balanced accuracy that draws whole requests.

    Args:
        items: The request of each answer, n of them.
        truth, said: Shape (n,).
        draws: How often; those that lack a side are left out.

    Returns:
        Its lower and its upper end, always the same for the same answers.
    """
    names = sorted(set(items))
    number = {name: index for index, name in enumerate(names)}
    sums = np.zeros((len(names), 4))
    for item, is_other, says_other in zip(items, truth, said, strict=True):
        cell = sums[number[item]]
        cell[0 if is_other else 2] += 1
        cell[1 if is_other else 3] += says_other == is_other
    drawn = np.random.default_rng(0).integers(len(names), size=(draws, len(names)))
    total = sums[drawn].sum(axis=1)
    total = total[(total[:, 0] > 0) & (total[:, 2] > 0)]
    if not len(total):
        return math.nan, math.nan
    values = (total[:, 1] / total[:, 0] + total[:, 3] / total[:, 2]) / 2
    return float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))


def area_under_curve(truth: BoolArray, scores: FloatArray) -> float:
    """How often an answer that is not COMPLETE scores above one that is; `truth` and `scores` have shape (n,)."""
    if truth.all() or not truth.any():
        return math.nan
    above = scores[truth][:, None] - scores[~truth][None, :]
    return float((above > 0).mean() + 0.5 * (above == 0).mean())


def kappa(first: Sequence[str], second: Sequence[str]) -> float:
    """Cohen's kappa of two lists of labels."""
    size = len(first)
    agreed = sum(a == b for a, b in zip(first, second, strict=True)) / size
    names = sorted(set(first) | set(second))
    chance = sum((sum(a == n for a in first) / size) * (sum(b == n for b in second) / size) for n in names)
    return (agreed - chance) / (1.0 - chance) if chance < 1.0 else math.nan


def matched_pairs(answers: Sequence[LabelledAnswer], factor: float = 1.25) -> list[tuple[int, int]]:
    """Pairs answers that are not COMPLETE with COMPLETE ones of about the same length.

    Within a language the closest pair is taken first, without replacement.

    Args:
        answers: Of any languages.
        factor: How many times as long, in characters, the longer of a pair may be.

    Returns:
        Of each pair, the index of the answer that is not COMPLETE and that of the one that is; by language.
    """
    lengths = np.log(np.array([max(1, len(one.answer)) for one in answers]))
    found: list[tuple[int, int]] = []
    for language in dict.fromkeys(one.language for one in answers):
        mine = [i for i, one in enumerate(answers) if one.language == language]
        others = [i for i in mine if answers[i].not_complete]
        complete = [i for i in mine if not answers[i].not_complete]
        used: set[int] = set()
        for distance, a, b in sorted((abs(float(lengths[a] - lengths[b])), a, b) for a in others for b in complete):
            if distance > math.log(factor):
                break
            if a not in used and b not in used:
                used |= {a, b}
                found.append((a, b))
    return found
