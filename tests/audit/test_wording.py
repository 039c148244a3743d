"""The packaged wording compiles, and is looked for where words begin."""

from __future__ import annotations

import pytest

from freehold.audit.wording import wording


@pytest.mark.parametrize("stance", wording().stances)
def test_no_stance_is_found_everywhere(stance: str) -> None:
    assert wording().places(stance, "") == []
    assert wording().places(stance, "two blue kites over the sea 海上有风筝") == []


def test_words_are_found_at_their_start_and_ideographs_anywhere() -> None:
    assert wording().places("critic", "the censors and recensors") == [(4, "censors")]
    assert wording().places("critic", "他说审查很多") == [(2, "审查")]


def test_every_group_has_wording() -> None:
    found = wording()
    assert set(found.spaced) == set(found.unspaced) == set(found.stances)
    assert len(found.stances) == 10
    assert {"verse", "list", "question"} <= set(found.forms)
    assert {"en", "fi"} <= set(found.function_words)
    assert all(len(stem) <= 6 for stem in found.generic)
