"""What `freehold run` and `freehold serve` share: a port that is free, aliases, the models, and the server itself."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from freehold.cli import options
from freehold.cli.fetching import fetch
from freehold.errors import ConfigError
from freehold.text.terminal import clean_line

if TYPE_CHECKING:
    from freehold.serve.registry import ModelRegistry
    from freehold.serve.server import Ready
    from freehold.serve.settings import ServeSettings

__all__ = ["DEFAULT_PORT", "choose_port", "parse_aliases", "serve_models", "tell"]

DEFAULT_PORT = 8080
PORTS_TRIED = 20


def tell(text: str) -> None:
    """Writes a line for the operator, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def parse_aliases(given: Sequence[str]) -> dict[str, str]:
    """Reads `NAME=MODEL` options.

    Raises:
        ConfigError: One is not of that form, or a name is given twice.
    """
    aliases: dict[str, str] = {}
    for text in given:
        name, found, model = text.partition("=")
        if not found or not name or not model:
            raise ConfigError(
                f"--alias {text!r} is not of the form NAME=MODEL, as in --alias mine=smollm2-135m-instruct."
            )
        if name in aliases:
            raise ConfigError(f"--alias {name!r} is given twice; each name means one model.")
        aliases[name] = model
    return aliases


def choose_port(host: str, port: int | None) -> int:
    """Gives a port to listen on, checked before anything heavy is loaded.

    Args:
        host: The address to listen on.
        port: The one that was asked for; None takes 8080, or the next free one.

    Raises:
        ConfigError: The port that was asked for is none, is taken, or needs rights that this user lacks; the address
            is not this machine's; or 8080 and all the ports tried after it are taken.
    """
    if port is not None:
        if not 0 <= port <= 65535:
            raise ConfigError(f"--port is {port}; it must be from 0 (any free port) to 65535.")
        error = _listening_fails(host, port)
        if error is None:
            return port
        raise ConfigError(_why(host, port, error))
    for candidate in range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED):
        error = _listening_fails(host, candidate)
        if error is None:
            if candidate != DEFAULT_PORT:
                tell(f"Port {DEFAULT_PORT} is taken; using {candidate}. --port chooses another.")
            return candidate
        if error.errno != errno.EADDRINUSE:
            raise ConfigError(_why(host, candidate, error))
    last = DEFAULT_PORT + PORTS_TRIED - 1
    raise ConfigError(f"Ports {DEFAULT_PORT} to {last} of {host} are all taken; choose one with --port.")


def _listening_fails(host: str, port: int) -> OSError | None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the server itself does it: a port whose last connections are still closing can be had.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        return error
    return None


def _why(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} of {host} is taken by another program, perhaps another Freehold; "
            "stop that one, or choose another with --port."
        )
    if error.errno == errno.EACCES:
        return f"Port {port} may not be used by this user; choose one from 1024 up with --port."
    return f"Cannot listen on {host}, port {port}: {error.strerror}; choose an address of this machine with --host."


def serve_models(
    models: Sequence[str],
    aliases: Sequence[str],
    settings: ServeSettings,
    *,
    engine: Mapping[str, int | None],
    dtype: str,
    on_ready: Callable[[Ready, ModelRegistry], None],
    log_level: int = logging.INFO,
) -> None:
    """Fetches and loads the models, and serves them until Ctrl-C or SIGTERM.

    Args:
        models: As `freehold pull` takes them, the default one first; empty means the default model.
        aliases: `NAME=MODEL` each; MODEL as it was given, or by the name that it is served under.
        settings: Of the server.
        engine: Fields of `EngineConfig`, as `options.engine_settings` gives them.
        dtype: Of the weights.
        on_ready: Called once the server answers.
        log_level: `logging.WARNING` leaves the single requests out of the log.

    Raises:
        FreeholdError: A model cannot be had, or the server cannot start.
    """
    config = options.engine_config(engine)
    wanted: list[str | None] = [*models] or [None]
    further = parse_aliases(aliases)
    folders = [fetch(model) for model in wanted]

    # Imported after everything that can fail quickly: torch takes its seconds.
    from freehold.engine.language_model import LanguageModel
    from freehold.serve.registry import ModelRegistry
    from freehold.serve.server import run_server

    with contextlib.ExitStack() as loaded:
        served = []
        for folder in folders:
            tell(f"Loading {clean_line(folder.name)}")
            served.append(loaded.enter_context(LanguageModel.from_folder(folder, dtype=dtype, engine=config)))
        named = {given: model.name for given, model in zip(wanted, served, strict=True) if given is not None}
        registry = ModelRegistry(served, {name: named.get(model, model) for name, model in further.items()})
        run_server(registry, settings, on_ready=lambda ready: on_ready(ready, registry), log_level=log_level)
