"""Runs the application: one listening socket, and an end that cuts nobody off.

The first SIGTERM or SIGINT drains: `/readyz` answers 503, `/healthz` still 200, new requests get 503, and running
answers finish. A second one ends the server at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

import uvicorn

from freehold.errors import ConfigError
from freehold.serve.app import create_app, state_of
from freehold.serve.logs import log_event, log_failure, set_up_logging
from freehold.serve.registry import ModelRegistry
from freehold.serve.settings import ServeSettings
from freehold.serve.state import AppState

__all__ = ["DrainingServer", "Ready", "listen", "run_server"]

_CUT_SECONDS = 1
"""How long what is cut may take to notice."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A server that answers.

    Args:
        url: Where, without a path.
        sign_in_url: Opens the app signed in, once.
    """

    url: str
    sign_in_url: str


def run_server(
    models: ModelRegistry,
    settings: ServeSettings,
    *,
    on_ready: Callable[[Ready], None] | None = None,
    log_level: int = logging.INFO,
) -> None:
    """Serves until a signal ends it; the caller closes the models afterwards.

    Args:
        models: What is served.
        settings: How.
        on_ready: Called once, on a worker thread, when the server answers.
        log_level: `logging.WARNING` leaves the single requests out of the log.

    Raises:
        ConfigError: The address cannot be listened on, or it needs keys and there are none.
        StoreError: The database cannot be used.
    """
    set_up_logging(level=log_level)
    with listen(settings) as bound:
        settings = dataclasses.replace(settings, port=bound.getsockname()[1])
        app = create_app(models, settings)
        state = state_of(app)
        try:
            if not settings.keyless and not state.accounts.has_keys():
                where = (
                    "keys are required" if settings.loopback else f"{settings.host} can be reached by other machines"
                )
                raise ConfigError(
                    f"{where}, and there is no live key; make one with `freehold keys add NAME`, "
                    "or listen on 127.0.0.1."
                )
            server = DrainingServer(app, state, on_ready=on_ready)
            server.run(sockets=[bound])
        finally:
            state.accounts.close()


def listen(settings: ServeSettings) -> socket.socket:
    """Opens the one listening socket.

    Raises:
        ConfigError: The port is taken or not allowed, or the host is no address of this machine.
    """
    problem: OSError | None = None
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        found, problem = [], error
    for family, kind, protocol, _, address in sorted(found, key=lambda entry: entry[0] != socket.AF_INET):
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen(2048)
            bound.setblocking(False)
            return bound
        except OSError as error:
            bound.close()
            problem = error
    reason = "no such address" if problem is None else problem.strerror or str(problem)
    raise ConfigError(
        f"cannot listen on {settings.host} port {settings.port}: {reason}; choose another with --port or --host."
    )


class DrainingServer(uvicorn.Server):
    """uvicorn, except that a signal first lets running answers finish while the probes still answer.

    Args:
        app: The application.
        state: Its parts.
        on_ready: Called once, on a worker thread, when the server answers.
    """

    def __init__(self, app: object, state: AppState, *, on_ready: Callable[[Ready], None] | None = None) -> None:
        config = uvicorn.Config(
            app,  # type: ignore[arg-type]
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_CUT_SECONDS,
            h11_max_incomplete_event_size=64 * 1024,
        )
        super().__init__(config)
        self._state = state
        self._on_ready = on_ready
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Task[None] | None = None
        self._announcing: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to answer."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets=sockets)
        log_event("listening", host=self._state.settings.host, port=self._state.settings.port)
        if self._on_ready is not None:
            self._announcing = asyncio.create_task(asyncio.to_thread(self._announce, self._on_ready))

    def _announce(self, on_ready: Callable[[Ready], None]) -> None:
        settings = self._state.settings
        host = settings.host
        if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            host = socket.gethostname()
        url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
        try:
            token = self._state.accounts.new_signin(seconds=settings.signin_minutes * 60)
            on_ready(Ready(url, f"{url}/auth?token={token}"))
        except Exception as error:  # the server answers all the same
            log_failure(error, "start")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drains at the first signal, ends at the second. Runs in a signal handler."""
        del sig, frame
        if self._loop is None:
            self.should_exit = True
            return
        self._loop.call_soon_threadsafe(self.drain)

    def drain(self) -> None:
        """Lets the running answers finish and then ends; called again, ends at once. Only from the loop's thread."""
        if self._ending is not None:
            self.should_exit = self.force_exit = True
            return
        log_event("draining", running=self._state.traffic.running)
        self._state.traffic.drain()
        self._ending = asyncio.create_task(self._end_when_idle())

    async def _end_when_idle(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._state.traffic.wait_idle(), self._state.settings.drain_seconds)
        self.should_exit = True
