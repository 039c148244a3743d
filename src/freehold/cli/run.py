"""`freehold run`: the app and the API on this machine, in one command; what `make run` ends in."""

from __future__ import annotations

import logging
import os
import sys
import webbrowser
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli import options

if TYPE_CHECKING:
    from freehold.serve.registry import ModelRegistry
    from freehold.serve.server import Ready

__all__ = ["can_open_browser", "run"]


def run(
    port: options.Port = None,
    open_app: Annotated[bool, typer.Option("--open/--no-open", help="Open the app in the browser.")] = True,
    model: options.Models = None,
    alias: options.Alias = None,
    host: options.Host = "127.0.0.1",
    dtype: options.Dtype = "auto",
    max_batch: options.MaxBatch = 32,
    context: options.Context = None,
    cache_tokens: options.CacheTokens = None,
    threads: options.Threads = None,
) -> None:
    """Start Freehold on this machine and open the app.

    Without --port it listens on 8080, or on the next free port where that is taken. The link that it prints signs the
    browser in, once. Ctrl-C lets running answers finish; a second one ends at once.
    """
    from freehold.cli.serving import choose_port, serve_models, tell
    from freehold.serve.settings import ServeSettings

    settings = ServeSettings(host=host, port=choose_port(host, port))

    def ready(server: Ready, registry: ModelRegistry) -> None:
        tell(
            f"\n{registry.default.name} answers.\n\n"
            f"  The app   {server.sign_in_url}\n"
            f"  The API   {server.url}/v1\n\n"
            "The link signs a browser in, once. Ctrl-C ends the server."
        )
        if open_app and can_open_browser():
            webbrowser.open(server.sign_in_url)

    engine = options.engine_settings(max_batch, context, cache_tokens, threads)
    # The terminal is for the link here, not for a line a request; `freehold serve` logs those.
    quiet = logging.WARNING
    serve_models(model or [], alias or [], settings, engine=engine, dtype=dtype, on_ready=ready, log_level=quiet)


def can_open_browser() -> bool:
    """Whether this user sits before a display: not over SSH, and not on a server without one."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")) and "SSH_CONNECTION" not in os.environ
