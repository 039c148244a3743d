"""Trains the classifier from labelled answers: the same answers give the same file, to the last digit.

    train(Path("speechmap"), Path("xstest")).save(Path("src/freehold/audit/model.json"))

Nothing is drawn at random. Both models are logistic with a Gaussian prior of its own for each feature, and the optimum,
of which there is one, is found by Newton's method. The target is the mean of both judges' labels. Weights balance
languages, classes and models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from freehold.audit.classifier import CLIP, Classifier
from freehold.audit.features import FloatArray, feature_names, features
from freehold.audit.labelled import LabelledAnswer, read_speechmap, read_xstest, with_altered, xstest_half
from freehold.errors import ConfigError

__all__ = ["Design", "Settings", "fit", "held_out_scores", "train", "xstest_design"]

_LAYOUT = {"lines", "one_block", "items", "heads", "titled", "refuse*len", "voice*len"}
_RATIOS = {"voice-critic", "measures-critic", "overlap", "overlap_early", "critic_kept"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of training.

    Args:
        variance: Prior variance of the logit that all features give together.
        length: Prior scale of the features of length and layout.
        ratio: Prior scale of the ratios of wording and of the overlap with the request.
        product: Prior scale of the products of two features.
        made: Share of the total weight that altered answers have.
        xstest: Share of the total weight that XSTest's answers have, where there are any.
        second: Weight of the second judge's label in the target.
        threshold: Probability of "not COMPLETE" from which an answer counts as such.
    """

    variance: float = 0.7
    length: float = 0.2
    ratio: float = 3.0
    product: float = 0.3
    made: float = 0.6
    xstest: float = 0.1
    second: float = 0.5
    threshold: float = 0.47


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """Labelled answers with their features.

    Args:
        answers: n of them.
        vectors: Their features, shape (n, d).
    """

    answers: list[LabelledAnswer]
    vectors: FloatArray

    @classmethod
    def of(cls, answers: Sequence[LabelledAnswer]) -> Design:
        """Computes the features; the language of each request is detected."""
        vectors = np.array([features(one.question, one.answer) for one in answers])
        return cls(list(answers), vectors.reshape(-1, len(feature_names())))

    def take(self, indices: Sequence[int]) -> Design:
        """Some of the answers, in the order of `indices`."""
        return Design([self.answers[i] for i in indices], self.vectors[list(indices)])

    def __add__(self, other: Design) -> Design:
        return Design(self.answers + other.answers, np.vstack([self.vectors, other.vectors]))


def train(speechmap: Path, xstest: Path) -> Classifier:
    """Trains the classifier as it is packaged: on all of SpeechMap's answers, and on half of XSTest's.

    Args:
        speechmap, xstest: The folders that `read_speechmap` and `read_xstest` read.

    Raises:
        ConfigError: A folder lacks its files.
    """
    return fit(Design.of(with_altered(read_speechmap(speechmap))) + xstest_design(xstest), Settings())


def xstest_design(folder: Path) -> Design:
    """The half of XSTest that is trained on, without its partial refusals."""
    half = (one for one in read_xstest(folder) if xstest_half(one) == 0)
    return Design.of([one for one in half if one.label != "EVASIVE"])


def fit(design: Design, settings: Settings) -> Classifier:
    """Trains a classifier.

    Args:
        design: Of the answers to train on, altered ones among them.
        settings: Settings of training.

    Raises:
        ConfigError: There are no answers of both sides of each model.
    """
    answers = design.answers
    refused = {one.label == "DENIAL" for one in answers if one.not_complete and one.source != "made"}
    if len({one.not_complete for one in answers}) < 2 or len(refused) < 2:
        raise ConfigError(
            f"The {len(answers)} answers lack one of COMPLETE, EVASIVE and DENIAL; training needs some of each."
        )
    weights = _weights(answers, settings)
    share = weights / weights.sum()
    mean = share @ design.vectors
    scale = np.sqrt(share @ (design.vectors - mean) ** 2)
    scale = np.where(scale > 1e-6, scale, 1e9)
    prior = _prior_scales(settings)
    standard = np.clip((design.vectors - mean) / scale, -CLIP, CLIP)
    matrix = np.hstack([standard * prior, np.ones((len(answers), 1))])
    size = len(feature_names())
    penalty = np.append(np.full(size, size / settings.variance), 0.1)

    codes = _codes([one.label for one in answers])
    soft = (1.0 - settings.second) * codes + settings.second * _codes([one.second for one in answers])
    first = _newton(matrix, soft[:, 0], weights, penalty)

    # The second model sees the unaltered answers that are not COMPLETE.
    keep = np.flatnonzero((codes[:, 0] > 0.0) & np.array([one.source != "made" for one in answers]))
    groups = [(answers[i].source, answers[i].label) for i in keep]
    sizes = Counter(groups)
    balance = np.array([(0.5 if source == "xstest" else 1.0) / sizes[source, label] for source, label in groups])
    second = _newton(matrix[keep], soft[keep, 1], balance * (len(keep) / balance.sum()), penalty)

    found = np.stack([first, second])
    return Classifier(
        mean=mean,
        scale=scale,
        weights=found[:, :size] * prior,
        bias=found[:, size],
        threshold=np.array([settings.threshold, 0.5]),
    )


