"""Nothing that reaches a terminal or a log may steer it."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.text.terminal import TerminalCleaner, clean, clean_line

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b]52;c;ZXZpbA==\x07after", "after"),
        ("\x1b]52;c;ZXZpbA==\x1b\\after", "after"),
        ("\x9d52;c;ZXZpbA==\x9cafter", "after"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;title", ""),
        ("a\x1b[2J\x1b[1;1Hb", "ab"),
        ("a\x9b31mb", "ab"),
        ("\x1bP1$r\x1b\\x", "x"),
        ("a\x1bcb", "ab"),
        ("safe\rEVIL", "safeEVIL"),
        ("one\r\ntwo", "one\ntwo"),
        ("a\x08\x7f\x00b", "ab"),
        ("abc\u202etxt.exe", "abctxt.exe"),
        ("naïve 世界 🙂", "naïve 世界 🙂"),
        ("👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧"),
    ],
)
def test_control_codes_are_removed(text, shown):
    assert clean(text) == shown


hostile = st.text(
    alphabet=st.one_of(st.sampled_from("\x1b\x9b\x9d\x9c\x07\r\n]P[\\;52mc0 "), st.characters(codec="utf-8")),
    max_size=40,
)


@given(text=hostile)
def test_no_control_code_survives(text):
    assert not CONTROL.search(clean(text))
    assert clean(clean(text)) == clean(text)


@given(text=hostile, cuts=st.lists(st.integers(0, 40), max_size=6))
def test_any_cut_gives_the_same(text, cuts):
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    cleaner = TerminalCleaner()
    shown = "".join(cleaner.push(text[a:b]) for a, b in pairwise(edges)) + cleaner.flush()
    assert shown == clean(text)


def test_an_endless_sequence_does_not_swallow_the_stream():
    cleaner = TerminalCleaner(limit=16)
    shown = cleaner.push("\x1b]52;" + "x" * 40) + cleaner.push("answer")
    assert "answer" in shown
    assert not CONTROL.search(shown)


def test_a_line_is_one_line_of_limited_length():
    assert clean_line("a\nb\r\n c\x1b[31m") == "a b c"
    assert clean_line("x" * 300, limit=10) == "x" * 9 + "…"
