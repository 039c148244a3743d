"""A thread that steps an engine, and streams of updates for whoever waits for them.

    runner = EngineRunner(engine)
    async for update in runner.stream(request):     # or: for update in runner.stream_sync(request)
        print(update.text, end="")
    runner.stop()

The thread alone touches the engine; others leave it commands, which it takes up between two steps. Closing a stream (or
dropping it) aborts its request within a step. A step that fails ends every stream with `EngineError`, and the engine
goes on empty; no stream ever hangs.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable

from freehold.engine.engine import Engine
from freehold.engine.request import Request, Update
from freehold.engine.stats import EngineStats
from freehold.engine.streams import AsyncStream, Item, SyncStream
from freehold.errors import EngineError, FreeholdError, InvalidRequestError, OverloadedError

__all__ = ["EngineRunner"]

_logger = logging.getLogger(__name__)


class _Channel:
    """The runner's side of a stream: where updates go, and how many answers are still open."""

    def __init__(self, request: Request, put: Callable[[Item], None]) -> None:
        self.request = request
        self.put = put
        self.open_answers = request.params.n


class EngineRunner:
    """Owns the thread that steps an engine. All methods are safe for threads.

    Args:
        engine: Nobody else may step it or submit to it from now on.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._wake = threading.Condition()
        self._commands: deque[Callable[[], None]] = deque()
        self._channels: dict[str, _Channel] = {}
        self._queued = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="freehold-engine", daemon=True)
        self._thread.start()
        # at the interpreter's exit a daemon thread inside torch must not be torn down in the middle of a step
        self._finalizer = weakref.finalize(self, _stop_at_exit, weakref.ref(self))

    @property
    def alive(self) -> bool:
        """Whether requests are taken in."""
        return self._thread.is_alive() and not self._stopping

    @property
    def stats(self) -> EngineStats:
        """The engine's counters and gauges; a gauge may be one step old."""
        return self.engine.stats

    def stream(self, request: Request) -> AsyncStream:
        """Starts a request from a coroutine and gives its updates as they come. Checked here, before anything waits.

        Raises:
            InvalidRequestError: The request cannot be honoured (`Engine.check`).
            OverloadedError: The queue is full, or the engine is draining.
            EngineError: The engine's thread is gone.
        """
        return AsyncStream(self._open, request)

    def stream_sync(self, request: Request, keep: object = None) -> SyncStream:
        """As `stream`, for a thread that waits; `keep` lives as long as the stream."""
        return SyncStream(self._open, request, keep)

    def abort(self, request_id: str) -> None:
        """Ends a request within a step. Its stream gets last updates with `finish_reason="abort"`."""
        self._command(lambda: self.engine.abort(request_id))

    def stop(self, drain: bool = True, timeout: float | None = None) -> None:
        """Takes no more requests, and ends the thread.

        Args:
            drain: Let the answers in hand finish first; else they are aborted.
            timeout: Seconds to drain for; then the rest is aborted. None waits as long as it takes.

        In the engine's own thread, where a garbage collection may call it, it does not wait.
        """
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if threading.current_thread() is self._thread:
            if not drain:
                self._commands.append(self._abort_all)
            return
        if drain:
            self._thread.join(timeout)
        if self._thread.is_alive():
            with self._wake:
                self._commands.append(self._abort_all)
                self._wake.notify()
            self._thread.join()

    def _open(self, request: Request, put: Callable[[Item], None]) -> Callable[[], None]:
        self.engine.check(request)
        channel = _Channel(request, put)
        with self._wake:
            if not self._thread.is_alive():
                raise EngineError("The engine has stopped; start it again.")
            if self._stopping:
                raise OverloadedError("The engine is shutting down and takes no more requests; try again later.")
            if request.request_id in self._channels:
                raise InvalidRequestError(f"A request {request.request_id!r} is alive already; ids must be unique.")
            waiting, limit = self.engine.waiting + self._queued, self.engine.config.max_waiting
            if waiting + request.params.n > limit:
                raise OverloadedError(f"{waiting} answers are waiting and at most {limit} may; try again later.")
            self._channels[request.request_id] = channel
            self._queued += request.params.n
            self._commands.append(lambda: self._submit(channel))
            self._wake.notify()
        return lambda: self._close(channel)

    def _close(self, channel: _Channel) -> None:
        def abort() -> None:
            # the id may be in use again by then
            if self._channels.get(channel.request.request_id) is channel:
                self.engine.abort(channel.request.request_id)

        self._command(abort)

    def _command(self, command: Callable[[], None]) -> None:
        with self._wake:
            self._commands.append(command)
            self._wake.notify()

    def _submit(self, channel: _Channel) -> None:
        self._queued -= channel.request.params.n
        try:
            self.engine.submit(channel.request)
        except Exception as error:  # whatever it is, it concerns this request alone
            if not isinstance(error, FreeholdError):
                _logger.exception("A request could not be submitted")
                error = EngineError(f"The engine could not take the request ({type(error).__name__}: {error}).")
            self._channels.pop(channel.request.request_id, None)
            self._put(channel, error)

    def _abort_all(self) -> None:
        for request_id in list(self._channels):
            self.engine.abort(request_id)

    def _loop(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException:
            _logger.exception("The engine's thread ended by an error")
            raise
        finally:
            self._stopping = True
            self._fail("The engine has stopped; start it again.")

    def _turn(self) -> bool:
        with self._wake:
            while not self._commands and self.engine.idle:
                if self._stopping:
                    return False
                self._wake.wait()
            commands, self._commands = self._commands, deque()
            # under the lock, so that `waiting` and `_queued` are seen together
            for command in commands:
                command()
        try:
            updates = self.engine.step()
        except Exception as error:  # whatever it is, nobody may be left waiting
            _logger.exception("A step of the engine failed; its requests are ended")
            self.engine.reset()
            self._fail(f"The engine failed in a step and dropped its requests ({type(error).__name__}: {error}).")
            return True
        for update in updates:
            self._deliver(update)
        return True

    def _deliver(self, update: Update) -> None:
        channel = self._channels.get(update.request_id)
        if channel is None:
            return
        if update.finish_reason is not None:
            channel.open_answers -= 1
            if channel.open_answers == 0:
                with self._wake:
                    del self._channels[update.request_id]
        self._put(channel, update)

    def _fail(self, message: str) -> None:
        with self._wake:
            channels, self._channels = list(self._channels.values()), {}
            self._commands.clear()
            self._queued = 0
        for channel in channels:
            self._put(channel, EngineError(message))

    def _put(self, channel: _Channel, item: Item) -> None:
        try:
            channel.put(item)
        except RuntimeError:  # the reader's event loop closed in this moment
            _logger.debug("A stream's event loop is gone")


def _stop_at_exit(reference: weakref.ref[EngineRunner]) -> None:
    runner = reference()
    if runner is not None and runner._thread.is_alive():
        runner.stop(drain=False)
