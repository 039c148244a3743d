"""The options that `freehold run` and `freehold serve` share, each described once."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "Alias",
    "CacheTokens",
    "Context",
    "Dtype",
    "Host",
    "MaxBatch",
    "Models",
    "Port",
    "Threads",
    "engine_settings",
]

Port = Annotated[int | None, typer.Option(metavar="PORT", help="Port to listen on; 0 takes any free one.")]
Host = Annotated[
    str, typer.Option(metavar="ADDRESS", help="Address to listen on. Other than loopback, keys are required.")
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model", metavar="MODEL", help="A name, folder or hf:org/repo, fetched where it is not here; may be repeated."
    ),
]
Alias = Annotated[
    list[str] | None, typer.Option("--alias", metavar="NAME=MODEL", help="Serve a model under another name as well.")
]
Dtype = Annotated[
    str,
    typer.Option(
        metavar="TYPE",
        help="bfloat16, float32 (exact, slower) or, on a GPU, float16; auto is float32 for small models on a CPU, "
        "else bfloat16.",
    ),
]
MaxBatch = Annotated[int, typer.Option(metavar="N", help="Most answers that are written at the same time.")]
Context = Annotated[
    int | None,
    typer.Option(metavar="N", help="Most tokens of a prompt with its answer; by default the model's own length."),
]
CacheTokens = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Tokens that all conversations in memory may hold together; by default about 1 GiB's worth."
    ),
]
Threads = Annotated[
    int | None, typer.Option(metavar="N", help="Processor threads to compute with; by default torch's own choice.")
]


def engine_settings(
    max_batch: int, context: int | None, cache_tokens: int | None, threads: int | None
) -> dict[str, int | None]:
    """Gives the options that set up the engine, under the engine's names."""
    return {"max_batch": max_batch, "max_context": context, "cache_tokens": cache_tokens, "threads": threads}
