"""A conversation in the terminal: what was said, what is being said, and where it is kept. It prints nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from freehold.types import Message, Usage

__all__ = ["Answer", "Conversation", "Journal", "Piece"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A step's worth of an answer; either part may be empty."""

    reasoning: str
    text: str


@dataclass(slots=True)
class Answer:
    """An answer as far as it has come.

    Args:
        reasoning: The thinking so far.
        text: The answer so far.
        reasoning_seconds: From the question to the thinking's end; None while it thinks, or where it does not.
        finish_reason: Why it ended, in the API's words; `abort` where it was stopped.
        usage: What it took, once it has ended by itself.
    """

    reasoning: str = ""
    text: str = ""
    reasoning_seconds: float | None = None
    finish_reason: str = "abort"
    usage: Usage | None = None


class Journal(Protocol):
    """Keeps conversations beyond this process."""

    def begin(self) -> None:
        """The next question opens a new conversation."""
        ...

    def record(self, question: str, answer: Answer) -> None:
        """Keeps a question with its answer, whole or stopped.

        Raises:
            StoreError: It cannot be kept.
        """
        ...

    def recent(self) -> Sequence[tuple[str, str]]:
        """The latest conversations, as (id, title), the latest first."""
        ...

    def reopen(self, chat_id: str) -> Sequence[Message]:
        """Goes on with a kept conversation, and gives what was said in it.

        Raises:
            NotFoundError: It is not there any more.
        """
        ...


class Source(Protocol):
    """Where answers come from: increments of one answer to the messages, the last with `finish_reason`."""

    def __call__(self, messages: Sequence[Message]) -> Iterator[Increment]: ...


class Increment(Protocol):
    """What the engine's updates offer."""

    @property
    def text(self) -> str: ...
    @property
    def reasoning(self) -> str: ...
    @property
    def finish_reason(self) -> str | None: ...
    @property
    def usage(self) -> Usage | None: ...


class Conversation:
    """Messages that grow by question and answer.

    Args:
        source: Gives the increments of an answer.
        system: A system message that stands first in every conversation.
        journal: Keeps what is said; None keeps it in memory alone.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        source: Source,
        *,
        system: str | None = None,
        journal: Journal | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._journal = journal
        self._clock = clock
        self._start = [Message("system", system)] if system else []
        self.messages = list(self._start)

    def new(self) -> None:
        """Forgets what was said; what the journal keeps stays."""
        self.messages = list(self._start)
        if self._journal is not None:
            self._journal.begin()

    def recent(self) -> Sequence[tuple[str, str]]:
        """The latest conversations that the journal keeps, as (id, title); empty without one."""
        return self._journal.recent() if self._journal is not None else ()

    def reopen(self, chat_id: str) -> None:
        """Goes on with one of `recent`."""
        if self._journal is not None:
            self.messages = [*self._start, *self._journal.reopen(chat_id)]

    def ask(self, question: str, answer: Answer) -> Iterator[Piece]:
        """Asks, and gives the answer in pieces as it comes.

        Closing the iterator stops the answer within a step. What had come of it stays in the conversation, as the
        app's stop button has it, unless that was nothing at all: then the question goes too.

        Args:
            question: The user's words.
            answer: Filled as the answer comes.

        Raises:
            FreeholdError: The question cannot be answered, such as one that leaves no room in the context.
        """
        asked = Message("user", question)
        started = self._clock()
        stream = self._source([*self.messages, asked])
        try:
            for update in stream:
                answer.reasoning += update.reasoning
                answer.text += update.text
                if answer.reasoning and answer.reasoning_seconds is None and (update.text or update.finish_reason):
                    answer.reasoning_seconds = self._clock() - started
                if update.finish_reason is not None:
                    answer.finish_reason = update.finish_reason
                    answer.usage = update.usage
                if update.reasoning or update.text:
                    yield Piece(update.reasoning, update.text)
        finally:
            close = getattr(stream, "close", None)
            if close is not None:
                close()
            if answer.reasoning and answer.reasoning_seconds is None:
                answer.reasoning_seconds = self._clock() - started
            if answer.text or answer.reasoning:
                self.messages += [asked, Message("assistant", answer.text, answer.reasoning or None)]
                if self._journal is not None:
                    self._journal.record(question, answer)
