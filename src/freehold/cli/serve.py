"""`freehold serve`: the API and the app for programs and other machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli import options

if TYPE_CHECKING:
    from freehold.serve.registry import ModelRegistry
    from freehold.serve.server import Ready

__all__ = ["serve"]


def serve(
    port: options.Port = 8080,
    host: options.Host = "127.0.0.1",
    model: options.Models = None,
    alias: options.Alias = None,
    require_keys: Annotated[bool, typer.Option("--require-keys", help="Ask for a key on this machine too.")] = False,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A further name that requests may be sent to; may be repeated."),
    ] = None,
    allowed_origin: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="A page's origin that may call the API; may be repeated.")
    ] = None,
    secure_cookies: Annotated[bool, typer.Option("--secure-cookies", help="For a server behind HTTPS.")] = False,
    emit_reasoning: Annotated[
        bool, typer.Option("--emit-reasoning", help="Give the thinking as `reasoning` too, as vLLM does.")
    ] = False,
    drain_seconds: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long answers may take after SIGTERM.")
    ] = 600.0,
    dtype: options.Dtype = "auto",
    max_batch: options.MaxBatch = 32,
    context: options.Context = None,
    cache_tokens: options.CacheTokens = None,
    threads: options.Threads = None,
) -> None:
    """Serve the API and the app to programs and other machines.

    On 127.0.0.1 inference needs no key; on any other address keys are required, and the server does not start without
    one: `freehold keys add NAME`. SIGTERM lets running answers finish.
    """
    from freehold.cli.serving import choose_port, serve_models, tell
    from freehold.serve.settings import ServeSettings

    settings = ServeSettings(
        host=host,
        port=choose_port(host, port),
        require_keys=True if require_keys else None,
        allowed_hosts=tuple(allowed_host or ()),
        allowed_origins=tuple(allowed_origin or ()),
        secure_cookies=secure_cookies,
        emit_reasoning=emit_reasoning,
        drain_seconds=drain_seconds,
    )

    def ready(server: Ready, registry: ModelRegistry) -> None:
        tell(f"{registry.default.name} answers at {server.url}/v1")

    engine = options.engine_settings(max_batch, context, cache_tokens, threads)
    serve_models(model or [], alias or [], settings, engine=engine, dtype=dtype, on_ready=ready)
