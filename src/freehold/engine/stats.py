"""What an engine has done and is doing, in numbers alone."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EngineStats"]


@dataclass(slots=True)
class EngineStats:
    """Counters since the start and gauges of now; nothing in it tells what anybody wrote.

    Args:
        running: Answers being written or read.
        waiting: Answers in the queue.
        cache_tokens: Tokens that the cache can hold.
        cache_used_tokens: Of these, in blocks that running answers hold.
        cache_reusable_tokens: Of these, in blocks kept for prompts that begin alike.
        steps: Steps done.
        step_seconds: Time they took in all.
        last_step_seconds: Time the last one took.
        requests: Requests taken in.
        finished: Answers finished.
        aborted: Answers aborted.
        prompt_tokens: Prompt tokens of answers that started.
        cached_tokens: Of these, taken from the prefix cache.
        computed_prompt_tokens: Prompt tokens run through the model, after preemptions again.
        completion_tokens: Tokens written.
        preemptions: Times that an answer gave way because the cache was full.
        failures: Steps that failed.
    """

    running: int = 0
    waiting: int = 0
    cache_tokens: int = 0
    cache_used_tokens: int = 0
    cache_reusable_tokens: int = 0
    steps: int = 0
    step_seconds: float = 0.0
    last_step_seconds: float = 0.0
    requests: int = 0
    finished: int = 0
    aborted: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    computed_prompt_tokens: int = 0
    completion_tokens: int = 0
    preemptions: int = 0
    failures: int = 0
