from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from freehold.engine.config import EngineConfig
from freehold.engine.engine import Engine
from freehold.engine.request import Request, Update
from freehold.engine.runner import EngineRunner
from freehold.errors import ContextLengthError, EngineError, InvalidRequestError, OverloadedError
from freehold.types import SamplingParams
from tests.engine.conftest import Tiny
from tests.engine.running import greedy, prompts

WAIT_SECONDS = 60.0


@pytest.fixture
def runner(llama: Tiny) -> Iterator[EngineRunner]:
    made = EngineRunner(Engine(llama.model, llama.tokenizer, EngineConfig(pack=False, max_waiting=6)))
    yield made
    made.stop(drain=False)


def endless(name: str = "endless", n: int = 1) -> Request:
    return Request(name, tuple(range(30, 40)), SamplingParams(max_tokens=400, ignore_eos=True, n=n))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.002)


def idle(runner: EngineRunner) -> bool:
    stats = runner.stats
    return (stats.running, stats.waiting, stats.cache_used_tokens) == (0, 0, 0)


def test_many_threads_get_the_answers_they_would_get_alone(runner: EngineRunner) -> None:
    requests = [Request(str(n), prompt, greedy(6)) for n, prompt in enumerate(prompts(6, [5, 40]))]

    def tokens(request: Request) -> list[int]:
        return [token for update in runner.stream_sync(request) for token in update.token_ids]

    alone = [tokens(request) for request in requests]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(tokens, requests)) == alone
    assert idle(runner)


def test_coroutines_get_updates_and_the_last_has_the_usage(runner: EngineRunner) -> None:
    async def collect(request: Request) -> list[Update]:
        return [update async for update in runner.stream(request)]

    async def both() -> list[list[Update]]:
        requests = [Request(str(n), prompt, greedy(5)) for n, prompt in enumerate(prompts(2, [9]))]
        return await asyncio.gather(*map(collect, requests))

    for updates in asyncio.run(both()):
        assert updates[-1].finish_reason == "length"
        assert updates[-1].usage is not None
        assert [update.usage for update in updates[:-1]] == [None] * (len(updates) - 1)
        assert sum(len(update.token_ids) for update in updates) == 5


def test_closing_a_stream_stops_its_request(runner: EngineRunner) -> None:
    async def leave() -> int:
        stream = runner.stream(endless(n=2))
        await anext(stream)
        await stream.aclose()
        steps = runner.stats.steps
        while not idle(runner):
            await asyncio.sleep(0.001)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        return runner.stats.steps - steps

    assert asyncio.run(leave()) <= 3
    assert runner.stats.aborted == 2


def test_a_cancelled_task_stops_its_request(runner: EngineRunner) -> None:
    async def cancelled() -> None:
        async def read() -> None:
            stream = runner.stream(endless())
            try:
                async for _ in stream:
                    pass
            finally:
                await stream.aclose()

        task = asyncio.create_task(read())
        while runner.stats.running == 0:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    until(lambda: idle(runner))


def test_a_stream_that_is_dropped_stops_its_request(runner: EngineRunner) -> None:
    for _ in runner.stream_sync(endless()):
        break
    gc.collect()
    until(lambda: idle(runner))
    assert runner.stats.aborted == 1


def test_the_same_id_can_be_used_again_after_closing(runner: EngineRunner) -> None:
    first = runner.stream_sync(endless("again"))
    next(first)
    with pytest.raises(InvalidRequestError, match="alive already"):
        runner.stream_sync(endless("again"))
    first.close()
    until(lambda: idle(runner))
    second = runner.stream_sync(Request("again", (30,), greedy(2)))
    first.close()
    assert sum(len(update.token_ids) for update in second) == 2


def test_abort_gives_the_reader_a_last_update(runner: EngineRunner) -> None:
    stream = runner.stream_sync(endless())
    next(stream)
    runner.abort("endless")
    assert list(stream)[-1].finish_reason == "abort"


def test_errors_come_before_anything_waits(runner: EngineRunner) -> None:
    with pytest.raises(ContextLengthError):
        runner.stream_sync(Request("long", (30,) * 600))
    with pytest.raises(InvalidRequestError):
        runner.stream_sync(Request("empty", ()))
    streams = [runner.stream_sync(endless(str(n), n=3)) for n in range(2)]

    def fill() -> None:
        for n in range(40):
            streams.append(runner.stream_sync(endless(f"more {n}", n=6)))

    with pytest.raises(OverloadedError, match="at most 6 may"):
        fill()
    for stream in streams:
        stream.close()
    until(lambda: idle(runner))


