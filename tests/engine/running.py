"""Ways to run an engine to the end, shared by the tests here."""

from __future__ import annotations

import random
from collections.abc import Sequence

from freehold.engine.collect import Collector
from freehold.engine.engine import Engine
from freehold.engine.request import Request, Update
from freehold.types import Completion, SamplingParams

MAX_STEPS = 3000


def greedy(max_tokens: int, **fields: object) -> SamplingParams:
    """Greedy sampling that writes exactly so many tokens."""
    return SamplingParams(temperature=0.0, max_tokens=max_tokens, ignore_eos=True, **fields)  # type: ignore[arg-type]


def prompts(count: int, lengths: Sequence[int], seed: int = 0) -> list[tuple[int, ...]]:
    """Random prompts of ordinary tokens, their lengths drawn from `lengths`."""
    rng = random.Random(seed)
    return [tuple(rng.randrange(20, 480) for _ in range(rng.choice(lengths))) for _ in range(count)]


def steps(engine: Engine) -> list[list[Update]]:
    """Steps until the engine is idle; what each step gave."""
    given: list[list[Update]] = []
    while not engine.idle:
        given.append(engine.step())
        assert len(given) < MAX_STEPS, "the engine does not come to an end"
    return given


def complete(engine: Engine, requests: Sequence[Request]) -> dict[str, list[Completion]]:
    """Runs requests together and gives their answers."""
    collectors = {request.request_id: Collector(request) for request in requests}
    for request in requests:
        engine.submit(request)
    for updates in steps(engine):
        for update in updates:
            collectors[update.request_id].add(update)
    assert_empty(engine)
    return {name: collector.completions() for name, collector in collectors.items()}


def complete_one(engine: Engine, request: Request) -> Completion:
    """Runs one request with one answer."""
    return complete(engine, [request])[request.request_id][0]


def assert_empty(engine: Engine) -> None:
    """Nobody holds a block, and nobody runs or waits."""
    stats = engine.stats
    assert (stats.running, stats.waiting, stats.cache_used_tokens) == (0, 0, 0)
