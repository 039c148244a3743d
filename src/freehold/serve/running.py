"""Runs a job's requests on the engine and merges what they give."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

from freehold.engine.request import Request, Update
from freehold.errors import OverloadedError
from freehold.serve.metrics import Metrics
from freehold.serve.registry import Runner, Served
from freehold.types import Usage

__all__ = ["Job", "new_id", "total_usage", "updates"]


def new_id(prefix: str) -> str:
    """Gives an id that nobody can guess."""
    return f"{prefix}{secrets.token_hex(12)}"


@dataclass(frozen=True, slots=True)
class Job:
    """One call of the API, ready to run.

    Args:
        id: The completion's id.
        served: The model, under the id that was asked for.
        requests: One per prompt.
        n: Answers per prompt.
        thinks: Whether the answers may hold thinking.
        tools: The tools in the prompt, if any.
        include_usage: Whether a stream ends with the usage.
        echo: What is put before each prompt's answers.
        created: Seconds since 1970.
    """

    id: str
    served: Served
    requests: tuple[Request, ...]
    n: int = 1
    thinks: bool = False
    tools: Sequence[dict[str, Any]] | None = None
    include_usage: bool = False
    echo: tuple[str, ...] = ()
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def choices(self) -> int:
        """How many answers there will be."""
        return len(self.requests) * self.n


async def updates(
    job: Job, *, start_timeout_seconds: float, metrics: Metrics
) -> AsyncGenerator[tuple[int, Update], None]:
    """Runs a job; closing the generator aborts what still runs.

    Args:
        job: What to run.
        start_timeout_seconds: How long to wait for the first update.
        metrics: Counts the first token's time, and every answer's end.

    Yields:
        The number of the answer among the job's choices, and the next update of it.

    Raises:
        OverloadedError: Nothing began in time, or the engine's queue is full.
        FreeholdError: Whatever else the engine reports.
    """
    model = job.served.model
    begun = time.monotonic()
    started = False
    open_answers = job.choices
    source = _merged(model.runner, job.requests)
    try:
        async with contextlib.aclosing(source):
            while True:
                try:
                    if started:
                        number, update = await anext(source)
                    else:
                        number, update = await asyncio.wait_for(anext(source), start_timeout_seconds)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    raise OverloadedError(
                        f"The request waited {start_timeout_seconds:g} seconds without a start; try again later."
                    ) from None
                if not started:
                    started = True
                    metrics.first_token_seconds.labels(model.name).observe(time.monotonic() - begun)
                if update.finish_reason is not None:
                    open_answers -= 1
                    metrics.finished.labels(model.name, update.finish_reason).inc()
                yield number * job.n + update.index, update
    finally:
        if open_answers:
            metrics.finished.labels(model.name, "left").inc(open_answers)


async def _merged(runner: Runner, requests: Sequence[Request]) -> AsyncGenerator[tuple[int, Update], None]:
    if len(requests) == 1:
        async with contextlib.aclosing(runner.stream(requests[0])) as stream:
            async for update in stream:
                yield 0, update
        return
    queue: asyncio.Queue[tuple[int, Update] | Exception | None] = asyncio.Queue(maxsize=64)

    async def pump(number: int, request: Request) -> None:
        try:
            async with contextlib.aclosing(runner.stream(request)) as stream:
                async for update in stream:
                    await queue.put((number, update))
            await queue.put(None)
        except Exception as error:
            await queue.put(error)

    tasks = [asyncio.create_task(pump(number, request)) for number, request in enumerate(requests)]
    running = len(tasks)
    try:
        while running:
            item = await queue.get()
            if item is None:
                running -= 1
            elif isinstance(item, Exception):
                raise item
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def total_usage(usages: Sequence[tuple[int, Usage]]) -> Usage:
    """Adds up answers' usages, each with the number of its prompt; a prompt counts once however many answers it has."""
    prompts: dict[int, Usage] = {}
    for number, usage in usages:
        known = prompts.get(number)
        if known is None or usage.cached_tokens < known.cached_tokens:
            prompts[number] = usage
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in prompts.values()),
        completion_tokens=sum(usage.completion_tokens for _, usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in prompts.values()),
        reasoning_tokens=sum(usage.reasoning_tokens for _, usage in usages),
    )
