"""A real server on a free port, in a thread of the test's process."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from freehold.serve.accounts import Accounts
from freehold.serve.app import create_app, state_of
from freehold.serve.registry import ModelRegistry
from freehold.serve.server import DrainingServer, Ready, listen
from freehold.serve.settings import ServeSettings

__all__ = ["LiveServer", "live_server"]


class LiveServer:
    """What tests need of a running server."""

    def __init__(self, server: DrainingServer, app: FastAPI, url: str, sign_in_url: str) -> None:
        self.server = server
        self.app = app
        self.state = state_of(app)
        self.url = url
        self.sign_in_url = sign_in_url
        self.port = self.state.settings.port

    def paths(self) -> set[str]:
        """Every path that is declared."""
        return set(self.app.openapi()["paths"])

    @property
    def accounts(self) -> Accounts:
        return self.state.accounts

    def drain(self) -> None:
        """Does what SIGTERM does."""
        self.server.handle_exit(15, None)

    def client(self, **options: Any) -> httpx.Client:
        """A client that is nobody in particular."""
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False, **options)

    @contextlib.contextmanager
    def signed_in(self, user: str = "owner") -> Iterator[httpx.Client]:
        """A client that is signed in, with its CSRF token set."""
        with self.client() as client:
            answer = client.get("/auth", params={"token": self.accounts.new_signin(user)})
            assert answer.status_code == 303, answer.text
            session = client.get("/api/session").json()
            client.headers["X-CSRF-Token"] = session["csrf_token"]
            yield client


@contextlib.contextmanager
def live_server(
    models: Sequence[Any], folder: Path, *, aliases: Mapping[str, str] | None = None, **settings: Any
) -> Iterator[LiveServer]:
    """Runs a server over `models` with its database in `folder`, until the block ends."""
    chosen = ServeSettings(
        **{"port": 0, "database": folder / "freehold.db", "web_root": folder / "web", "drain_seconds": 20, **settings}
    )
    ready = threading.Event()
    links: list[Ready] = []

    def on_ready(link: Ready) -> None:
        links.append(link)
        ready.set()

    with listen(chosen) as bound:
        chosen = dataclasses.replace(chosen, port=bound.getsockname()[1])
        app = create_app(ModelRegistry(models, aliases), chosen)
        server = DrainingServer(app, state_of(app), on_ready=on_ready)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        try:
            assert ready.wait(20), "the server did not start"
            yield LiveServer(server, app, links[0].url, links[0].sign_in_url)
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive(), "the server did not end"
