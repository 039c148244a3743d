"""What the parts of one running application share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from freehold.serve.accounts import Accounts
from freehold.serve.history import History
from freehold.serve.metrics import Metrics
from freehold.serve.registry import ModelRegistry
from freehold.serve.settings import ServeSettings

__all__ = ["AppState", "Traffic"]

Result = TypeVar("Result")

_LONG_CHARACTERS = 256 * 1024


class Traffic:
    """Counts the requests being answered, and says when the last one of a draining server has ended.

    Used from the event loop's thread alone.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.draining = False
        self.running = 0
        self._metrics = metrics
        self._changed = asyncio.Event()

    def begin(self) -> None:
        """A request has begun."""
        self.running += 1
        self._metrics.running.set(self.running)

    def end(self) -> None:
        """A request has ended, in whatever way."""
        self.running -= 1
        self._metrics.running.set(self.running)
        self._changed.set()

    def drain(self) -> None:
        """From now on new requests are refused."""
        self.draining = True
        self._metrics.draining.set(1)
        self._changed.set()

    async def wait_idle(self) -> None:
        """Waits until no request is being answered."""
        while self.running:
            self._changed.clear()
            await self._changed.wait()


@dataclass(frozen=True, slots=True)
class AppState:
    """The shared parts; each guards itself."""

    settings: ServeSettings
    registry: ModelRegistry
    accounts: Accounts
    history: History
    metrics: Metrics
    traffic: Traffic
    busy_chats: set[tuple[str, str]] = field(default_factory=set)
    parsers: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(2))
    long_prompts: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(1))

    def answering(self, user_id: str, chat_id: str) -> bool:
        """Whether an answer is being written in a user's chat. Only from the event loop's thread."""
        return (user_id, chat_id) in self.busy_chats

    async def encode(self, characters: int, make: Callable[[], Result]) -> Result:
        """Runs what encodes a prompt on a worker thread, long ones one after the other.

        A tokenizer takes some hundred bytes of memory for each byte of text, so that a few dozen of the largest bodies
        at once would fill the machine.

        Args:
            characters: How much there is to encode, at most.
            make: Encodes it.
        """
        return await to_thread.run_sync(make, limiter=self.long_prompts if characters > _LONG_CHARACTERS else None)
