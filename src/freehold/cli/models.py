"""`freehold models`: lists the models that are here and those that can be had by name; removes one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from freehold.hub.catalog import CatalogModel
    from freehold.hub.local import InstalledModel

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """List the models that are here, and those that can be had by name."""
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console
    from rich.table import Table

    from freehold.hub.catalog import load_catalog
    from freehold.hub.local import installed
    from freehold.text.terminal import clean_line

    catalog, here = load_catalog(), {model.name: model for model in installed()}
    table = Table(box=None, pad_edge=False)
    for heading in ("Name", "Here", "Size", "Context", "Licence", "Source"):
        table.add_column(heading, justify="right" if heading in ("Size", "Context") else "left", overflow="fold")
    for name in sorted(here | dict(catalog.models), key=lambda name: (name not in here, name)):
        row = _here(here[name]) if name in here else _known(catalog.models[name])
        table.add_row(clean_line(name), *(clean_line(cell) for cell in row), style=None if name in here else "dim")
    width = None if sys.stdout.isatty() else 160
    Console(markup=False, highlight=False, width=width).print(table)
    sys.stdout.write(
        f"\nThe default is {catalog.default}. Fetch one with `freehold pull NAME`; ~ marks a size by estimate.\n"
    )


@app.command()
def remove(name: Annotated[str, typer.Argument(help="The name of a model that is here.")]) -> None:
    """Delete a model from this machine, and what an unfinished pull of it left."""
    from freehold.hub.local import remove as delete

    delete(name)
    sys.stdout.write(f"{name} is removed.\n")


def _here(model: InstalledModel) -> tuple[str, ...]:
    facts = model.manifest
    context = f"{model.context_length:,}" if model.context_length else "?"
    licence, source = (facts.licence, facts.source) if facts else (None, str(model.path))
    return "yes", _gigabytes(model.size_bytes), context, licence or "not stated", source


def _known(model: CatalogModel) -> tuple[str, ...]:
    size = ("~" if model.size_approximate else "") + _gigabytes(model.size_bytes)
    return "", size, f"{model.context_length:,}", model.licence, model.source


def _gigabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.2f} GB" if size_bytes < 10e9 else f"{size_bytes / 1e9:.0f} GB"
