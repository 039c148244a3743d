"""Streams of one request's updates: for a thread that waits, and for an event loop.

Closing a stream, or dropping it, aborts its request within a step. No stream ever hangs: whatever ends the runner puts
an error into it.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Self

from freehold.engine.request import Request, Update
from freehold.errors import FreeholdError

__all__ = ["AsyncStream", "Item", "Opener", "SyncStream"]

Item = Update | FreeholdError
"""What a stream receives: an update, or the error that ends it."""


Opener = Callable[[Request, Callable[[Item], None]], Callable[[], None]]
"""Starts a request whose updates go where the second argument puts them; gives what aborts it."""


class SyncStream(Iterator[Update]):
    """The updates of one request, for a thread that waits. Close it to abort; it is a context manager.

    Closed while it waits in another thread, it ends there.

    Args:
        opener: Starts the request.
        request: Whose updates.
        keep: What must live as long as the stream does: whatever would stop the runner when it is dropped.
    """

    def __init__(self, opener: Opener, request: Request, keep: object = None) -> None:
        self._keep = keep
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._left = request.params.n
        self._abort = opener(request, self._items.put)

    def __next__(self) -> Update:
        if self._left == 0:
            raise StopIteration
        item = self._items.get()
        if self._left == 0:  # closed in the meantime
            raise StopIteration
        if isinstance(item, FreeholdError):
            self._left = 0
            raise item
        self._left -= item.finish_reason is not None
        return item

    def close(self) -> None:
        """Aborts what is not finished. May be called again, and from any thread."""
        if self._left:
            self._left = 0
            self._abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_abort", None) is not None:
            self.close()


class AsyncStream(AsyncIterator[Update]):
    """The updates of one request, for the event loop that it was opened in. `aclose` aborts what is not finished.

    Closed while another task waits for it, it ends there.
    """

    def __init__(self, opener: Opener, request: Request) -> None:
        self._items: asyncio.Queue[Item] = asyncio.Queue()
        self._left = request.params.n
        loop = asyncio.get_running_loop()
        items = self._items

        def put(item: Item) -> None:
            # a loop that is closed has nobody waiting any more
            if not loop.is_closed():
                loop.call_soon_threadsafe(items.put_nowait, item)

        self._abort = opener(request, put)

    async def __anext__(self) -> Update:
        if self._left == 0:
            raise StopAsyncIteration
        item = await self._items.get()
        if self._left == 0:  # closed in the meantime
            raise StopAsyncIteration
        if isinstance(item, FreeholdError):
            self._left = 0
            raise item
        self._left -= item.finish_reason is not None
        return item

    async def aclose(self) -> None:
        """Aborts what is not finished. May be called again."""
        self._close()

    def _close(self) -> None:
        if self._left:
            self._left = 0
            self._abort()

    def __del__(self) -> None:
        if getattr(self, "_abort", None) is not None:
            self._close()
