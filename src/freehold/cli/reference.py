"""Writes docs/cli.md from the command line itself: `python -m freehold.cli.reference docs/cli.md` (or `make docs`)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from freehold.cli.main import app

__all__ = ["render"]

HEADER = """\
# The command line

Written from the commands by `make docs`; a test holds it current. Every command exits with 0, with 1 after an error
that it told in one line, with 2 for wrong usage, and with 130 after Ctrl-C.
"""


def render() -> str:
    """The page: every verb with its arguments and options, in the order of the help."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("freehold", ["--help"], resilient_parsing=True)
    parts = [HEADER]
    for name in group.list_commands(context):
        parts += _command(f"freehold {name}", group.get_command(context, name), level=2)
    return "\n".join(parts)


def _command(name: str, command: Any, *, level: int) -> list[str]:
    children = getattr(command, "commands", {})
    context = command.make_context(name, [], resilient_parsing=True)
    lines = [f"{'#' * level} {name}", "", (command.help or "").strip(), ""]
    if not children or command.invoke_without_command:
        usage = " ".join(command.collect_usage_pieces(context))
        lines += ["```", f"{name} {usage}", "```", ""]
    records = [record for parameter in command.params if (record := parameter.get_help_record(context))]
    if records:
        lines += ["| | |", "|---|---|", *map(_row, records), ""]
    for child, inner in children.items():
        lines += _command(f"{name} {child}", inner, level=level + 1)
    return lines


def _row(record: tuple[str, str]) -> str:
    name, text = (part.replace("|", "\\|") for part in record)
    return f"| `{name}` | {' '.join(text.split())} |"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render(), encoding="utf-8")
