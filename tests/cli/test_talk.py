"""The dialogue of `freehold chat`: what is read, what the commands do, and what stands on the screen."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence

import pytest

from freehold.cli.conversation import Answer, Conversation, Piece
from freehold.cli.screen import DIM, PLAIN, Screen, seconds
from freehold.cli.talk import Talk, answer_once, read_message
from freehold.engine.request import Update
from freehold.errors import ContextLengthError
from freehold.types import Message
from tests.cli.test_conversation import THINKS, FalseModel, Notebook, update


class Terminal(io.StringIO):
    """A sink that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def typed(*lines: str | type[BaseException]) -> Callable[[str], str]:
    """Reads the lines one by one, raises what is an exception, then is at its end."""
    left = iter(lines)

    def read(_prompt: str) -> str:
        line = next(left, EOFError)
        if isinstance(line, str):
            return line
        raise line

    return read


def talk(model: Callable[[Sequence[Message]], Iterator[Update]], *lines: str | type[BaseException]) -> tuple[str, str]:
    screen = Screen(Terminal(), io.StringIO())
    Talk(Conversation(model), screen, typed(*lines)).run()
    assert isinstance(screen.out, io.StringIO)
    assert isinstance(screen.notes, io.StringIO)
    return screen.out.getvalue(), screen.notes.getvalue()


def shown(*updates: Update, folded: bool = False, terminal: bool = True) -> tuple[str, str]:
    out = Terminal() if terminal else io.StringIO()
    screen = Screen(out, io.StringIO(), folded=folded)
    times = iter([0.0, 2.5])
    answer_once(Conversation(FalseModel(*updates), clock=lambda: next(times)), screen, "?")
    assert isinstance(screen.notes, io.StringIO)
    return out.getvalue(), screen.notes.getvalue()


def test_the_thinking_is_dim_and_told_with_its_duration() -> None:
    out, _ = shown(*THINKS)
    assert out == f"{DIM}Thinking …\nhm so\nThought for 2.5 s{PLAIN}\n\nParis\n"


def test_folded_thinking_shows_its_duration_alone() -> None:
    out, _ = shown(*THINKS, folded=True)
    assert out == f"{DIM}Thinking …\rThought for 2.5 s{PLAIN}\n\nParis\n"


def test_a_piped_answer_is_the_bare_answer() -> None:
    out, notes = shown(*THINKS, terminal=False)
    assert out == "Paris\n"
    assert notes == "Thinking …\nhm so\nThought for 2.5 s\n\n"


def test_blank_lines_before_the_answer_are_left_out_and_its_own_end_kept() -> None:
    out, _ = shown(update("\n\n"), update("\nA\n\nB\n", end=True))
    assert out == "A\n\nB\n"


@pytest.mark.parametrize(
    "evil",
    [
        ["\x1b]52;c;ZXZpbA==\x07"],
        ["\x1b]52;c;ZX", "ZpbA==\x07"],
        ["\x9b2J"],
        ["\x1b", "[2J"],
        ["\r"],
        ["\u202e"],
    ],
)
def test_the_models_control_codes_never_reach_the_terminal(evil: list[str]) -> None:
    out, _ = shown(*(update(part) for part in ["ab", *evil, "cd"]), update(end=True))
    assert out in ("abcd\n", "ab\ncd\n")
    out, _ = shown(*(update(reasoning=part) for part in ["ab", *evil, "cd"]), update("x", end=True))
    body = out.removeprefix(DIM).replace(PLAIN, "")
    assert not any(code in body for code in ("\x1b", "\x9b", "\r", "\u202e", "52;c"))


def test_an_answer_at_its_limit_says_so() -> None:
    _, notes = shown(Update("r", 0, text="abc", finish_reason="length"))
    assert "limit of tokens" in notes


@pytest.mark.parametrize(
    ("duration", "text"),
    [(0.04, "0.0 s"), (2.54, "2.5 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s")],
)
def test_durations_are_said_as_people_say_them(duration: float, text: str) -> None:
    assert seconds(duration) == text


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["one"], "one"),
        (["one \\", "two"], "one \ntwo"),
        (['"""one', "two", 'three"""'], "one\ntwo\nthree"),
        (['"""', "", " two", '"""'], " two"),
        (['"""one line"""'], "one line"),
        (['say """ in between'], 'say """ in between'),
    ],
)
def test_a_message_may_have_several_lines(lines: list[str], message: str) -> None:
    assert read_message(typed(*lines)) == message


