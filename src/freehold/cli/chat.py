"""`freehold chat`: talk with a model in the terminal, or ask it one question from a script."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from freehold.engine.request import Update
    from freehold.types import Message

__all__ = ["chat"]

Question = Annotated[
    str | None,
    typer.Argument(metavar="QUESTION", help="Answer this and leave; `-`, or a pipe, reads it from the input."),
]
Model = Annotated[
    str | None, typer.Option(metavar="MODEL", help="A name, folder or hf:org/repo; fetched first where it is not here.")
]
System = Annotated[str | None, typer.Option(metavar="TEXT", help="A system message to begin with.")]
Think = Annotated[bool | None, typer.Option("--thinking/--no-thinking", help="Ask for thinking, or for none.")]
Fold = Annotated[bool, typer.Option("--fold", help="Show how long the model thinks, and not what it thinks.")]
Temperature = Annotated[
    float | None, typer.Option(metavar="T", help="0 to 2; by default what the model's makers recommend.")
]
MaxTokens = Annotated[int | None, typer.Option(metavar="N", help="Most tokens of one answer, its thinking included.")]
Keep = Annotated[bool, typer.Option("--keep/--no-keep", help="Keep the conversation among the app's.")]


def chat(
    question: Question = None,
    model: Model = None,
    system: System = None,
    thinking: Think = None,
    fold: Fold = False,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    keep: Keep = True,
) -> None:
    """Talk with a model in the terminal.

    Ctrl-C stops the answer and not the program; /help lists what else there is. A single question, given here or
    through a pipe, is answered on the standard output and not kept.
    """
    from freehold.cli.conversation import Conversation
    from freehold.cli.screen import Screen

    screen = Screen(folded=fold)
    if question == "-" or (question is None and not sys.stdin.isatty()):
        question = sys.stdin.read().strip()
        if not question:
            screen.note("The input is empty: there is nothing to answer.")
            raise typer.Exit(1)

    from freehold import load
    from freehold.cli.fetching import fetch
    from freehold.cli.journal import journal_of
    from freehold.cli.talk import Talk, answer_once

    chosen = {"temperature": temperature, "max_tokens": max_tokens}
    sampling: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    with load(fetch(model), dtype="auto") as loaded:

        def source(messages: Sequence[Message]) -> Iterator[Update]:
            return loaded.stream(messages, thinking=thinking, **sampling)

        if question is not None:
            answer_once(Conversation(source, system=system), screen, question)
            return
        with journal_of(loaded.name, keep=keep) as journal:
            screen.note(f"{loaded.name}. /help lists the commands, Ctrl-D leaves.")
            Talk(Conversation(source, system=system, journal=journal), screen).run()
