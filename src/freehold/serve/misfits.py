"""What is said of a value that does not fit its field: the field, the value, and what it must be.

Long texts are never repeated, since they may be somebody's prompt: their length is named instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from freehold.serve.problems import clean

__all__ = ["misfit", "must_be", "shown"]

MAX_SHOWN_CHARACTERS = 40
MAX_SHOWN_ITEMS = 4

_TYPES: Mapping[str, str] = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "an object",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_attributes_type": "an object",
    "model_type": "an object",
    "none_required": "null or left out",
    "string_type": "a string",
}
"""What each of pydantic's complaints about a type asks for."""

_BOUNDS: Mapping[str, tuple[str, str]] = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
_LENGTHS: Mapping[str, tuple[str, str]] = {
    "string_too_long": ("at most", "max_length"),
    "string_too_short": ("at least", "min_length"),
    "too_long": ("at most", "max_length"),
    "too_short": ("at least", "min_length"),
}


def shown(value: Any) -> str:
    """Writes a value as JSON where it is short, and otherwise what it is."""
    if isinstance(value, str):
        if len(value) > MAX_SHOWN_CHARACTERS:
            return f"a string of {len(value)} characters"
        return clean(json.dumps(value, ensure_ascii=False))
    if isinstance(value, list | dict):
        inside = list(value.values()) if isinstance(value, dict) else value
        flat = not any(isinstance(item, list | dict) for item in inside)
        short = all(len(text) <= MAX_SHOWN_CHARACTERS for text in [*value, *inside] if isinstance(text, str))
        if len(value) <= MAX_SHOWN_ITEMS and flat and short:
            return clean(json.dumps(value, ensure_ascii=False))
        return _counted(len(value), "an object of" if isinstance(value, dict) else "a list of", "item")
    return json.dumps(value)


def must_be(name: str, value: Any, accepted: Sequence[Any]) -> str:
    """Says which values a field takes that is accepted at those alone."""
    *others, last = [shown(good) for good in accepted]
    choices = f"{', '.join(others)}, {last}" if others else last
    return f"{name} is {shown(value)}; it must be {choices} or left out"


def misfit(path: str, value: Any, errors: Sequence[Mapping[str, Any]]) -> str:
    """Says why a value does not fit.

    Args:
        path: Where in the body it stands.
        value: What stands there.
        errors: pydantic's errors at that place: one, or one for each type of a union.
    """
    first = errors[0]
    kind, context = first["type"], first.get("ctx", {})
    wanted = list(dict.fromkeys(_TYPES[error["type"]] for error in errors if error["type"] in _TYPES))
    if kind in _TYPES:
        return f"{path} is {shown(value)}; it must be {' or '.join(wanted)}."
    if kind == "literal_error":
        expected = str(context["expected"]).replace("'", '"')
        return f"{path} is {shown(value)}; it must be {expected}."
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        return f"{path} is {shown(value)}; it must be {words} {context[bound]}."
    if kind in _LENGTHS:
        words, bound = _LENGTHS[kind]
        unit = "character" if isinstance(value, str) else "item"
        return f"{path} has {_counted(len(value), '', unit)}; it must have {words} {context[bound]}."
    if kind == "string_pattern_mismatch":
        return f"{path} is {shown(value)}; it must match {context['pattern']}."
    return f"{path}: {first['msg']}."


def _counted(number: int, before: str, unit: str) -> str:
    return f"{before} {number} {unit}{'' if number == 1 else 's'}".strip()
