"""A scripted stand-in for a loaded model, with the same interface towards the server.

Its tokenizer has one token per byte. What it answers is a script: pieces of text, `Think("…")` for thinking, `Wait` for
a pause, an exception to raise. It writes down what was asked, what ran to its end and what was aborted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from freehold.engine.request import Request, Thinking, Update
from freehold.engine.stats import EngineStats
from freehold.text.reasoning import ThinkTags
from freehold.types import Message, SamplingParams, TokenLogprob, Usage

__all__ = ["FakeModel", "Think", "Wait"]


@dataclass(frozen=True)
class Think:
    """A piece of thinking."""

    text: str


@dataclass(frozen=True)
class Wait:
    """A pause."""

    seconds: float


Piece = str | Think | Wait | Exception
Script = Sequence[Piece] | Callable[[Request], Sequence[Piece]]


class FakeTokenizer:
    """One token per byte of UTF-8."""

    vocab_size = 256
    start_ids: tuple[int, ...] = ()

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        del allow_special
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode(errors="replace")


@dataclass
class FakeChatFormat:
    """Writes every message as a line."""

    thinking: str = "never"
    supports_tools: bool = False
    tool_syntax: str | None = None
    tags: ThinkTags | None = None
    stop_token_ids: frozenset[int] = frozenset()


class FakeRunner:
    """Plays the script for each request, at once in each answer."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.alive = True
        self.stats = EngineStats()
        self.requests: list[Request] = []
        self.aborted: list[str] = []
        self.finished: list[str] = []
        self.cached: dict[str, tuple[int, ...]] = {}

    def stream(self, request: Request) -> FakeStream:
        self.requests.append(request)
        return FakeStream(self, request)


class FakeStream:
    """One request's updates."""

    def __init__(self, runner: FakeRunner, request: Request) -> None:
        self._runner = runner
        self._request = request
        script = runner.script
        self._updates = self._play(list(script(request) if callable(script) else script))

    def __aiter__(self) -> FakeStream:
        return self

    async def __anext__(self) -> Update:
        return await anext(self._updates)

    async def aclose(self) -> None:
        await self._updates.aclose()
        name = self._request.request_id
        if name not in self._runner.finished and name not in self._runner.aborted:
            self._runner.aborted.append(name)

    async def _play(self, script: list[Piece]) -> Any:
        request, params = self._request, self._request.params
        known = self._runner.cached.get(request.user, ())
        cached = len(request.prompt) - 1 if known == request.prompt else 0
        written = [0] * params.n
        reasoned = [0] * params.n
        limit = params.max_tokens or 10**9
        for piece in script:
            if isinstance(piece, Wait):
                await asyncio.sleep(piece.seconds)
                continue
            if isinstance(piece, Exception):
                raise piece
            text = piece.text if isinstance(piece, Think) else piece
            for index in range(params.n):
                ids = tuple(text.encode())[: limit - written[index]]
                written[index] += len(ids)
                shown = bytes(ids).decode(errors="ignore")
                logprobs = tuple(_logprob(i, params.logprobs) for i in ids) if params.logprobs is not None else ()
                if isinstance(piece, Think):
                    reasoned[index] += len(ids)
                    yield Update(request.request_id, index, "", shown, ids, logprobs, cached_tokens=cached)
                else:
                    yield Update(request.request_id, index, shown, "", ids, logprobs, cached_tokens=cached)
            await asyncio.sleep(0)
        for index in range(params.n):
            usage = Usage(len(request.prompt), written[index], cached, reasoned[index])
            reason = "length" if written[index] >= limit else "stop"
            yield Update(request.request_id, index, finish_reason=reason, usage=usage, cached_tokens=cached)
        self._runner.cached[request.user] = request.prompt
        self._runner.finished.append(request.request_id)


def _logprob(token: int, alternatives: int) -> TokenLogprob:
    def entry(i: int, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        return TokenLogprob(i, bytes([i]).decode(errors="replace"), bytes([i]), logprob, top)

    tops = tuple(entry((token + i) % 256, -0.5 - i) for i in range(alternatives))
    return entry(token, -0.5, tops)


@dataclass
class FakeModel:
    """A model whose answers are scripted.

    Args:
        script: What it answers, or a function of the request that gives it.
        thinking: `never`, `optional` or `always`.
        tools: Whether its chat format has tools (in the `hermes` syntax).
    """

    script: Script = ("Hello", " there.")
    name: str = "fake"
    thinking: str = "never"
    tools: bool = False
    context_length: int = 4096
    defaults: SamplingParams = field(default_factory=lambda: SamplingParams(temperature=0.6, top_p=0.95))
    asked: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokenizer = FakeTokenizer()
        self.chat_format = FakeChatFormat(
            thinking=self.thinking,
            supports_tools=self.tools,
            tool_syntax="hermes" if self.tools else None,
            tags=None if self.thinking == "never" else ThinkTags(),
        )
        self.runner = FakeRunner(self.script)

    def request(
        self,
        messages: Sequence[Message],
        params: SamplingParams,
        *,
        thinking: bool | None,
        tools: Sequence[Mapping[str, Any]] | None,
        budget: int | None,
        user: str,
        request_id: str,
    ) -> Request:
        self.asked.append({"messages": list(messages), "thinking": thinking, "tools": tools, "budget": budget})
        text = "".join(f"{m.role}: {m.content}\n" for m in messages) + "assistant: "
        thinks = None
        if thinking is not False and self.chat_format.tags is not None:
            thinks = Thinking("<think>", "</think>", True, budget)
        return Request(request_id, tuple(text.encode()), params, user, thinks)

    def close(self) -> None:
        """Nothing is held."""
