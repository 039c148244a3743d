"""The options that `freehold run` and `freehold serve` share, each described once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.errors import ConfigError

if TYPE_CHECKING:
    from freehold.engine.config import EngineConfig

__all__ = [
    "Alias",
    "CacheTokens",
    "Context",
    "Csv",
    "Dtype",
    "Host",
    "Json",
    "MaxBatch",
    "Models",
    "Port",
    "Threads",
    "engine_config",
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


Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]
Csv = Annotated[bool, typer.Option("--csv", help="Write CSV.")]
ENGINE_OPTIONS: Mapping[str, str] = {
    "max_batch": "--max-batch",
    "max_context": "--context",
    "cache_tokens": "--cache-tokens",
    "threads": "--threads",
}
"""The engine's settings, and the option that gives each."""


def engine_settings(
    max_batch: int, context: int | None, cache_tokens: int | None, threads: int | None
) -> dict[str, int | None]:
    """Gives the options that set up the engine, under the engine's names."""
    return {"max_batch": max_batch, "max_context": context, "cache_tokens": cache_tokens, "threads": threads}


def engine_config(settings: Mapping[str, int | None]) -> EngineConfig:
    """Sets up the engine's configuration.

    Args:
        settings: As `engine_settings` gives them.

    Raises:
        ConfigError: One is out of its bounds; the message names the option as it was typed.
    """
    from freehold.engine.config import EngineConfig

    for name, value in settings.items():
        try:
            EngineConfig.from_dict({name: value})
        except ConfigError as error:
            option = ENGINE_OPTIONS.get(name, name)
            raise ConfigError(str(error).replace(f"Engine setting {name}", option)) from None
    return EngineConfig.from_dict(settings)
