"""Ends a text before a stop string, and never lets go of a part of one."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["StopFilter"]


class StopFilter:
    """Holds back the longest end of the text with which a stop string may begin.

    The stop string that is complete first ends the text, and of those complete at the same character the longest; so
    the result does not depend on how the text is cut into pieces.

    Args:
        stops: Non-empty strings.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.released = 0
        """Characters let go so far."""
        self.stopped = False
        """Whether a stop string has ended the text. Nothing is let go after."""

    def push(self, text: str) -> str:
        """Takes the next piece and gives what can be shown."""
        if self.stopped:
            return ""
        if not self._stops:
            self.released += len(text)
            return text
        self._held += text
        ends = [(at + len(stop), at) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if ends:
            self.stopped = True
            return self._release(min(ends)[1])
        return self._release(len(self._held) - self._beginning())

    def flush(self) -> str:
        """Ends the text: what was held back did not become a stop string."""
        return "" if self.stopped else self._release(len(self._held))

    def _release(self, count: int) -> str:
        text, self._held = self._held[:count], self._held[count:]
        self.released += count
        return text

    def _beginning(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        longest = 0
        for stop in self._stops:
            for length in range(min(len(stop) - 1, len(self._held)), longest, -1):
                if self._held.endswith(stop[:length]):
                    longest = length
                    break
        return longest
