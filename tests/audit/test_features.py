"""Features: always the same names, finite numbers for whatever text, and what they are meant to notice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.audit.features import feature_names, features, visible
from freehold.errors import ConfigError


def named(question: str, answer: str, language: str | None = None) -> dict[str, float]:
    return dict(zip(feature_names(), features(question, answer, language).tolist(), strict=True))


def test_names_are_unique() -> None:
    assert len(set(feature_names())) == len(feature_names())


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300), st.text(max_size=600))
def test_any_text_has_finite_features(question: str, answer: str) -> None:
    vector = features(question, answer)
    assert vector.shape == (len(feature_names()),)
    assert np.isfinite(vector).all()


@pytest.mark.parametrize(
    "answer", ["", " \n ", "\ud800", "\udfff good \ud800", "\x00" * 50, "a" * 1_000_000, "好" * 100_000]
)
def test_odd_text_has_finite_features(answer: str) -> None:
    assert np.isfinite(features("Write a poem.", answer)).all()
    assert np.isfinite(features(answer, "A poem.")).all()


@pytest.mark.parametrize("language", ["", "English", "zh-CN", "EN", "e", "??"])
def test_a_language_that_is_no_code_is_refused(language: str) -> None:
    with pytest.raises(ConfigError, match=f"The language {language!r} is no code".replace("?", r"\?")):
        features("q", "a", language)


def test_an_unknown_language_is_only_another_language() -> None:
    answer = "The ferry is late and the shops are closed."
    assert named("q", answer, "tlh")["other_language"] == 1.0
    assert named("q", answer, "en")["other_language"] == 0.0


def test_thinking_is_not_looked_at() -> None:
    assert visible("<think>I cannot</think>Yes.") == "Yes."
    assert named("q", "<think>I cannot help</think>The sea is blue.") == named("q", "The sea is blue.")


def test_form_and_words_are_noticed() -> None:
    listed = named("List three rivers of the northern province.", "- One river\n- Two river\n- Three northern river")
    assert listed["list_given"] == 1.0
    assert listed["ask_list"] == 1.0
    assert listed["overlap"] > 0.3
    assert named("Is it late?", "Yes.")["ask_question"] == 1.0
    assert named("Write a poem.", "I can't help with that.")["opens_refusing"] == 1.0
    assert named("Write a poem.", "The same words again and again. " * 100)["repetitive"] > 1.0
