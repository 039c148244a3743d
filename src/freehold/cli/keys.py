"""`freehold keys`: make, list and revoke the keys of the API."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from freehold.serve.accounts import Accounts

__all__ = ["add", "app", "list_keys", "revoke"]

app = typer.Typer(
    help="Make, list and revoke the keys of the API.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@contextlib.contextmanager
def _accounts() -> Iterator[Accounts]:
    from freehold.serve.accounts import Accounts

    accounts = Accounts.open()
    try:
        yield accounts
    finally:
        accounts.close()


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the key is for; shown in the list.")],
    user: Annotated[
        str, typer.Option(metavar="USER", help="Whose key it is; a user who is not known yet is made.")
    ] = "owner",
) -> None:
    """Make a key and print it, once: only its digest is kept."""
    with _accounts() as accounts:
        _, key = accounts.add_key(name, user)
    sys.stdout.write(f"{key}\n")
    sys.stdout.flush()
    sys.stderr.write("Keep it now; it cannot be shown again. Send it as `Authorization: Bearer KEY`.\n")


@app.command("list")
def list_keys(
    revoked: Annotated[bool, typer.Option("--revoked", help="Show the revoked ones too.")] = False,
) -> None:
    """List the keys, without their secrets."""
    from rich.console import Console
    from rich.table import Table

    from freehold.text.terminal import clean_line

    with _accounts() as accounts:
        every = accounts.list_keys(revoked=True)
    keys = [key for key in every if revoked or key.revoked_at is None]
    if not keys:
        none = f"No live keys (--revoked shows {len(every)})" if every else "No keys yet"
        sys.stderr.write(f"{none}; `freehold keys add NAME` makes one.\n")
        return
    table = Table("id", "name", "user", "key", "made", "last used", box=None, pad_edge=False)
    if revoked:
        table.add_column("revoked")
    for key in keys:
        times = [key.created_at, key.last_used_at, *([key.revoked_at] if revoked else [])]
        table.add_row(key.id, clean_line(key.name), clean_line(key.user), key.hint, *(_day(time) for time in times))
    Console(markup=False, highlight=False).print(table)


@app.command()
def revoke(name: Annotated[str, typer.Argument(metavar="NAME", help="The key's name or id.")]) -> None:
    """End a key at once."""
    from freehold.text.terminal import clean_line

    with _accounts() as accounts:
        key = accounts.revoke_key(name)
    sys.stdout.write(f"Revoked {clean_line(key.name)} ({key.id}).\n")


def _day(microseconds: int | None) -> str:
    if microseconds is None:
        return "never"
    return datetime.fromtimestamp(microseconds / 1e6, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
