"""From a request's messages and tools to what a chat format encodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from freehold.errors import InvalidRequestError, UnsupportedError
from freehold.serve.problems import clean
from freehold.serve.registry import Served
from freehold.serve.schema import MessageIn, ToolIn
from freehold.types import Message, ToolCall

__all__ = ["choose_tools", "read_messages"]


def read_messages(
    messages: Sequence[MessageIn], *, allow_prefix: bool, keep_reasoning: bool, need_reasoning: bool
) -> list[Message]:
    """Reads the messages of a request.

    Args:
        messages: As sent.
        allow_prefix: Whether a last assistant message may be continued (`/beta`).
        keep_reasoning: Whether the thinking of earlier turns goes into the prompt (a request with tools).
        need_reasoning: Whether earlier assistant turns must bring theirs (a request with tools that thinks).

    Raises:
        InvalidRequestError: A message that cannot be what it says; `param` names it.
    """
    result = []
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        last = index == len(messages) - 1
        if message.prefix:
            _check_prefix(message, where, last=last, allowed=allow_prefix)
        result.append(
            _read(
                message,
                where,
                keep_reasoning=keep_reasoning or bool(message.prefix),
                need_reasoning=need_reasoning and not message.prefix,
            )
        )
    return result


def _read(message: MessageIn, where: str, *, keep_reasoning: bool, need_reasoning: bool) -> Message:
    if message.name is not None:
        raise UnsupportedError(
            f"{where}.name is not supported: chat formats write no names; write it into the content.",
            param=f"{where}.name",
            code="unsupported_parameter",
        )
    role = "system" if message.role == "developer" else message.role
    content = _text(message.content, f"{where}.content")
    if role != "assistant":
        for field in ("reasoning_content", "reasoning", "tool_calls"):
            if getattr(message, field) is not None:
                _refuse(f"{where}.{field}", f"belongs to assistant messages, not to role {message.role}")
        if content is None:
            _refuse(f"{where}.content", "must be given")
    if (message.tool_call_id is None) is (role == "tool"):
        _refuse(f"{where}.tool_call_id", "must be given with role tool, and with no other")
    calls = tuple(ToolCall(c.id, c.function.name, c.function.arguments) for c in message.tool_calls or ())
    if role == "assistant" and content is None and not calls:
        _refuse(f"{where}.content", "must be given, unless the message has tool_calls")
    reasoning = message.reasoning_content if message.reasoning_content is not None else message.reasoning
    if role == "assistant" and need_reasoning and reasoning is None:
        raise InvalidRequestError(
            f"{where}.reasoning_content is missing: a request with tools that thinks returns the thinking of all "
            "earlier turns (an empty string where there was none).",
            param=f"{where}.reasoning_content",
            code="missing_reasoning_content",
        )
    return Message(
        role=role,
        content=content or "",
        reasoning_content=reasoning if keep_reasoning else None,
        tool_calls=calls,
        tool_call_id=message.tool_call_id,
        prefix=bool(message.prefix),
    )


def _check_prefix(message: MessageIn, where: str, *, last: bool, allowed: bool) -> None:
    param = f"{where}.prefix"
    if not allowed:
        raise UnsupportedError(
            f"{param} is offered under /beta, as in /beta/chat/completions; use that base URL, or leave it out.",
            param=param,
            code="unsupported_parameter",
        )
    if message.role != "assistant" or not last:
        _refuse(param, "belongs to a last message of role assistant")
    if message.tool_calls:
        _refuse(param, "cannot continue a message with tool_calls")


def _text(content: str | list[dict[str, Any]] | None, where: str) -> str | None:
    if content is None or isinstance(content, str):
        return content
    texts = []
    for index, part in enumerate(content):
        kind = part.get("type")
        if kind != "text":
            shown = clean(kind, 40) if isinstance(kind, str) else "unknown"
            raise UnsupportedError(
                f"{where}[{index}] is a part of type {shown}; the models here read text only.",
                param=f"{where}[{index}]",
                code="unsupported_value",
            )
        if set(part) != {"type", "text"} or not isinstance(part["text"], str):
            _refuse(f"{where}[{index}]", 'must be {"type": "text", "text": "…"}')
        texts.append(part["text"])
    return "".join(texts)


def choose_tools(
    served: Served, tools: Sequence[ToolIn] | None, choice: str | dict[str, Any] | None
) -> list[dict[str, Any]] | None:
    """Gives the tools that go into the prompt, in OpenAI's shape, or None.

    Raises:
        UnsupportedError: The model's chat format has no tools, or the request forces a call or strict arguments.
        InvalidRequestError: `tool_choice` without tools, or a function twice.
    """
    if choice is not None and choice not in ("auto", "none"):
        if not tools:
            _refuse("tool_choice", "needs tools")
        raise UnsupportedError(
            "tool_choice must be auto or none: forcing a call needs constrained decoding, which is not offered yet.",
            param="tool_choice",
            code="unsupported_value",
        )
    if not tools:
        return None
    if not served.model.chat_format.supports_tools:
        raise UnsupportedError(
            f"The model {served.model.name} has no tools in its chat format; leave tools out, or serve one that has.",
            param="tools",
            code="tools_not_supported",
        )
    names: set[str] = set()
    for index, tool in enumerate(tools):
        if tool.function.strict:
            raise UnsupportedError(
                f"tools[{index}].function.strict needs constrained decoding, which is not offered yet; leave it out.",
                param=f"tools[{index}].function.strict",
                code="unsupported_value",
            )
        if tool.function.name in names:
            _refuse(f"tools[{index}].function.name", "is given twice")
        names.add(tool.function.name)
    if choice == "none":
        return None
    return [tool.model_dump(exclude_none=True) for tool in tools]


def _refuse(param: str, bound: str) -> NoReturn:
    raise InvalidRequestError(f"{param} {bound}.", param=param, code="invalid_value")