def test_a_talk_ends_with_the_input_or_exit() -> None:
    model = FalseModel(update("Yes", end=True))
    out, _ = talk(model, "Well?", "", "  ", "/exit", "never")
    assert out == "Yes\n"
    assert len(model.asked) == 1
    assert talk(FalseModel(), EOFError)[0] == ""


def test_the_commands() -> None:
    model = FalseModel(update("Yes", end=True))
    _, notes = talk(model, "One?", "/new", "Two?", "/help", "/fold", "/fold", "/hlep", "/zzz", "/etc/hosts is what?")
    assert model.asked[1] == [Message("user", "Two?")]
    assert "A new conversation." in notes
    assert "Ctrl-C stops the answer, and not the program" in notes
    assert "The thinking is hidden." in notes
    assert "The thinking is shown." in notes
    assert "There is no /hlep. Did you mean /help?" in notes
    assert "There is no /zzz. /help lists what there is." in notes
    assert model.asked[2][-1] == Message("user", "/etc/hosts is what?")


def test_ctrl_c_stops_the_answer_and_not_the_program() -> None:
    asked = []

    def model(messages: Sequence[Message]) -> Iterator[Update]:
        asked.append(list(messages))
        yield update("Par")
        if len(asked) == 1:
            raise KeyboardInterrupt
        yield update("is", end=True)

    out, notes = talk(model, "Capital?", "Once more?")
    assert out == "Par\nParis\n"
    assert "(stopped)" in notes
    assert asked[1][:2] == [Message("user", "Capital?"), Message("assistant", "Par")]


def test_ctrl_c_where_nothing_is_answered_asks_once_and_then_leaves() -> None:
    _, notes = talk(FalseModel(), KeyboardInterrupt, KeyboardInterrupt)
    assert "Once more, Ctrl-D or /exit leaves." in notes
    out, _ = talk(FalseModel(update("Yes", end=True)), KeyboardInterrupt, "Well?", KeyboardInterrupt, "Well?")
    assert out == "Yes\nYes\n"


def test_an_error_is_one_line_and_the_talk_goes_on() -> None:
    def model(messages: Sequence[Message]) -> Iterator[Update]:
        if messages[-1].content == "long":
            raise ContextLengthError("9 tokens do not fit 8.")
        yield update("Yes", end=True)

    out, notes = talk(model, "long", "short")
    assert "9 tokens do not fit 8." in notes
    assert out == "Yes\n"


def test_showing_closes_the_iterator_when_it_is_interrupted() -> None:
    closed = []

    def pieces() -> Iterator[Piece]:
        try:
            yield Piece("", "a")
            raise KeyboardInterrupt
        finally:
            closed.append(True)

    with pytest.raises(KeyboardInterrupt):
        Screen(io.StringIO(), io.StringIO()).show(pieces(), Answer())
    assert closed == [True]


def test_an_older_conversation_goes_on() -> None:
    model, journal = FalseModel(update("Yes", end=True)), Notebook()
    journal.older = {"chat_b": [Message("user", "Later\x1b[31m?")], "chat_a": [Message("user", "Earlier?")]}
    screen = Screen(Terminal(), io.StringIO())
    read = typed("/chats", "/chats 3", "/chats x", "/chats 2", "And?", "/chats of old are what?")
    Talk(Conversation(model, journal=journal), screen, read).run()
    assert isinstance(screen.notes, io.StringIO)
    notes = screen.notes.getvalue()
    assert "   1  Later?\n   2  Earlier?\n" in notes
    assert "There is no conversation 3" in notes
    assert "There is no conversation x" in notes
    assert "Going on with: Earlier?" in notes
    assert model.asked[0] == [Message("user", "Earlier?"), Message("user", "And?")]
    assert model.asked[1][-1] == Message("user", "/chats of old are what?")
