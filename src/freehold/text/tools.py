"""Finds the tool calls in what a model writes, as the text streams in.

    parser = tool_parser("hermes")
    delta = parser.push('Let me look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>')
    delta.content       # "Let me look."
    delta.calls         # (ToolCall(id="call_…", name="weather", arguments='{"city": "Rome"}'),)
    parser.flush()

How the text is cut into pieces makes no difference. A call is given when it is whole and its arguments are a JSON
object; anything else comes back as content, with nothing lost but the blanks and wrappers around true calls. The
markers of DeepSeek's and Llama's syntaxes may be flagged special: decode with `keep=ChatFormat.visible_special_ids`.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal, Protocol

from freehold.text.tool_bodies import read_deepseek, read_json
from freehold.types import ToolCall

__all__ = ["ToolDelta", "ToolParser", "ToolSyntax", "tool_parser"]

ToolSyntax = Literal["deepseek", "hermes", "llama3"]
"""`deepseek`: V3, R1 and V3.1, `<｜tool▁call▁begin｜>` tokens; `hermes`: `<tool_call>` tags; `llama3`: bare JSON."""


@dataclass(frozen=True, slots=True)
class ToolDelta:
    """What a piece of text settles: content to show, and calls that are whole."""

    content: str = ""
    calls: tuple[ToolCall, ...] = ()


class ToolParser(Protocol):
    """Splits one answer's text into content and tool calls."""

    def push(self, text: str) -> ToolDelta:
        """Takes the next piece of text and gives what it settles."""

    def flush(self) -> ToolDelta:
        """Ends the text and gives what was waiting."""


def tool_parser(
    syntax: ToolSyntax, names: Collection[str] | None = None, *, new_id: Callable[[], str] | None = None
) -> ToolParser:
    """Gives a parser for one answer.

    Args:
        syntax: How the model writes calls (`ChatFormat.tool_syntax`).
        names: The tools that the request declared. `llama3` has no markers, so that only a JSON object naming one of
            these is a call; the others take any name.
        new_id: Makes the ids of calls; random ones by default.
    """
    make_id = new_id or (lambda: f"call_{secrets.token_hex(12)}")
    if syntax == "llama3":
        return _BareJson(names, make_id)
    return _Marked(_DEEPSEEK if syntax == "deepseek" else _HERMES, make_id)


@dataclass(frozen=True, slots=True)
class _Markers:
    begin: str
    end: str
    section_begin: str | None
    section_end: str | None
    read: Callable[[str], tuple[str, str] | None]


class _Marked:
    """Calls between two markers, perhaps in a section between two more. `_pending` waits for what decides about it."""

    def __init__(self, markers: _Markers, new_id: Callable[[], str]) -> None:
        self._markers = markers
        self._new_id = new_id
        self._buffer = ""
        self._pending = ""  # Blanks and a section's opening: dropped before a true call, else content.
        self._body = False
        self._after_call = False

    def push(self, text: str) -> ToolDelta:
        self._buffer += text
        content: list[str] = []
        calls: list[ToolCall] = []
        while self._body_step(content, calls) if self._body else self._text_step(content):
            pass
        return ToolDelta("".join(content), tuple(calls))

    def flush(self) -> ToolDelta:
        content: list[str] = []
        calls: list[ToolCall] = []
        if self._body:
            self._call(self._buffer, "", content, calls)
        else:
            self._pending += self._buffer
        if not self._after_call or self._pending.strip():
            content.append(self._pending)
        self._buffer = self._pending = ""
        self._body = False
        return ToolDelta("".join(content), tuple(calls))

    def _body_step(self, content: list[str], calls: list[ToolCall]) -> bool:
        body, end, rest = self._buffer.partition(self._markers.end)
        if not end:
            return False
        self._buffer = rest
        self._body = False
        self._call(body, end, content, calls)
        return True

    def _call(self, body: str, end: str, content: list[str], calls: list[ToolCall]) -> None:
        read = self._markers.read(body)
        if read is None:
            content.append(self._pending + self._markers.begin + body + end)
            self._after_call = False
        else:
            calls.append(ToolCall(self._new_id(), *read))
            self._after_call = True
        self._pending = ""

    def _text_step(self, content: list[str]) -> bool:
        """Takes one blank run, marker or stretch of text off the buffer; False when more text has to come first."""
        text = self._buffer.lstrip()
        self._pending += self._buffer[: len(self._buffer) - len(text)]
        self._buffer = text
        if not text:
            return False
        known = [self._markers.begin, self._markers.section_begin, self._markers.section_end]
        markers = [marker for marker in known if marker is not None]
        for marker in markers:
            if text.startswith(marker):
                self._buffer = text[len(marker) :]
                self._meet(marker, content)
                return True
        if any(marker.startswith(text) for marker in markers):
            return False
        stretch = re.match(r"\S[^\s<]*", text)
        length = stretch.end() if stretch else 1
        content.append(self._pending + text[:length])
        self._pending = ""
        self._after_call = False
        self._buffer = text[length:]
        return True

    def _meet(self, marker: str, content: list[str]) -> None:
        if marker == self._markers.begin:
            self._body = True
        elif marker == self._markers.section_end and self._after_call:
            self._pending = ""
        elif marker == self._markers.section_begin and not self._after_call:
            if self._pending.strip():
                content.append(self._pending)
                self._pending = ""
            self._pending += marker
        else:
            content.append(self._pending + marker)
            self._pending = ""
            self._after_call = False


