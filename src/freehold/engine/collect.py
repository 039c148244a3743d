"""Puts the updates of a request together into finished answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from freehold.engine.request import Request, Update
from freehold.errors import EngineError
from freehold.text.tools import ToolSyntax, tool_parser
from freehold.types import Completion, FinishReason, TokenLogprob, Usage

__all__ = ["Collector", "with_tool_calls"]


@dataclass(slots=True)
class _Answer:
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


class Collector:
    """Gathers one request's updates in any interleaving of its answers."""

    def __init__(self, request: Request) -> None:
        self._answers = [_Answer() for _ in range(request.params.n)]
        self._thinks = request.thinking is not None

    def add(self, update: Update) -> None:
        """Takes the next update."""
        answer = self._answers[update.index]
        answer.text.append(update.text)
        answer.reasoning.append(update.reasoning)
        answer.token_ids.extend(update.token_ids)
        answer.logprobs.extend(update.logprobs)
        if update.finish_reason is not None:
            answer.finish_reason, answer.usage = update.finish_reason, update.usage

    def completions(self) -> list[Completion]:
        """Gives the answers in order of their index.

        Raises:
            EngineError: One of them never ended.
        """
        return [self._complete(index, answer) for index, answer in enumerate(self._answers)]

    def _complete(self, index: int, answer: _Answer) -> Completion:
        if answer.finish_reason is None or answer.usage is None:
            raise EngineError(f"Answer {index} has not ended yet; take all of the stream's updates first.")
        reasoning = "".join(answer.reasoning)
        thought = reasoning or None
        if self._thinks and answer.usage.reasoning_tokens > 0:
            thought = reasoning
        return Completion(
            text="".join(answer.text),
            reasoning=thought,
            token_ids=tuple(answer.token_ids),
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            logprobs=tuple(answer.logprobs),
        )


def with_tool_calls(answer: Completion, syntax: ToolSyntax, tools: Sequence[Mapping[str, Any]]) -> Completion:
    """Tells the calls in an answer from its text."""
    names = [str(tool["function"]["name"]) for tool in tools]
    parser = tool_parser(syntax, names)
    deltas = [parser.push(answer.text), parser.flush()]
    calls = tuple(call for delta in deltas for call in delta.calls)
    called = bool(calls) and answer.finish_reason == "stop"
    return replace(
        answer,
        text="".join(delta.content for delta in deltas),
        tool_calls=calls,
        finish_reason="tool_calls" if called else answer.finish_reason,
    )
