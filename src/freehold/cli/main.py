"""`freehold`: finds the verb, imports that verb alone, and turns errors into one clean line.

A verb's module is light to import: what it needs for its work (torch, the server) it imports inside its function.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from freehold import __version__
from freehold.errors import FreeholdError

__all__ = ["VERBS", "app", "main"]

VERBS = {
    "run": "Start Freehold on this machine and open the app.",
    "serve": "Serve the API and the app to other machines or programs.",
    "chat": "Talk with a model in the terminal.",
    "pull": "Fetch a model.",
    "models": "List the models that are here, and those that can be had by name.",
    "keys": "Make, list and revoke the keys of the API.",
    "cost": "Reckon what a model weighs, computes and costs to train and to serve.",
    "plan": "Tell what fits on this machine or a named one, how fast, at what price.",
    "own": "Compare machines of your own with an API, at a given load.",
    "check": "Test claims about models and money by arithmetic.",
}
"""Each verb and what it does, in the order of the help page. `freehold.cli.VERB` holds a function or a `Typer` app."""

INTERRUPTED = 130

_WANTED = {"int_parsing": "a whole number", "int_parsing_size": "a smaller whole number", "float_parsing": "a number"}
"""What pydantic, with which typer reads values, asked for."""


class LazyVerbs(TyperGroup):
    """A group whose commands are known by name and imported when they are called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The verbs, in the order of the help page."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of one verb, its module imported now; None where there is no such verb."""
        del ctx
        if cmd_name not in VERBS:
            return None
        if cmd_name not in self.commands:
            self.commands[cmd_name] = _load(cmd_name)
        return self.commands[cmd_name]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Writes the verbs on the help page without importing any of them."""
        del ctx
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def invoke(self, ctx: Any) -> Any:
        """Runs a verb; a value of the wrong type is told in our own words."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            reason = error.__cause__
            if isinstance(reason, ValueError) and callable(getattr(reason, "errors", None)):
                first = reason.errors()[0]  # type: ignore[attr-defined]
                wanted = _WANTED.get(first["type"])
                if wanted is not None:
                    error.message = f"{str(first['input'])[:80]!r} is given; it must be {wanted}."
            raise

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Finds the verb that was called; answers a typing slip with the nearest one."""
        if args[0] not in VERBS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"There are {', '.join(VERBS)}."
            ctx.fail(f"There is no verb '{args[0]}'. {hint}")
        return super().resolve_command(ctx, args)


def _load(verb: str) -> Any:
    module = importlib.import_module(f"freehold.cli.{verb}")
    found = getattr(module, "app", None)
    if isinstance(found, typer.Typer):
        command = typer.main.get_command(found)
    else:
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        single.command(verb)(getattr(module, verb))
        command = typer.main.get_command(single)
    command.name = verb
    command.short_help = VERBS[verb]
    return command


app = typer.Typer(
    cls=LazyVerbs,
    subcommand_metavar="VERB [ARGS]...",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Freehold: a reasoning model that you own outright.",
    epilog="`freehold VERB --help` tells what a verb takes.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"freehold {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    del version  # its callback has answered already


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0, 1 after an error that was told, 2 for wrong usage, 130 after Ctrl-C.

    Args:
        arguments: In place of this process's own.
    """
    # Read when torch is imported. GNU's OpenMP lets a thread that waits for the others spin for long; on a machine that
    # has other work, it takes from them the very core that they need, and a step takes ten times as long.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    sys.exit(call(sys.argv[1:] if arguments is None else arguments))


def call(arguments: Sequence[str]) -> int:
    """Runs the command line.

    Args:
        arguments: What follows `freehold`.

    Returns:
        The exit code, as `main` gives it.
    """
    try:
        app(args=list(arguments), prog_name="freehold")
    except SystemExit as leaving:
        return _exit_code(leaving)
    except FreeholdError as error:
        return _told(str(error))
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return INTERRUPTED
    return 0


def _exit_code(leaving: SystemExit) -> int:
    if leaving.code is None:
        return 0
    return leaving.code if isinstance(leaving.code, int) else 1


def _told(message: str) -> int:
    from freehold.text.terminal import clean

    sys.stderr.write(f"freehold: {clean(message)}\n")
    return 1
