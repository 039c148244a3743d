"""What the parts of one running application share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from freehold.serve.accounts import Accounts
from freehold.serve.history import History
from freehold.serve.metrics import Metrics
from freehold.serve.registry import ModelRegistry
from freehold.serve.settings import ServeSettings

__all__ = ["AppState", "Traffic"]


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
    busy_chats: set[str] = field(default_factory=set)
