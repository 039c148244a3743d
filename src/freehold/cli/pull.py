"""`freehold pull`: fetches a model, with a progress bar for each file."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

__all__ = ["pull"]


def pull(
    model: Annotated[
        str,
        typer.Argument(help="A name of the catalog, hf:org/repo[@revision], a model folder, or a .gguf file."),
    ] = "",
) -> None:
    """Fetch a model; without a name, the default one. A pull that was cut short goes on where it stopped."""
    from freehold.cli.fetching import progress_bars
    from freehold.hub.catalog import load_catalog
    from freehold.hub.pull import pull as fetch
    from freehold.hub.pull import resolve

    wanted = model or load_catalog().default
    found = resolve(wanted)
    if found is not None:
        sys.stdout.write(f"{wanted} is here: {found}\n")
        return
    with progress_bars() as progress:
        folder = fetch(wanted, progress)
    sys.stdout.write(f"{wanted} is ready: {folder}\n")
