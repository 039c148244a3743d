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
    for child, inner in children.items():
        lines += _command(f"{name} {child}", inner, level=level + 1)
    if children:
        return lines
    usage = " ".join(command.collect_usage_pieces(context))
    lines += ["```", f"{name} {usage}", "```", ""]
    rows = [_row(parameter, context) for parameter in command.params if parameter.name != "help"]
    if rows:
        lines += ["| | | default |", "|---|---|---|", *rows, ""]
    return lines


def _row(parameter: Any, context: Any) -> str:
    if parameter.param_type_name == "argument":
        names = f"`{parameter.make_metavar(context)}`"
    else:
        names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
        if not parameter.is_flag:
            names += f" {parameter.type.name.upper()}"
    help_text = (parameter.help or "").replace("|", "\\|")
    return f"| {names} | {help_text} | {_default(parameter)} |"


def _default(parameter: Any) -> str:
    value = parameter.default
    if parameter.required:
        return "required"
    if value in (None, [], ()) or (parameter.param_type_name == "option" and parameter.is_flag and value is False):
        return ""
    return f"`{value}`"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render(), encoding="utf-8")