def held_out_scores(
    design: Design, always: Design | None, settings: Settings, group: Callable[[LabelledAnswer], str]
) -> FloatArray:
    """Logits of answers by classifiers that were trained without the answers of the same group.

    Args:
        design: Of SpeechMap's answers and the altered ones made from them.
        always: Of answers that are always trained on, or None.
        settings: Settings of training.
        group: Of an answer, the name of its group: its model, its request, its language.

    Returns:
        Logits of the unaltered answers in order, shape (n, 2).
    """
    names = [group(one) for one in design.answers]
    real = [i for i, one in enumerate(design.answers) if one.source == "speechmap"]
    logits = np.zeros((len(names), 2))
    for name in sorted({names[i] for i in real}):
        training = design.take([i for i, other in enumerate(names) if other != name])
        if always is not None:
            training = training + always
        tested = [i for i in real if names[i] == name]
        logits[tested] = fit(training, settings).scores(design.vectors[tested])
    kept: FloatArray = logits[real]
    return kept


def _prior_scales(settings: Settings) -> FloatArray:
    """Prior standard deviations of the weights up to a common factor, shape (d,)."""
    scales = np.ones(len(feature_names()))
    for index, name in enumerate(feature_names()):
        if name.startswith("len") or name in _LAYOUT:
            scales[index] *= settings.length
        if name.startswith("ratio") or name in _RATIOS:
            scales[index] *= settings.ratio
        if "*" in name:
            scales[index] *= settings.product
    return scales


def _weights(answers: Sequence[LabelledAnswer], settings: Settings) -> FloatArray:
    """Weights with mean 1, shape (n,).

    Of each source, every language and side (COMPLETE or not) has the same total; within it a model's weight grows with
    the square root of its number of answers.
    """
    cells = [(one.source, one.language, one.not_complete, one.model) for one in answers]
    sizes = Counter(cells)
    raw = np.array([sizes[cell] ** -0.5 for cell in cells])
    totals: dict[tuple[str, str, bool], float] = {}
    for cell, value in zip(cells, raw, strict=True):
        totals[cell[:3]] = totals.get(cell[:3], 0.0) + float(value)
    share = {"made": settings.made, "xstest": settings.xstest}
    share["speechmap"] = 1.0 - sum(share[name] for name in {cell[0] for cell in cells} if name in share)
    groups = Counter(cell[0] for cell in totals)
    weights = np.array(
        [value / totals[cell[:3]] * share[cell[0]] / groups[cell[0]] for cell, value in zip(cells, raw, strict=True)]
    )
    normalised: FloatArray = weights * (len(answers) / weights.sum())
    return normalised


def _codes(labels: Sequence[str]) -> FloatArray:
    """Targets of both models, shape (n, 2)."""
    return np.array([[label != "COMPLETE", label == "DENIAL"] for label in labels], dtype=np.float64)


def _newton(matrix: FloatArray, target: FloatArray, weights: FloatArray, penalty: FloatArray) -> FloatArray:
    """Minimises the weighted cross-entropy plus half the weighted squared norm of the coefficients.

    Args:
        matrix: Features, shape (n, k).
        target: Probability of yes, shape (n,).
        weights: Of the answers, shape (n,).
        penalty: Of each coefficient, shape (k,).

    Returns:
        Coefficients, shape (k,).
    """

    def objective(values: FloatArray) -> float:
        logits = matrix @ values
        return float(weights @ (np.logaddexp(0.0, logits) - target * logits) + 0.5 * penalty @ values**2)

    found = np.zeros(matrix.shape[1])
    current = objective(found)
    for _ in range(100):
        probability = 1.0 / (1.0 + np.exp(-np.clip(matrix @ found, -30.0, 30.0)))
        gradient = matrix.T @ (weights * (target - probability)) - penalty * found
        hessian = (matrix * (weights * probability * (1.0 - probability))[:, None]).T @ matrix + np.diag(penalty)
        move = np.linalg.solve(hessian, gradient)
        step = 1.0
        while step > 1e-6 and objective(found + step * move) > current:
            step *= 0.5
        value = objective(found + step * move)
        if value >= current - 1e-10 * abs(current):
            break
        found, current = found + step * move, value
    return found