class _BareJson:
    """A whole answer that is one JSON object or several, each naming a tool; what is no such object is content."""

    _OPENING = "<|python_tag|>"

    def __init__(self, names: Collection[str] | None, new_id: Callable[[], str]) -> None:
        self._names = names
        self._new_id = new_id
        self._buffer = ""
        self._content = False
        self._scanned = self._depth = self._start = 0
        self._string = self._escaped = False
        self._any = False

    def push(self, text: str) -> ToolDelta:
        if self._content:
            return ToolDelta(text)
        self._buffer += text
        calls: list[ToolCall] = []
        while (whole := self._object()) is not None:
            read = read_json(whole)
            if read is None or (self._names is not None and read[0] not in self._names):
                self._content = True
                break
            calls.append(ToolCall(self._new_id(), *read))
            self._buffer = self._buffer[self._scanned :]
            self._scanned = 0
            self._any = True
        content = ""
        if self._content:
            content, self._buffer = self._buffer, ""
        return ToolDelta(content, tuple(calls))

    def flush(self) -> ToolDelta:
        held, self._buffer = self._buffer, ""
        return ToolDelta("" if self._any and not held.strip(" \t\r\n;,") else held)

    def _object(self) -> str | None:
        """Gives the next object once it is whole, seeing each character once; other text is content from there on."""
        if self._scanned == 0 and not self._begin():
            return None
        for position in range(self._scanned, len(self._buffer)):
            character = self._buffer[position]
            if self._string:
                if self._escaped:
                    self._escaped = False
                elif character == "\\":
                    self._escaped = True
                elif character == '"':
                    self._string = False
            elif character == '"':
                self._string = True
            elif character == "{":
                self._depth += 1
            elif character == "}":
                self._depth -= 1
                if self._depth == 0:
                    self._scanned = position + 1
                    return self._buffer[self._start : self._scanned]
        self._scanned = len(self._buffer)
        return None

    def _begin(self) -> bool:
        text = self._buffer.lstrip(" \t\r\n;," if self._any else " \t\r\n")
        if text.startswith(self._OPENING):
            text = text[len(self._OPENING) :].lstrip()
        elif text and self._OPENING.startswith(text):
            return False
        if not text:
            return False
        if text[0] != "{":
            self._content = True
            return False
        self._start = self._scanned = len(self._buffer) - len(text)
        self._depth = 0
        self._string = self._escaped = False
        return True


_DEEPSEEK = _Markers(
    begin="<｜tool▁call▁begin｜>",
    end="<｜tool▁call▁end｜>",
    section_begin="<｜tool▁calls▁begin｜>",
    section_end="<｜tool▁calls▁end｜>",
    read=read_deepseek,
)
_HERMES = _Markers("<tool_call>", "</tool_call>", None, None, read_json)
