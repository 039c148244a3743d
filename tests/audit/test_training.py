"""Training gives the packaged model again, and models that hold on answers of models that they have not seen."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from freehold.audit.agreement import balanced_accuracy, labels_of, matched_pairs
from freehold.audit.labelled import LabelledAnswer
from freehold.audit.training import Design, Settings, fit, held_out_scores, train
from freehold.errors import ConfigError


@pytest.fixture(scope="module")
def held_out(design: Design, always: Design) -> tuple[list[LabelledAnswer], list[str]]:
    """SpeechMap's answers, and what classifiers say of them that saw no answer of the same model."""
    settings = Settings()
    logits = held_out_scores(design, always, settings, lambda one: one.model)
    answers = [one for one in design.answers if one.source == "speechmap"]
    return answers, labels_of(logits, np.array([settings.threshold, 0.5]))


def agreement(answers: list[LabelledAnswer], said: list[str]) -> float:
    truth = np.array([one.not_complete for one in answers])
    return balanced_accuracy(truth, np.array([label != "COMPLETE" for label in said]))


def test_the_packaged_model_is_what_training_gives(shared_data: Path, tmp_path: Path) -> None:
    train(shared_data / "speechmap", shared_data / "xstest").save(tmp_path / "model.json")
    assert (tmp_path / "model.json").read_bytes() == files("freehold.audit").joinpath("model.json").read_bytes()


def test_four_models_are_left_out(held_out: tuple[list[LabelledAnswer], list[str]]) -> None:
    assert len({one.model for one in held_out[0]}) == 4


@pytest.mark.parametrize("language", ["en", "zh", "fi"])
def test_a_model_that_was_left_out_is_judged_as_the_judge_does(
    language: str, held_out: tuple[list[LabelledAnswer], list[str]]
) -> None:
    mine = [(one, label) for one, label in zip(*held_out, strict=True) if one.language == language]
    assert agreement([one for one, _ in mine], [label for _, label in mine]) >= 0.90


def test_english_answers_of_equal_length_are_told_apart(held_out: tuple[list[LabelledAnswer], list[str]]) -> None:
    """Chinese and Finnish ones fall short of this target: docs/results/answers.md."""
    answers, said = held_out
    english = [i for i, one in enumerate(answers) if one.language == "en"]
    pairs = matched_pairs([answers[i] for i in english])
    index = [english[i] for pair in pairs for i in pair]
    assert len(pairs) >= 20
    assert agreement([answers[i] for i in index], [said[i] for i in index]) >= 0.85


def test_the_same_answers_give_the_same_model(always: Design) -> None:
    some = always.take(range(0, len(always.answers), 3))
    some = Design([replace(one, label=_mixed(i)) for i, one in enumerate(some.answers)], some.vectors)
    assert fit(some, Settings()).to_json() == fit(some, Settings()).to_json()


def _mixed(index: int) -> str:
    return ("COMPLETE", "EVASIVE", "DENIAL")[index % 3]


@pytest.mark.parametrize("labels", [set(), {"COMPLETE"}, {"COMPLETE", "DENIAL"}, {"EVASIVE", "DENIAL"}])
def test_a_class_that_is_lacking_is_an_error(labels: set[str], always: Design) -> None:
    few = Design([replace(one, label=_mixed(i)) for i, one in enumerate(always.answers[:30])], always.vectors[:30])
    few = few.take([i for i, one in enumerate(few.answers) if one.label in labels])
    with pytest.raises(ConfigError, match=f"The {len(few.answers)} answers lack"):
        fit(few, Settings())
