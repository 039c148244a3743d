"""What the engine gives, in the shape of plain completions."""

from __future__ import annotations

import codecs
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from freehold.engine.request import Update
from freehold.serve.answers import FINGERPRINT, ChatAnswers, Delta, usage_object
from freehold.serve.running import Job
from freehold.types import TokenLogprob

__all__ = ["completion_frames", "whole_completion"]


def _head(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "object": "text_completion",
        "created": job.created,
        "model": job.served.model.name,
        "system_fingerprint": FINGERPRINT,
    }


async def completion_frames(
    answers: ChatAnswers, source: AsyncIterator[tuple[int, Update]]
) -> AsyncGenerator[dict[str, Any], None]:
    """Gives a stream's `text_completion` objects, the one with the usage last where it is asked for."""
    job = answers.job
    head = _head(job)
    usage_field = {"usage": None} if job.include_usage else {}
    places = [_Place() for _ in range(job.choices)]
    echoed: set[int] = set()
    async for number, update in source:
        step = answers.take(number, update)
        text = step.content
        if job.echo and number not in echoed:
            echoed.add(number)
            text = job.echo[number // job.n] + text
        if not text and not step.logprobs and step.finish_reason is None:
            continue
        logprobs = _logprobs(step.logprobs, places[number])
        yield {**head, "choices": [_choice(number, text, logprobs, step)], **usage_field}
    if job.include_usage:
        yield {**head, "choices": [], "usage": usage_object(answers.usage)}


async def whole_completion(answers: ChatAnswers, source: AsyncIterator[tuple[int, Update]]) -> dict[str, Any]:
    """Waits for every answer and gives the `text_completion` object."""
    job = answers.job
    async for number, update in source:
        answers.take(number, update)
    choices = []
    for number, answer in enumerate(answers.answers):
        text = (job.echo[number // job.n] if job.echo else "") + answer.content
        end = Delta(number, finish_reason=answer.finish_reason)
        choices.append(_choice(number, text, _logprobs(answer.logprobs, _Place()), end))
    return {**_head(job), "choices": choices, "usage": usage_object(answers.usage)}


def _choice(number: int, text: str, logprobs: dict[str, Any] | None, step: Delta) -> dict[str, Any]:
    return {"index": number, "text": text, "logprobs": logprobs, "finish_reason": step.finish_reason}


class _Place:
    """Where the next token's text begins in its answer; a character belongs to the token that completes it."""

    def __init__(self) -> None:
        self.offset = 0
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def pass_by(self, token: TokenLogprob) -> int:
        """Gives where a token's text begins, and goes on behind it."""
        begin = self.offset
        self.offset += len(self._utf8.decode(token.utf8))
        return begin


def _logprobs(entries: list[TokenLogprob] | tuple[TokenLogprob, ...], place: _Place) -> dict[str, Any] | None:
    if not entries:
        return None
    return {
        "tokens": [_name(entry) for entry in entries],
        "token_logprobs": [entry.logprob for entry in entries],
        "top_logprobs": [{_name(top): top.logprob for top in entry.top} for entry in entries],
        "text_offset": [place.pass_by(entry) for entry in entries],
    }


def _name(token: TokenLogprob) -> str:
    """A token's text, or `bytes:\\xNN…` as OpenAI writes a part of a character: others' texts would all be U+FFFD."""
    try:
        token.utf8.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token.utf8)
    return token.text
