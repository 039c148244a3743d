"""What a request is told whose values do not fit: field, value and bound, in our words and not pydantic's."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.errors import InvalidRequestError
from freehold.serve.misfits import shown
from freehold.serve.schema import parse_chat, parse_completion

USER = {"role": "user", "content": "Hi"}
LONG = "x" * 41


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"messages": []}, "messages has 0 items; it must have at least 1."),
        ({"messages": [USER] * 10_001}, "messages has 10001 items; it must have at most 10000."),
        ({"messages": "Hi"}, 'messages is "Hi"; it must be a list.'),
        ({"messages": LONG}, "messages is a string of 41 characters; it must be a list."),
        ({"messages": ["Hi"]}, 'messages[0] is "Hi"; it must be an object.'),
        ({"messages": [{"role": "robot", "content": "Hi"}]},
         'messages[0].role is "robot"; it must be "system", "developer", "user", "assistant" or "tool".'),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content is 5; it must be a string or a list."),
        ({"messages": [{"role": "user", "content": [5]}]}, "messages[0].content[0] is 5; it must be an object."),
        ({"messages": [{"content": "Hi"}]}, "messages[0].role is missing."),
        ({"messages": [{**USER, "colour": 1}]}, "Unknown field 'messages[0].colour'; remove it."),
        ({"messages": [{**USER, "refusal": "no"}]}, 'messages[0].refusal is "no"; it must be null or left out.'),
        ({"model": ""}, "model has 0 characters; it must have at least 1."),
        ({"user": "u" * 513}, "user has 513 characters; it must have at most 512."),
        ({"temperature": "1"}, 'temperature is "1"; it must be a number.'),
        ({"n": 1.5}, "n is 1.5; it must be a whole number."),
        ({"n": True}, "n is true; it must be a whole number."),
        ({"stream": 1}, "stream is 1; it must be true or false."),
        ({"stop": 5}, "stop is 5; it must be a string or a list."),
        ({"stop": ["a", 5]}, "stop[1] is 5; it must be a string."),
        ({"thinking": {"type": "enabled", "budget_tokens": 0}}, "thinking.budget_tokens is 0; it must be at least 1."),
        ({"thinking": {"type": "enabled", "budget_tokens": 2**31}},
         "thinking.budget_tokens is 2147483648; it must be less than 2147483648."),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]},
         'tools[0].function.name is "a b"; it must match ^[A-Za-z0-9_-]{1,64}$.'),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_with_its_bound(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_chat({"model": "m", "messages": [USER], **fields})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (5, "prompt is 5; it must be a string or a list."),
        ({"a": 1}, 'prompt is {"a": 1}; it must be a string or a list.'),
        ([[1, "a"]], "prompt[0]"),
    ],
)
def test_a_union_names_all_that_it_takes(prompt: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_completion({"model": "m", "prompt": prompt})
    assert message in str(caught.value)


def test_only_what_is_short_is_shown() -> None:
    assert shown("a\x1b") == '"a\\u001b"'
    assert shown([1, 2, 3, 4, 5]) == "a list of 5 items"
    assert shown({"a": {}}) == "an object of 1 item"
    assert shown({"a": LONG}) == shown({LONG: 1}) == "an object of 1 item"
    assert shown(None) == "null"
