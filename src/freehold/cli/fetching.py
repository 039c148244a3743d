"""Finds the model that a verb was given, and shows how far its fetching is where it is not here yet."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from freehold.hub.progress import Progress

__all__ = ["fetch", "progress_bars"]


def fetch(name: str | None) -> Path:
    """Gives a model's folder, fetched first where it is not here yet.

    Args:
        name: As `freehold pull` takes it; None means the default model.

    Raises:
        FreeholdError: The model is unknown, cannot be fetched, or is malformed.
    """
    from freehold.hub.catalog import load_catalog
    from freehold.hub.pull import ensure, resolve

    wanted = name or load_catalog().default
    found = resolve(wanted)
    if found is not None:
        return found
    sys.stderr.write(f"Fetching {wanted}; this happens once.\n")
    with progress_bars() as progress:
        return ensure(wanted, progress)


@contextlib.contextmanager
def progress_bars() -> Iterator[Progress]:
    """A progress callback that draws a bar for each step on a terminal, and writes a line a step elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    from freehold.text.terminal import clean_line

    console = Console(stderr=True, markup=False, highlight=False)
    tasks: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:

        def progress(step: str, done_bytes: int, total_bytes: int | None) -> None:
            if total_bytes is None and done_bytes == 0:
                console.print(clean_line(step))
                return
            if step not in tasks:
                tasks[step] = bars.add_task(clean_line(step, 60), total=total_bytes)
                if not console.is_terminal:
                    console.print(clean_line(step))
            bars.update(tasks[step], completed=done_bytes, total=total_bytes)

        yield progress
