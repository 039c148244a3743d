"""From a request's messages to what the chat format encodes."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.errors import InvalidRequestError
from freehold.serve.prompts import chat_job
from freehold.serve.registry import ModelRegistry
from freehold.serve.schema import parse_chat
from freehold.types import Message, ToolCall
from tests.support.fake_model import FakeModel

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
USER = {"role": "user", "content": "Hi"}


def read(*messages: dict[str, Any], beta: bool = False, thinking: str = "optional", **fields: Any) -> list[Message]:
    fake = FakeModel(thinking=thinking, tools=True)
    body = parse_chat({"model": "fake", "messages": list(messages), **fields})
    chat_job(ModelRegistry([fake]), body, principal="me", allow_prefix=beta)
    messages_read: list[Message] = fake.asked[0]["messages"]
    return messages_read


def test_roles_parts_and_calls() -> None:
    assert read(
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "One "}, {"type": "text", "text": "two"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None, "audio": None},
        {"role": "tool", "content": "3", "tool_call_id": "call_1"},
    ) == [
        Message("system", "Be kind."),
        Message("user", "One two"),
        Message("assistant", tool_calls=(ToolCall("call_1", "look", "{}"),)),
        Message("tool", "3", tool_call_id="call_1"),
    ]


def test_earlier_thinking_is_dropped_without_tools_and_kept_and_needed_with_them() -> None:
    turn = {"role": "assistant", "content": "Yes", "reasoning_content": "hm"}
    assert read(USER, turn, USER)[1].reasoning_content is None
    assert read(USER, turn, USER, tools=[TOOL])[1].reasoning_content == "hm"
    other = {"role": "assistant", "content": "Yes", "reasoning": ""}
    assert read(USER, other, USER, tools=[TOOL])[1].reasoning_content == ""
    bare = {"role": "assistant", "content": "Yes"}
    with pytest.raises(InvalidRequestError, match="returns the thinking") as caught:
        read(USER, bare, USER, tools=[TOOL])
    assert caught.value.param == "messages[1].reasoning_content"
    assert read(USER, bare, USER, tools=[TOOL], thinking="never")
    assert read(USER, bare, USER, tools=[TOOL], reasoning_effort="none")


def test_a_prefix_is_continued_under_beta_alone() -> None:
    prefix = {"role": "assistant", "content": "It is", "prefix": True, "reasoning_content": "hm"}
    assert read(USER, prefix, beta=True)[-1] == Message("assistant", "It is", reasoning_content="hm", prefix=True)
    with pytest.raises(InvalidRequestError, match="/beta"):
        read(USER, prefix)
    open_thinking = {**prefix, "content": ""}
    assert read(USER, open_thinking, beta=True)[-1].reasoning_content == "hm"
    with pytest.raises(InvalidRequestError, match="thinking is off") as caught:
        read(USER, open_thinking, beta=True, reasoning_effort="none")
    assert caught.value.param == "messages[1].reasoning_content"
    for messages in ([prefix, USER], [USER, {**prefix, "role": "user", "reasoning_content": None}]):
        with pytest.raises(InvalidRequestError, match="last message of role assistant"):
            read(*messages, beta=True)


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user"}, "messages[0].content"),
        ({"role": "assistant"}, "messages[0].content"),
        ({"role": "function", "content": "x"}, "messages[0].role"),
        ({"role": "user", "content": "x", "name": "ann"}, "messages[0].name"),
        ({"role": "user", "content": 5}, "messages[0].content"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "text", "text": "x", "more": 1}]}, "messages[0].content[0]"),
        ({"role": "user", "content": "x", "tool_calls": [CALL]}, "messages[0].tool_calls"),
        ({"role": "user", "content": "x", "reasoning_content": "y"}, "messages[0].reasoning_content"),
        ({"role": "tool", "content": "x"}, "messages[0].tool_call_id"),
        ({"role": "user", "content": "x", "tool_call_id": "y"}, "messages[0].tool_call_id"),
        ({"role": "assistant", "content": "x", "audio": {"id": "y"}}, "messages[0].audio"),
        (
            {"role": "assistant", "content": "x", "tool_calls": [{**CALL, "type": "custom"}]},
            "messages[0].tool_calls[0].type",
        ),
    ],
)
def test_a_message_that_cannot_be_is_refused_by_name(message: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read(message)
    assert caught.value.param == param


def test_tools_that_cannot_be_are_refused_by_name() -> None:
    function = TOOL["function"]
    assert isinstance(function, dict)
    for tools, param in (
        ([{"type": "custom", "custom": {"name": "x"}}], "tools[0].function"),
        ([{**TOOL, "function": {**function, "strict": True}}], "tools[0].function.strict"),
        ([{**TOOL, "function": {**function, "name": "no spaces"}}], "tools[0].function.name"),
        ([TOOL, TOOL], "tools[1].function.name"),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            read(USER, tools=tools)
        assert caught.value.param in (param, "tools[0].type")
    fake = FakeModel()
    body = parse_chat({"model": "fake", "messages": [USER], "tools": [TOOL]})
    with pytest.raises(InvalidRequestError, match="The model fake has no tools") as caught:
        chat_job(ModelRegistry([fake]), body, principal="me", allow_prefix=False)
    assert caught.value.param == "tools"
