"""A conversation as a request to the engine: encoded, with the model's end tokens, its thinking and its budget."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from freehold.engine.request import Request, Thinking
from freehold.errors import InvalidRequestError
from freehold.text.chat import ChatFormat
from freehold.types import Message, SamplingParams

__all__ = ["answer_reserve", "conversation_request", "new_request_id"]


def conversation_request(
    chat: ChatFormat,
    messages: str | Sequence[Message],
    params: SamplingParams,
    *,
    model: str,
    thinking: bool | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    budget: int | None = None,
    answer_reserve: int = 0,
    user: str = "",
    request_id: str | None = None,
) -> Request:
    """Makes an engine request of a conversation; see `LanguageModel.request`.

    Args:
        chat: The model's format.
        messages: A question, or the messages so far.
        params: How to sample.
        model: The name by which errors call it.
        thinking: Switch thinking on or off; None leaves the model's habit.
        tools: Functions the model may ask to have called.
        budget: Most tokens of thinking, 0 or more.
        answer_reserve: Tokens of `max_tokens` kept back for the answer, where the model thinks.
        user: Whose prefix cache to use.
        request_id: None makes one up.

    Raises:
        InvalidRequestError: `thinking` or `budget` asks for what the model cannot do (the message names it), or a value
            is out of bounds.
    """
    if chat.thinking == "never" and (thinking or budget is not None):
        param = "thinking" if thinking else "budget"
        raise InvalidRequestError(
            f"The model {model!r} cannot think before it answers; leave {param} out, or use one that can.",
            param=param,
            code="unsupported_value",
        )
    for field, value in (("budget", budget), ("answer_reserve", answer_reserve)):
        if value is not None and value < 0:
            raise InvalidRequestError(f"{field} is {value}; it must be 0 or more.", param=field)
    if isinstance(messages, str):
        messages = [Message("user", messages)]
    prompt = chat.encode(messages, tools=tools, thinking=thinking)
    thinks: Thinking | None = None
    if chat.tags is not None:
        # also where it is not to think: should it do so all the same, that is no part of the answer
        thinks = Thinking(chat.tags.start, chat.tags.end, prompt.thinking_opened, budget, answer_reserve)
    if not params.ignore_eos:
        ends = {*params.stop_token_ids, *chat.stop_token_ids}
        params = replace(params, stop_token_ids=tuple(sorted(ends)))
    return Request(
        request_id=request_id or new_request_id(),
        prompt=tuple(prompt.token_ids),
        params=params,
        user=user,
        thinking=thinks,
        visible_special_ids=chat.visible_special_ids,
    )


def answer_reserve(budget: int | None, params: SamplingParams) -> int:
    """Tokens kept back for the answer where the thinking has a budget: one at least, however long the closing tag."""
    if budget is None:
        return 0
    if params.max_tokens is not None and budget >= params.max_tokens:
        raise InvalidRequestError(
            f"budget is {budget} and max_tokens is {params.max_tokens}; the budget must be lower, so that tokens are "
            "left for the answer.",
            param="budget",
            code="invalid_value",
        )
    return 1


def new_request_id() -> str:
    """An id that no other request has."""
    return f"req_{uuid.uuid4().hex}"
