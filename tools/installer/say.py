"""How the installer speaks: one line a step, and one clear error with its remedy."""

from __future__ import annotations

import sys

__all__ = ["SetupError", "say"]


class SetupError(Exception):
    """Something that stops the installation.

    Args:
        what: What is wrong, in one sentence.
        remedy: What to do about it, one line each.
    """

    def __init__(self, what: str, *remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return "\n".join([self.what, *(f"  {line}" for line in self.remedy)])


def say(text: str) -> None:
    """Prints one line of progress at once, so that it stands before whatever the step itself prints."""
    sys.stdout.write(f"==> {text}\n")
    sys.stdout.flush()
