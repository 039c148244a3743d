"""Measures of agreement, against cases that can be reckoned by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from freehold.audit.agreement import (
    area_under_curve,
    balanced_accuracy,
    balanced_accuracy_interval,
    kappa,
    labels_of,
    matched_pairs,
)
from freehold.audit.labelled import LabelledAnswer

TRUTH = np.array([True, True, False, False, False, False])


def test_balanced_accuracy_is_the_mean_of_the_recalls() -> None:
    assert balanced_accuracy(TRUTH, np.array([True, False, False, False, False, True])) == pytest.approx(
        (1 / 2 + 3 / 4) / 2
    )
    assert math.isnan(balanced_accuracy(TRUTH[:2], TRUTH[:2]))


def test_the_area_counts_a_tie_as_half() -> None:
    assert area_under_curve(TRUTH, np.array([3.0, 1.0, 1.0, 0.0, 0.0, 2.0])) == pytest.approx((4 + 2.5) / 8)
    assert math.isnan(area_under_curve(TRUTH[:2], np.array([0.0, 1.0])))


def test_kappa() -> None:
    assert kappa(["a", "a", "b", "b"], ["a", "b", "b", "b"]) == pytest.approx((0.75 - 0.5) / 0.5)
    assert kappa(["a", "b"], ["a", "b"]) == 1.0
    assert math.isnan(kappa(["a"], ["a"]))


def test_the_interval_holds_the_figure_and_does_not_change() -> None:
    truth = np.tile(TRUTH, 20)
    said = truth ^ (np.arange(120) % 7 == 0)
    items = [str(i // 6) for i in range(120)]
    low, high = balanced_accuracy_interval(items, truth, said)
    assert low < balanced_accuracy(truth, said) < high
    assert (low, high) == balanced_accuracy_interval(items, truth, said)
    assert math.isnan(balanced_accuracy_interval(["1"], TRUTH[:1], TRUTH[:1])[0])


def test_labels_of_logits_have_two_cuts() -> None:
    logits = np.array([[-1.0, 5.0], [0.5, -0.1], [0.5, 0.0]])
    assert labels_of(logits, np.array([0.5, 0.5])) == ["COMPLETE", "EVASIVE", "DENIAL"]


def test_pairs_are_close_in_length_and_used_once() -> None:
    def answer(length: int, label: str, language: str = "en") -> LabelledAnswer:
        return LabelledAnswer(
            question="q",
            answer="x" * length,
            label=label,
            second=label,
            model="a",
            category="us_x",
            language=language,
            item="1",
            source="speechmap",
        )

    answers = [
        answer(100, "EVASIVE"),
        answer(110, "DENIAL"),
        answer(109, "COMPLETE"),
        answer(120, "COMPLETE"),
        answer(400, "COMPLETE"),
        answer(400, "EVASIVE", "zh"),
    ]
    assert matched_pairs(answers) == [(1, 2), (0, 3)]
    assert matched_pairs(answers, 1.05) == [(1, 2)]
