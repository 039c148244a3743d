"""What `freehold chat` writes: the answer as it streams, and the thinking dimmed, with its duration."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TextIO

from freehold.cli.conversation import Answer, Piece
from freehold.text.terminal import TerminalCleaner, clean

__all__ = ["Screen", "seconds"]

DIM = "\x1b[2m"
PLAIN = "\x1b[0m"


def seconds(duration: float) -> str:
    """A duration as people say it: `0.8 s`, `12 s`, `2 min 05 s`."""
    if duration < 9.95:
        return f"{duration:.1f} s"
    whole = round(duration)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"


class Screen:
    """Writes to the terminal or, where the output goes elsewhere, the bare answer alone.

    Args:
        out: Where the answer goes; its being a terminal decides about colour.
        notes: Where everything else goes: the thinking beside a piped answer, hints and errors.
        folded: Show how long the thinking takes, and not what is thought.
    """

    def __init__(self, out: TextIO | None = None, notes: TextIO | None = None, *, folded: bool = False) -> None:
        self.out = out or sys.stdout
        self.notes = notes or sys.stderr
        self.folded = folded
        self.terminal = self.out.isatty()

    def note(self, text: str) -> None:
        """Writes a line that is not the model's."""
        dim = self.notes.isatty()
        _write(self.notes, f"{DIM}{clean(text)}{PLAIN}\n" if dim else f"{clean(text)}\n")

    def show(self, pieces: Iterator[Piece], answer: Answer) -> None:
        """Writes an answer as it comes. An interruption closes the iterator, which stops the model.

        Args:
            pieces: From `Conversation.ask`.
            answer: The one that is filled as the pieces come.
        """
        view = _AnswerView(self)
        try:
            for piece in pieces:
                view.think(piece.reasoning)
                view.say(piece.text, answer)
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()
            view.end(answer)
        if answer.finish_reason == "length":
            self.note("(The answer reached its limit of tokens.)")


class _AnswerView:
    """Where one answer stands on the screen."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._thoughts = screen.out if screen.terminal else screen.notes
        self._dim, self._plain = (DIM, PLAIN) if self._thoughts.isatty() else ("", "")
        self._cleaner = TerminalCleaner()
        self._thinking = False
        self._said = ""

    def think(self, text: str) -> None:
        if not text:
            return
        if not self._thinking:
            self._thinking = True
            _write(self._thoughts, f"{self._dim}Thinking …" + ("" if self._screen.folded else "\n"))
        if not self._screen.folded:
            _write(self._thoughts, self._cleaner.push(text))

    def say(self, text: str, answer: Answer) -> None:
        if not text:
            return
        self._end_thinking(answer)
        self._print(self._cleaner.push(text))

    def end(self, answer: Answer) -> None:
        self._end_thinking(answer)
        self._print(self._cleaner.flush())
        if self._said and not self._said.endswith("\n"):
            _write(self._screen.out, "\n")

    def _print(self, text: str) -> None:
        # The words after the thinking often begin with blank lines.
        text = text if self._said else text.lstrip("\n")
        self._said += text
        _write(self._screen.out, text)

    def _end_thinking(self, answer: Answer) -> None:
        if not self._thinking:
            return
        self._thinking = False
        rest = self._cleaner.flush()
        took = f"Thought for {seconds(answer.reasoning_seconds or 0.0)}"
        before = "\r" if self._screen.folded and self._thoughts.isatty() else f"{rest}\n"
        _write(self._thoughts, f"{before}{took}{self._plain}\n\n")


def _write(sink: TextIO, text: str) -> None:
    if text:
        sink.write(text)
        sink.flush()
