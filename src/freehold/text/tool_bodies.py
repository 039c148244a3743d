"""Reads the body of one tool call: its name, and its arguments as they are written; None where it is malformed."""

from __future__ import annotations

import json
import re

__all__ = ["read_deepseek", "read_json"]

_DEEPSEEK_BODY = re.compile(
    r"\s*(?:function<｜tool▁sep｜>(?P<fenced_name>[^\n<｜]+)\n```json\n(?P<fenced>.*?)\n?```"
    r"|(?P<name>[^\n<｜]+)<｜tool▁sep｜>(?P<bare>.*?))\s*",
    re.DOTALL,
)


def read_deepseek(body: str) -> tuple[str, str] | None:
    """Reads `function<sep>name` and a fenced JSON block (V3, R1), or `name<sep>{…}` (V3.1)."""
    match = _DEEPSEEK_BODY.fullmatch(body)
    if match is None:
        return None
    name = (match["fenced_name"] or match["name"]).strip()
    arguments = (match["fenced"] if match["fenced"] is not None else match["bare"]).strip()
    return (name, arguments) if name and _is_object(arguments) else None


def read_json(body: str) -> tuple[str, str] | None:
    """Reads `{"name": …, "arguments" or "parameters": {…}}`; the arguments as they are written."""
    text = body.strip()
    if not _is_object(text):
        return None
    members = _members(text)
    name = members.get("name", "")
    arguments = members.get("arguments", members.get("parameters", ""))
    if not name.startswith('"'):
        return None
    if arguments.startswith('"'):
        arguments = json.loads(arguments)
    name = json.loads(name)
    return (name, arguments) if name and _is_text(name + arguments) and _is_object(arguments) else None


def _is_text(text: str) -> bool:
    """Whether it can be sent on: JSON's escapes can spell half of a surrogate pair, which UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _members(text: str) -> dict[str, str]:
    """Gives the members of a valid JSON object, each value as it is written."""
    decoder = json.JSONDecoder()
    members: dict[str, str] = {}
    position = 1
    while (quote := text.find('"', position)) >= 0:
        key, position = decoder.raw_decode(text, quote)
        start = re.compile(r"\s*:\s*").match(text, position)
        if start is None:
            break
        _, position = decoder.raw_decode(text, start.end())
        members[key] = text[start.end() : position]
    return members
