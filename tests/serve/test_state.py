"""Prompts that are long to encode take turns, short ones do not wait for them."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from freehold.serve.app import create_app, state_of
from freehold.serve.registry import ModelRegistry
from freehold.serve.settings import ServeSettings
from tests.support.fake_model import FakeModel


def test_long_prompts_are_encoded_one_by_one_and_short_ones_beside_them(tmp_path: Path) -> None:
    state = state_of(create_app(ModelRegistry([FakeModel()]), ServeSettings(database=tmp_path / "freehold.db")))
    lock, gate = threading.Lock(), threading.Event()
    running, most = 0, 0

    def long() -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        assert gate.wait(20)
        with lock:
            running -= 1
        return "long"

    async def everything() -> list[str]:
        jobs = [asyncio.create_task(state.encode(10**6, long)) for _ in range(5)]
        await asyncio.sleep(0.05)
        assert await state.encode(100, lambda: "short") == "short"
        assert not any(job.done() for job in jobs)
        gate.set()
        return await asyncio.gather(*jobs)

    assert asyncio.run(everything()) == ["long"] * 5
    assert most == 1
