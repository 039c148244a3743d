"""How the hub tells a terminal, or anybody, how far it has come."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "quiet"]


class Progress(Protocol):
    """Called often, from the thread that works; it must return quickly."""

    def __call__(self, step: str, done_bytes: int, total_bytes: int | None) -> None:
        """Tells how much of a step is done.

        Args:
            step: What is being done: a file's name, `converting`, or a sentence for the user (`total_bytes` None,
                `done_bytes` 0).
            done_bytes: Bytes done of this step.
            total_bytes: Bytes of this step; None where that is not known.
        """


def quiet(step: str, done_bytes: int, total_bytes: int | None) -> None:
    """Tells nobody."""
