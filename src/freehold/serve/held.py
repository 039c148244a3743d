"""A response that may have to wait: signs of life while it does, and an end to the work when the client hangs up."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from freehold.serve.logs import log_failure
from freehold.serve.problems import problem_of

__all__ = ["DONE", "HeldJson", "HeldResponse", "HeldStream", "sse"]

DONE = b"data: [DONE]\n\n"


_LINE_BREAKS = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})
"""Allowed raw in JSON and no ends of lines in a stream of events, yet httpx's clients among others cut lines there."""


def sse(frame: Mapping[str, Any]) -> bytes:
    """Writes one server-sent event; JSON holds no raw line break, so one line is enough."""
    return b"data: " + _dump(frame) + b"\n\n"


def _dump(value: Mapping[str, Any]) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return (text if text.isascii() else text.translate(_LINE_BREAKS)).encode()


class HeldResponse(Response):
    """Sends what a generator yields, piece by piece.

    Nothing is sent before the first piece is there or `keep_alive_seconds` have passed, so that an early error still
    gets its status. After a silence of that length a sign of life goes out. When the client hangs up, and in every
    other case too, the generator is closed before the response ends; its `finally` blocks run then.

    Args:
        pieces: Yields what is sent; it must not yield after it was closed.
        keep_alive_seconds: The longest silence.
    """

    alive: bytes
    status_code = 200

    def __init__(self, pieces: AsyncGenerator[bytes, None], *, keep_alive_seconds: float) -> None:
        self._pieces = pieces
        self._silence = keep_alive_seconds
        self.background = None
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no"})

    def failure(self, error: Exception) -> bytes:
        """What is sent when the generator fails after the status has gone out."""
        raise NotImplementedError

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request.

        Raises:
            Exception: Whatever the generator raised before anything was sent.
        """
        del scope
        clock = asyncio.get_running_loop().time
        sending = asyncio.Lock()
        started, last = False, clock()

        async def deliver(data: bytes) -> None:
            nonlocal started, last
            async with sending:
                if not started:
                    started = True
                    await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                await send({"type": "http.response.body", "body": data, "more_body": True})
                last = clock()

        async def produce() -> None:
            try:
                async for piece in self._pieces:
                    await deliver(piece)
            except Exception as error:
                if not started:
                    raise
                log_failure(error, "answer")
                await deliver(self.failure(error))

        hung_up = asyncio.ensure_future(_hung_up(receive))
        producer = asyncio.ensure_future(produce())
        try:
            while True:
                silence = max(0.0, last + self._silence - clock())
                await asyncio.wait({hung_up, producer}, timeout=silence, return_when=asyncio.FIRST_COMPLETED)
                if hung_up.done():
                    return
                if producer.done():
                    producer.result()
                    break
                if sending.locked():
                    last = clock()  # the client reads slowly: it has not been left without a sign
                elif clock() - last >= self._silence:
                    await deliver(self.alive)
            if not started:
                await deliver(b"")
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await _settle(producer)
            await self._pieces.aclose()
            await _settle(hung_up)


class HeldStream(HeldResponse):
    """Server-sent events; `: keep-alive` comments are its signs of life."""

    media_type = "text/event-stream"
    alive = b": keep-alive\n\n"

    def failure(self, error: Exception) -> bytes:
        """An error frame, which OpenAI's clients raise, and the end of the stream."""
        return sse(problem_of(error).body) + DONE


class HeldJson(HeldResponse):
    """One JSON object; blank lines, which JSON ignores, are its signs of life.

    An error after the first of them can no longer change the status 200: the body is then the error object.
    """

    media_type = "application/json"
    alive = b"\n"

    def failure(self, error: Exception) -> bytes:
        """The error object as the body."""
        return _dump(problem_of(error).body)

    @classmethod
    def of(cls, pieces: AsyncGenerator[Mapping[str, Any], None], *, keep_alive_seconds: float) -> HeldJson:
        """Makes one of a generator that yields the object."""
        return cls(_encoded(pieces), keep_alive_seconds=keep_alive_seconds)


async def _encoded(objects: AsyncGenerator[Mapping[str, Any], None]) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(objects):
        async for value in objects:
            yield _dump(value)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _settle(task: asyncio.Future[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration, Exception):
        await task
