"""Makes text from models, files and strangers safe to print on a terminal or in a log.

A terminal obeys what it is sent: OSC 52 writes the clipboard, CSI moves the cursor and rewrites lines, `\r` hides what
stood before it, `\x9b` is CSI in one character, and right-to-left overrides make text read other than it is.
"""

from __future__ import annotations

import re

__all__ = ["TerminalCleaner", "clean", "clean_line"]

_STRING_END = r"(?:\x07|\x1b\\|\x9c)"
# Whole sequences first, so that their parameters go with them; then every control that is left.
_SEQUENCES = re.compile(
    rf"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:{_STRING_END}|$)"  # OSC, DCS, SOS, PM, APC
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI
    r"|\x1b[ -/]*[0-~]?"  # other escapes
)
_NEWLINES = re.compile(r"\r\n")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\u061c]")


def clean(text: str) -> str:
    """Gives `text` without control codes and direction overrides; newlines and tabs stay, `\\r\\n` becomes `\\n`."""
    return _CONTROLS.sub("", _SEQUENCES.sub("", _NEWLINES.sub("\n", text)))


def clean_line(text: str, limit: int = 200) -> str:
    """Gives `text` as one line of at most `limit` characters, for names and log fields."""
    line = " ".join(clean(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


class TerminalCleaner:
    """`clean` for text that streams in: a sequence cut in two pieces is removed like a whole one.

    What follows an unfinished sequence waits for its end, `limit` characters at most: then the introducer alone goes.
    """

    def __init__(self, limit: int = 4096) -> None:
        self._held = ""
        self._limit = limit

    def push(self, text: str) -> str:
        """Takes the next piece and gives what is safe to print of it."""
        text = self._held + text
        start = _unfinished(text)
        if len(text) - start > self._limit:
            start = len(text)
            text = _CONTROLS.sub("", text)
        self._held = text[start:]
        return clean(text[:start])

    def flush(self) -> str:
        """Ends the text and gives what waited."""
        held, self._held = self._held, ""
        return clean(held)


_UNFINISHED = re.compile(
    r"(?:(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*\x1b?|(?:\x1b\[|\x9b)[0-?]*[ -/]*|\x1b[ -/]*|\r)\Z"
)


def _unfinished(text: str) -> int:
    """Gives where a sequence begins that the end of `text` cuts short, or its length."""
    position = 0
    while match := _INTRODUCER.search(text, position):
        if _UNFINISHED.match(text, match.start()):
            return match.start()
        whole = _SEQUENCES.match(text, match.start())
        position = whole.end() if whole and whole.end() > match.start() else match.end()
    return len(text)


_INTRODUCER = re.compile(r"[\x1b\x9b\x9d\x90\x98\x9e\x9f\r]")
