"""One turn of a kept conversation: read what was said, run the model, stream the answer, keep both messages.

Whatever ends the turn, what came of the answer is kept; nothing is kept of a turn that could not begin.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from freehold.engine.request import Update
from freehold.errors import NotFoundError
from freehold.serve.accounts import User
from freehold.serve.answers import ChatAnswers, chat_frames, usage_object
from freehold.serve.held import DONE, sse
from freehold.serve.history import NewMessage
from freehold.serve.problems import HttpError
from freehold.serve.prompts import chat_job
from freehold.serve.running import Job, updates
from freehold.serve.schema import ChatBody, MessageIn, StreamOptionsIn, ThinkingIn
from freehold.serve.state import AppState

__all__ = ["NewTurn", "turn"]


class NewTurn(BaseModel):
    """What the app sends for the next turn."""

    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)
    content: str = Field(min_length=1)
    model: str | None = Field(default=None, min_length=1, max_length=512)
    thinking: bool | None = None


class _Clock:
    """Measures how long the thinking took: from its first piece to the answer's, or to the end."""

    def __init__(self) -> None:
        self._begun: float | None = None
        self.seconds: float | None = None

    def see(self, update: Update) -> None:
        now = time.monotonic()
        if update.reasoning:
            self._begun = self._begun or now
        if self._begun is not None and self.seconds is None and (update.text or update.finish_reason):
            self.seconds = round(now - self._begun, 3)

    def stop(self) -> None:
        if self._begun is not None and self.seconds is None:
            self.seconds = round(time.monotonic() - self._begun, 3)


async def turn(state: AppState, user: User, chat_id: str, new: NewTurn) -> AsyncGenerator[bytes, None]:
    """Runs one turn; closing the generator stops the model and keeps what it had written.

    Args:
        state: The application's parts.
        user: Whose chat it is.
        chat_id: Which.
        new: What the user says.

    Yields:
        Server-sent events: chunks as of chat completions, the usage, then the ids under `freehold`, then `[DONE]`.

    Raises:
        NotFoundError: The user has no such chat.
        HttpError: 409, the chat's last answer is still being written.
        InvalidRequestError: The conversation cannot be continued so; nothing was kept.
    """
    busy = (user.id, chat_id)  # with the user, so that another one's chat is not there rather than busy
    if busy in state.busy_chats:
        raise HttpError(409, "This chat's last answer is still being written; stop it, or wait.", code="chat_busy")
    state.busy_chats.add(busy)
    try:
        chat = await run_in_threadpool(state.history.get_chat, user.id, chat_id)
        body = _body(state, chat["messages"], new)
        make = partial(chat_job, state.registry, body, principal=user.id, allow_prefix=False)
        job = await state.encode(len(new.content), make)
        asked = NewMessage("user", new.content)
        user_message_id, title = await run_in_threadpool(state.history.add_message, user.id, chat_id, asked)
        async with contextlib.aclosing(_answer(state, user, chat_id, job)) as answer:
            async for piece in answer:
                if isinstance(piece, bytes):
                    yield piece
                    continue
                yield sse({"freehold": {"user_message_id": user_message_id, "title": title, **piece}})
                yield DONE
    finally:
        state.busy_chats.discard(busy)


async def _answer(
    state: AppState, user: User, chat_id: str, job: Job
) -> AsyncGenerator[bytes | Mapping[str, Any], None]:
    answers = ChatAnswers(job)
    clock = _Clock()
    ended = False
    try:
        source = updates(job, start_timeout_seconds=state.settings.start_timeout_seconds, metrics=state.metrics)
        async with contextlib.aclosing(source), contextlib.aclosing(_timed(source, clock)) as timed:
            async for frame in chat_frames(answers, timed, emit_reasoning=state.settings.emit_reasoning):
                yield sse(frame)
        ended = True
    finally:
        clock.stop()
        message = _message(job, answers, clock, ended=ended)
        if not ended:
            with contextlib.suppress(NotFoundError):  # the chat may have been deleted meanwhile
                if message.content or message.reasoning_content:
                    await run_in_threadpool(state.history.add_message, user.id, chat_id, message)
    state.metrics.count_usage(job.served.model.name, answers.usage)
    message_id, _ = await run_in_threadpool(state.history.add_message, user.id, chat_id, message)
    yield {"message_id": message_id, "reasoning_seconds": message.reasoning_seconds}


async def _timed(
    source: AsyncGenerator[tuple[int, Update], None], clock: _Clock
) -> AsyncGenerator[tuple[int, Update], None]:
    async for number, update in source:
        clock.see(update)
        yield number, update


def _message(job: Job, answers: ChatAnswers, clock: _Clock, *, ended: bool) -> NewMessage:
    answer = answers.answers[0]
    return NewMessage(
        role="assistant",
        content=answer.content,
        reasoning_content=answer.reasoning or None,
        reasoning_seconds=clock.seconds,
        finish_reason=answer.finish_reason if ended else "abort",
        usage=usage_object(answers.usage) if ended else None,
        model=job.served.model.name,
    )


def _body(state: AppState, earlier: list[dict[str, Any]], new: NewTurn) -> ChatBody:
    messages = [MessageIn(role=m["role"], content=m["content"]) for m in earlier if m["content"]]
    return ChatBody(
        model=new.model or state.registry.default.name,
        messages=[*messages, MessageIn(role="user", content=new.content)],
        thinking=None if new.thinking is None else ThinkingIn(type="enabled" if new.thinking else "disabled"),
        stream=True,
        stream_options=StreamOptionsIn(include_usage=True),
    )
