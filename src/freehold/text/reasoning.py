"""Tells a model's thinking from its answer, as the text streams in.

    parser = ReasoningParser(ThinkTags(), opened=True)
    parser.push("Two and two.</thi")    # ("Two and two.", "")
    parser.push("nk>\n\nFour.")         # ("", "Four.")
    parser.flush()                      # ("", "")

How the text is cut into pieces makes no difference. Rules, in the order in which they apply:
1. Opened: the prompt ended inside the thinking. A start tag that the model repeats at the very beginning is dropped.
2. Not opened: a start tag counts at the beginning only, after blanks at most; one further on is a quotation.
3. The first end tag ends the thinking; later ones are text. Thinking that never ends is all thinking.
4. Newlines after the start tag, around the end tag and before the answer belong to the format and are not shown, as on
   DeepSeek's API, where `reasoning_content` and `content` begin with the first character that is not a newline.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["ReasoningParser", "ThinkTags"]


@dataclass(frozen=True, slots=True)
class ThinkTags:
    """The tags that enclose thinking."""

    start: str = "<think>"
    end: str = "</think>"


class _State(Enum):
    BEGINNING = "nothing but blanks so far"
    THINKING = "inside the thinking"
    CLOSED = "behind the end tag, before the answer's first character"
    ANSWER = "in the answer"


class ReasoningParser:
    """Splits one answer's text into thinking and content.

    Args:
        tags: The model's tags; None where it does not think, and all text is content.
        opened: The prompt ended inside the thinking.
    """

    def __init__(self, tags: ThinkTags | None, opened: bool) -> None:
        self._tags = tags or ThinkTags()
        self._opened = opened and tags is not None
        self._state = _State.BEGINNING if tags is not None else _State.ANSWER
        self._held = ""
        self._trim = False

    @property
    def inside(self) -> bool:
        """Whether the next character belongs to the thinking, as far as the text so far tells."""
        return self._state is _State.THINKING or (self._state is _State.BEGINNING and self._opened)

    def push(self, text: str) -> tuple[str, str]:
        """Takes the next piece of text and gives the thinking and the content that it settles."""
        self._held += text
        reasoning = self._begin() if self._state is _State.BEGINNING else ""
        if self._state is _State.THINKING:
            reasoning += self._think()
        if self._state is _State.CLOSED:
            self._held = self._held.lstrip("\n")
            if self._held:
                self._state = _State.ANSWER
        content = ""
        if self._state is _State.ANSWER:
            content, self._held = self._held, ""
        return reasoning, content

    def flush(self) -> tuple[str, str]:
        """Ends the text and gives what was waiting."""
        held, self._held = self._held, ""
        if self._state is _State.CLOSED:
            return "", ""
        if self.inside:
            return held.lstrip("\n") if self._trim or self._state is _State.BEGINNING else held, ""
        return "", held

    def _begin(self) -> str:
        text = self._held.lstrip()
        if text.startswith(self._tags.start):
            self._held = text[len(self._tags.start) :]
        elif self._tags.start.startswith(text):
            return ""
        elif not self._opened:
            self._state = _State.ANSWER
            return ""
        self._state = _State.THINKING
        self._trim = True
        return ""

    def _think(self) -> str:
        if self._trim:
            self._held = self._held.lstrip("\n")
            self._trim = not self._held
        thought, tag, rest = self._held.partition(self._tags.end)
        if tag:
            self._held = rest
            self._state = _State.CLOSED
            return thought.rstrip("\n")
        settled = self._held[: len(self._held) - _partial(self._held, self._tags.end)].rstrip("\n")
        self._held = self._held[len(settled) :]
        return settled


def _partial(text: str, tag: str) -> int:
    """Gives the length of the longest end of `text` with which `tag` may begin."""
    for length in range(min(len(text), len(tag) - 1), 0, -1):
        if tag.startswith(text[-length:]):
            return length
    return 0
