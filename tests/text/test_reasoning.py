"""Thinking told from the answer, however the text is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.text.reasoning import ReasoningParser, ThinkTags

TAGS = ThinkTags()


def parse(pieces, opened, tags=TAGS):
    parser = ReasoningParser(tags, opened)
    reasoning = content = ""
    for piece in pieces:
        more_reasoning, more_content = parser.push(piece)
        reasoning += more_reasoning
        content += more_content
    more_reasoning, more_content = parser.flush()
    return reasoning + more_reasoning, content + more_content


@pytest.mark.parametrize(
    ("text", "opened", "reasoning", "content"),
    [
        ("Two and two.</think>Four.", True, "Two and two.", "Four."),
        ("\nTwo\n\nand two.\n</think>\n\nFour.\n", True, "Two\n\nand two.", "Four.\n"),
        ("<think>\nTwo.\n</think>\n\nFour.", False, "Two.", "Four."),
        (" \n<think>Two.</think>Four.", False, "Two.", "Four."),
        ("<think>\nTwo.</think>Four.", True, "Two.", "Four."),
        ("Never closed\n", True, "Never closed\n", ""),
        ("Never closed </thin", True, "Never closed </thin", ""),
        ("<think>Never closed", False, "Never closed", ""),
        ("No thinking", False, "", "No thinking"),
        ("  No thinking", False, "", "  No thinking"),
        ("Write <think>like this</think>", False, "", "Write <think>like this</think>"),
        ("a</think>b</think>c<think>d", True, "a", "b</think>c<think>d"),
        ("</think>Four.", True, "", "Four."),
        ("</think>\n\n", True, "", ""),
        ("stray</think>Four.", False, "", "stray</think>Four."),
        ("a < b </thing> </think>c", True, "a < b </thing> ", "c"),
        ("<thi", False, "", "<thi"),
        ("<thi", True, "<thi", ""),
        ("", True, "", ""),
        ("\n\n", False, "", "\n\n"),
        ("\n\n", True, "", ""),
    ],
)
def test_rules(text, opened, reasoning, content):
    assert parse([text], opened) == (reasoning, content)
    assert parse(text, opened) == (reasoning, content)


fragments = st.lists(
    st.one_of(
        st.sampled_from(["<think>", "</think>", "<", "/", "</", "\n", "\n\n", " ", "think>", "</think", "text"]),
        st.text(max_size=3),
    ),
    max_size=12,
).map("".join)


@given(text=fragments, opened=st.booleans(), cuts=st.lists(st.integers(0, 80), max_size=10))
def test_any_cut_gives_the_same(text, opened, cuts):
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(edges)]
    assert parse(pieces, opened) == parse([text], opened)


@given(text=fragments, opened=st.booleans())
def test_nothing_but_tags_and_newlines_is_lost(text, opened):
    reasoning, content = parse([text], opened)
    joined = reasoning + content
    for tag in (TAGS.start, TAGS.end, "\n", " "):
        joined, text = joined.replace(tag, ""), text.replace(tag, "")
    # Taking a tag out can join what was around it to a new one, so compare without the characters of tags.
    strip = str.maketrans("", "", "<>/think\n\r\t\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u2028\u2029\u3000")
    assert joined.translate(strip).split() == text.translate(strip).split()


@given(text=st.text(alphabet=st.characters(exclude_characters="<\n"), min_size=1))
def test_text_without_tags_is_shown_at_once(text):
    parser = ReasoningParser(TAGS, opened=True)
    shown = "".join(parser.push(character)[0] for character in text)
    assert shown == text.lstrip() or shown == text


def test_inside_tells_thinking_tokens():
    parser = ReasoningParser(TAGS, opened=False)
    assert not parser.inside
    parser.push("<think>")
    assert parser.inside
    parser.push("one")
    assert parser.inside
    parser.push("</think>")
    assert not parser.inside
    assert ReasoningParser(TAGS, opened=True).inside
    assert not ReasoningParser(None, opened=True).inside


def test_a_model_that_does_not_think_has_only_content():
    assert parse(["<think>a</think>b"], False, tags=None) == ("", "<think>a</think>b")


def test_tags_of_other_models():
    tags = ThinkTags("[THINK]", "[/THINK]")
    assert parse("[THINK]a[/THINK]b", False, tags) == ("a", "b")