def test_a_failing_step_ends_every_stream_and_the_engine_goes_on(
    runner: EngineRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = [runner.stream_sync(endless(str(n))) for n in range(3)]
    for stream in streams:
        next(stream)

    def broken(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(runner.engine._forward, "run", broken)
    for stream in streams:
        with pytest.raises(EngineError, match="out of memory"):
            list(stream)
        assert list(stream) == []
    monkeypatch.undo()
    until(lambda: idle(runner))
    assert runner.stats.failures == 1
    assert sum(len(u.token_ids) for u in runner.stream_sync(Request("after", (30,), greedy(3)))) == 3


def test_no_prompt_is_logged_when_a_step_fails(
    runner: EngineRunner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(runner.engine._forward, "run", broken)
    with pytest.raises(EngineError):
        list(runner.stream_sync(Request("canary", (471, 472, 473), greedy(3))))
    assert "A step of the engine failed" in caplog.text
    assert "471" not in caplog.text


def test_draining_lets_answers_finish_and_takes_no_more(llama: Tiny) -> None:
    runner = EngineRunner(Engine(llama.model, llama.tokenizer, EngineConfig(pack=False)))
    stream = runner.stream_sync(Request("a", (30,), greedy(60)))
    next(stream)
    stopper = threading.Thread(target=runner.stop)
    stopper.start()
    until(lambda: not runner.alive)
    with pytest.raises((OverloadedError, EngineError)):
        runner.stream_sync(Request("b", (30,), greedy(1)))
    assert list(stream)[-1].finish_reason == "length"
    stopper.join(WAIT_SECONDS)
    assert not stopper.is_alive()
    with pytest.raises(EngineError, match="stopped"):
        runner.stream_sync(Request("b", (30,), greedy(1)))


@pytest.mark.parametrize("drain", [True, False])
def test_stopping_aborts_what_does_not_end_in_time(llama: Tiny, drain: bool) -> None:
    runner = EngineRunner(Engine(llama.model, llama.tokenizer, EngineConfig(pack=False)))
    stream = runner.stream_sync(endless())
    next(stream)
    runner.stop(drain=drain, timeout=0.0)
    assert list(stream)[-1].finish_reason == "abort"
    runner.stop()


def unread() -> Request:
    """A request whose prompt takes many steps, so that nothing comes before its stream is closed."""
    return Request("unread", tuple(range(20, 480)), SamplingParams(max_tokens=3, ignore_eos=True, n=2))


@pytest.fixture
def slow_reader(llama: Tiny) -> Iterator[EngineRunner]:
    made = EngineRunner(Engine(llama.model, llama.tokenizer, EngineConfig(pack=False, prefill_chunk=32)))
    yield made
    made.stop(drain=False)


def test_a_stream_closed_while_another_thread_waits_for_it_ends_there(slow_reader: EngineRunner) -> None:
    stream = slow_reader.stream_sync(unread())
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(list, stream)
        until(lambda: slow_reader.stats.running > 0)
        stream.close()
        assert reading.result(WAIT_SECONDS) == []


def test_a_stream_closed_while_another_task_waits_for_it_ends_there(slow_reader: EngineRunner) -> None:
    async def closed() -> list[Update]:
        stream = slow_reader.stream(unread())

        async def read() -> list[Update]:
            return [update async for update in stream]

        reading = asyncio.create_task(read())
        while slow_reader.stats.running == 0:
            await asyncio.sleep(0.001)
        await stream.aclose()
        return await asyncio.wait_for(reading, WAIT_SECONDS)

    assert asyncio.run(closed()) == []


def test_a_request_that_the_engine_cannot_take_fails_alone(
    runner: EngineRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = runner.engine.submit

    def damaged(request: Request) -> None:
        if request.request_id == "damaged":
            raise ZeroDivisionError("no such thing")
        submit(request)

    monkeypatch.setattr(runner.engine, "submit", damaged)
    other = runner.stream_sync(Request("other", tuple(range(30, 40)), greedy(5)))
    with pytest.raises(EngineError, match="ZeroDivisionError"):
        list(runner.stream_sync(Request("damaged", (30,))))
    assert list(other)[-1].finish_reason == "length"
    assert runner.alive


def test_stopping_in_the_engines_own_thread_does_not_wait(
    runner: EngineRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as a garbage collection there does that drops the model
    step = runner.engine.step

    def stopping() -> list[Update]:
        runner.stop(drain=False)
        return step()

    monkeypatch.setattr(runner.engine, "step", stopping)
    assert list(runner.stream_sync(endless()))[-1].finish_reason == "abort"
    runner._thread.join(WAIT_SECONDS)
    assert not runner.alive
