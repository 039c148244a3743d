"""Responses that wait: signs of life, a client that leaves, one that reads slowly, and failures early and late."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from freehold.errors import OverloadedError
from freehold.serve.held import DONE, HeldStream, sse

Pieces = Callable[[], AsyncGenerator[bytes, None]]


class Client:
    """The other end of one response."""

    def __init__(self, *, leaves_after: float | None = None, reads_every: float = 0) -> None:
        self.sent: list[dict[str, Any]] = []
        self._leaves_after = leaves_after
        self._reads_every = reads_every

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(1000 if self._leaves_after is None else self._leaves_after)
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if self._reads_every:
            await asyncio.sleep(self._reads_every)
        self.sent.append(dict(message))

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


def answer(pieces: AsyncGenerator[bytes, None], client: Client, *, silence: float = 0.05) -> None:
    response = HeldStream(pieces, keep_alive_seconds=silence)
    asyncio.run(asyncio.wait_for(response({}, client.receive, client.send), 5))


def test_an_event_is_one_line_for_clients_that_cut_at_unicodes_line_ends_too() -> None:
    frame = {"content": "a\x85b\u2028c\u2029d\x0b\x1ce\nf\rg ä"}
    line = sse(frame).decode().removesuffix("\n\n")
    assert line.splitlines() == [line]
    assert json.loads(line.removeprefix("data: ")) == frame


def test_pieces_come_in_order_with_signs_of_life_in_the_silences_alone() -> None:
    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"one "
        await asyncio.sleep(0.13)
        yield b"two "
        yield b"three"

    client = Client()
    answer(pieces(), client)
    assert client.body == b"one : keep-alive\n\n: keep-alive\n\ntwo three"
    assert client.sent[0]["status"] == 200
    assert [m["type"] for m in client.sent].count("http.response.start") == 1
    assert client.sent[-1]["more_body"] is False


def test_a_client_that_leaves_ends_the_work_and_its_clean_up_is_waited_for() -> None:
    cleaned: list[str] = []

    async def pieces() -> AsyncGenerator[bytes, None]:
        try:
            yield b"one"
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0.02)
            cleaned.append("yes")

    client = Client(leaves_after=0.03)
    answer(pieces(), client)
    assert cleaned == ["yes"]
    assert client.body == b"one"


def test_a_client_that_leaves_before_anything_was_sent_is_sent_nothing() -> None:
    async def pieces() -> AsyncGenerator[bytes, None]:
        await asyncio.sleep(100)
        yield b"never"

    client = Client(leaves_after=0.02)
    answer(pieces(), client)
    assert client.sent == []


def test_a_slow_reader_gets_every_piece_and_no_comment_between() -> None:
    async def pieces() -> AsyncGenerator[bytes, None]:
        for _ in range(4):
            yield b"piece "

    client = Client(reads_every=0.06)
    answer(pieces(), client, silence=0.02)
    assert client.body == b"piece " * 4


def test_an_early_failure_is_raised_and_a_late_one_is_a_frame() -> None:
    async def early() -> AsyncGenerator[bytes, None]:
        raise OverloadedError("full")
        yield b""

    async def late() -> AsyncGenerator[bytes, None]:
        yield b"one\n\n"
        raise OverloadedError("full")

    client = Client()
    with pytest.raises(OverloadedError):
        answer(early(), client)
    assert client.sent == []
    answer(late(), client)
    assert client.body.startswith(b'one\n\ndata: {"error":{"message":"full"')
    assert client.body.endswith(DONE)
    assert client.sent[-1]["more_body"] is False


def test_a_frame_is_one_line_whatever_it_says() -> None:
    assert sse({"a": "x\n\ndata: [DONE]\r\u2028"}).count(b"\n") == 2
