"""A conversation in the terminal: what it sends, keeps and stops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from freehold.cli.conversation import Answer, Conversation, Piece
from freehold.engine.request import Update
from freehold.errors import ContextLengthError
from freehold.types import Message, Usage


class FalseModel:
    """Gives the updates it was made with; notes what it was asked and whether it was closed."""

    def __init__(self, *updates: Update) -> None:
        self.updates = updates
        self.asked: list[list[Message]] = []
        self.closed = 0

    def __call__(self, messages: Sequence[Message]) -> Iterator[Update]:
        self.asked.append(list(messages))
        try:
            yield from self.updates
        finally:
            self.closed += 1


class Notebook:
    """A journal in memory."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, str, str, str]] = []
        self.begun = 0
        self.older: dict[str, list[Message]] = {}

    def begin(self) -> None:
        self.begun += 1

    def recent(self) -> list[tuple[str, str]]:
        return [(chat_id, messages[0].content) for chat_id, messages in self.older.items()]

    def reopen(self, chat_id: str) -> list[Message]:
        return self.older[chat_id]

    def record(self, question: str, answer: Answer) -> None:
        self.kept.append((question, answer.reasoning, answer.text, answer.finish_reason))


def update(text: str = "", reasoning: str = "", end: bool = False) -> Update:
    usage = Usage(prompt_tokens=3, completion_tokens=2) if end else None
    return Update("r", 0, text=text, reasoning=reasoning, finish_reason="stop" if end else None, usage=usage)


THINKS = [update(reasoning="hm"), update(reasoning=" so"), update("Par"), update("is", end=True)]


def test_an_answer_comes_in_pieces_and_stays_for_the_next_question() -> None:
    model, journal = FalseModel(*THINKS), Notebook()
    conversation = Conversation(model, system="Be brief.", journal=journal)
    answer = Answer()
    assert list(conversation.ask("Capital?", answer)) == [
        Piece("hm", ""),
        Piece(" so", ""),
        Piece("", "Par"),
        Piece("", "is"),
    ]
    assert (answer.reasoning, answer.text, answer.finish_reason) == ("hm so", "Paris", "stop")
    assert answer.usage == Usage(prompt_tokens=3, completion_tokens=2)
    list(conversation.ask("Sure?", Answer()))
    assert model.asked[1] == [
        Message("system", "Be brief."),
        Message("user", "Capital?"),
        Message("assistant", "Paris", "hm so"),
        Message("user", "Sure?"),
    ]
    assert journal.kept[0] == ("Capital?", "hm so", "Paris", "stop")


def test_the_thinkings_duration_ends_with_the_first_word_of_the_answer() -> None:
    times = iter([100.0, 103.5])
    answer = Answer()
    list(Conversation(FalseModel(*THINKS), clock=lambda: next(times)).ask("?", answer))
    assert answer.reasoning_seconds == 3.5


def test_without_thinking_there_is_no_duration() -> None:
    answer = Answer()
    list(Conversation(FalseModel(update("Yes", end=True))).ask("?", answer))
    assert answer.reasoning_seconds is None


def test_a_stopped_answer_is_closed_and_stays_as_far_as_it_came() -> None:
    model, journal = FalseModel(*THINKS), Notebook()
    conversation = Conversation(model, journal=journal)
    answer = Answer()
    pieces = conversation.ask("Capital?", answer)
    next(pieces)
    pieces.close()
    assert model.closed == 1
    assert conversation.messages == [Message("user", "Capital?"), Message("assistant", "", "hm")]
    assert journal.kept == [("Capital?", "hm", "", "abort")]
    assert answer.reasoning_seconds is not None


def test_a_question_that_fails_leaves_the_conversation_as_it_was() -> None:
    def refuse(_: Sequence[Message]) -> Iterator[Update]:
        raise ContextLengthError("9 tokens do not fit 8.")
        yield

    journal = Notebook()
    conversation = Conversation(refuse, journal=journal)
    with pytest.raises(ContextLengthError):
        list(conversation.ask("long", Answer()))
    assert conversation.messages == []
    assert journal.kept == []


def test_new_keeps_the_system_message_alone() -> None:
    journal = Notebook()
    conversation = Conversation(FalseModel(*THINKS), system="Be brief.", journal=journal)
    list(conversation.ask("Capital?", Answer()))
    conversation.new()
    assert conversation.messages == [Message("system", "Be brief.")]
    assert journal.begun == 1
