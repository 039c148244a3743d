"""What the engine gives, in the shape of chat completions: streamed deltas, and the whole that they add up to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import freehold
from freehold.engine.request import Update
from freehold.serve.running import Job, total_usage
from freehold.text.tools import ToolParser, tool_parser
from freehold.types import TokenLogprob, ToolCall, Usage

__all__ = ["FINGERPRINT", "Answer", "ChatAnswers", "Delta", "chat_frames", "usage_object", "whole_chat"]

FINGERPRINT = f"freehold-{freehold.__version__}"


@dataclass(frozen=True, slots=True)
class Delta:
    """One step of one answer."""

    index: int
    content: str = ""
    reasoning: str = ""
    calls: tuple[dict[str, Any], ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    reasoning_logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: str | None = None


@dataclass(slots=True)
class Answer:
    """One answer as it has come so far."""

    content: str = ""
    reasoning: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    reasoning_logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: str | None = None
    usage: Usage | None = None
    in_thinking: bool = False
    tool_parser: ToolParser | None = None

    def take(self, index: int, update: Update) -> Delta:
        """Adds an update, and gives what a client sees of it."""
        content, found = update.text, list[ToolCall]()
        if self.tool_parser is not None:
            pushed = self.tool_parser.push(update.text)
            content, found = pushed.content, list(pushed.calls)
            if update.finish_reason is not None:
                rest = self.tool_parser.flush()
                content += rest.content
                found += rest.calls
        first = len(self.calls)
        self.calls += found
        if update.reasoning:
            self.in_thinking = True
        if update.text:
            self.in_thinking = False
        self.content += content
        self.reasoning += update.reasoning
        (self.reasoning_logprobs if self.in_thinking else self.logprobs).extend(update.logprobs)
        if update.usage is not None:
            self.usage = update.usage
        if update.finish_reason is not None:
            self.finish_reason = _finish_reason(update.finish_reason, bool(self.calls))
        return Delta(
            index,
            content,
            update.reasoning,
            tuple({"index": first + place, **_call(call)} for place, call in enumerate(found)),
            () if self.in_thinking else update.logprobs,
            update.logprobs if self.in_thinking else (),
            self.finish_reason,
        )


def _finish_reason(reason: str, called: bool) -> str:
    if reason == "stop" and called:
        return "tool_calls"
    # The engine itself gave the answer up: nobody asked it to, else nobody would be reading this.
    return "insufficient_system_resource" if reason == "abort" else reason


class ChatAnswers:
    """The answers of one job, as they come.

    Args:
        job: The job that runs.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        names = [tool["function"]["name"] for tool in job.tools or ()]
        syntax = job.served.model.chat_format.tool_syntax if names else None
        self.answers = [
            Answer(
                in_thinking=bool(request.thinking and request.thinking.opened),
                tool_parser=None if syntax is None else tool_parser(syntax, names),
            )
            for request in job.requests
            for _ in range(job.n)
        ]

    def take(self, choice: int, update: Update) -> Delta:
        """Adds an update of one answer, and gives what a client sees of it."""
        return self.answers[choice].take(choice, update)

    @property
    def usage(self) -> Usage:
        """What all answers took, as far as they have ended."""
        ended = [(number // self.job.n, a.usage) for number, a in enumerate(self.answers) if a.usage is not None]
        return total_usage(ended)


def usage_object(usage: Usage) -> dict[str, Any]:
    """Gives a usage in OpenAI's and DeepSeek's fields at once."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_cache_hit_tokens": usage.cached_tokens,
        "prompt_cache_miss_tokens": usage.prompt_tokens - usage.cached_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _head(job: Job, kind: str) -> dict[str, Any]:
    return {
        "id": job.id,
        "object": kind,
        "created": job.created,
        "model": job.served.model.name,
        "system_fingerprint": FINGERPRINT,
    }


async def chat_frames(
    answers: ChatAnswers, source: AsyncIterator[tuple[int, Update]], *, emit_reasoning: bool
) -> AsyncGenerator[dict[str, Any], None]:
    """Gives a stream's `chat.completion.chunk` objects, the one with the usage last where it is asked for."""
    job = answers.job
    head = _head(job, "chat.completion.chunk")
    usage_field = {"usage": None} if job.include_usage else {}
    introduced: set[int] = set()

    def frame(index: int, delta: dict[str, Any], logprobs: Any = None, finish: str | None = None) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return {**head, "choices": [choice], **usage_field}

    async for number, update in source:
        step = answers.take(number, update)
        if number not in introduced:
            introduced.add(number)
            yield frame(number, {"role": "assistant", "content": ""})
        if step.reasoning:
            delta: dict[str, Any] = {"content": None, "reasoning_content": step.reasoning}
            if emit_reasoning:
                delta["reasoning"] = step.reasoning
            yield frame(number, delta, None if step.content or step.calls else _logprobs(step))
        if step.content or step.calls:
            delta = {"content": step.content} if step.content else {}
            if step.calls:
                delta["tool_calls"] = list(step.calls)
            yield frame(number, delta, _logprobs(step))
        elif not step.reasoning and (step.logprobs or step.reasoning_logprobs):
            yield frame(number, {"content": ""}, _logprobs(step))
        if step.finish_reason is not None:
            yield frame(number, {}, None, step.finish_reason)
    if job.include_usage:
        yield {**head, "choices": [], "usage": usage_object(answers.usage)}


async def whole_chat(
    answers: ChatAnswers, source: AsyncIterator[tuple[int, Update]], *, emit_reasoning: bool
) -> dict[str, Any]:
    """Waits for every answer and gives the `chat.completion` object."""
    async for number, update in source:
        answers.take(number, update)
    choices = []
    for index, answer in enumerate(answers.answers):
        message: dict[str, Any] = {"role": "assistant", "content": answer.content, "refusal": None}
        if answers.job.thinks or answer.reasoning:
            message["reasoning_content"] = answer.reasoning
            if emit_reasoning:
                message["reasoning"] = answer.reasoning
        if answer.calls:
            message["tool_calls"] = [_call(call) for call in answer.calls]
            message["content"] = answer.content or None
        logprobs = _logprobs(answer)
        choices.append(
            {"index": index, "message": message, "logprobs": logprobs, "finish_reason": answer.finish_reason}
        )
    return {
        **_head(answers.job, "chat.completion"),
        "choices": choices,
        "usage": usage_object(answers.usage),
    }


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _logprobs(step: Delta | Answer) -> dict[str, Any] | None:
    if not step.logprobs and not step.reasoning_logprobs:
        return None
    result: dict[str, Any] = {"content": [_token(entry) for entry in step.logprobs], "refusal": None}
    if step.reasoning_logprobs:
        result["reasoning_content"] = [_token(entry) for entry in step.reasoning_logprobs]
    return result


def _token(entry: TokenLogprob) -> dict[str, Any]:
    return {
        "token": entry.text,
        "logprob": entry.logprob,
        "bytes": list(entry.utf8),
        "top_logprobs": [{"token": top.text, "logprob": top.logprob, "bytes": list(top.utf8)} for top in entry.top],
    }
