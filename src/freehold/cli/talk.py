"""The dialogue of `freehold chat`: reads what is typed, knows a few commands, and shows the answers."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable

from freehold.cli.conversation import Answer, Conversation
from freehold.cli.screen import Screen
from freehold.errors import FreeholdError
from freehold.text.terminal import clean_line

__all__ = ["Talk", "answer_once", "read_message"]

COMMANDS = {
    "/new": "start a new conversation",
    "/chats": "list the latest conversations, the app's too; `/chats 2` goes on with the second",
    "/fold": "hide what the model thinks, or show it again; its duration always shows",
    "/help": "show this",
    "/exit": "leave, as Ctrl-D does",
}
HELP = "\n".join(
    [
        *(f"  {name:7}{what}" for name, what in COMMANDS.items()),
        '  """    begins and ends a message of several lines; a \\ at a line\'s end carries on too',
        "  Ctrl-C stops the answer, and not the program",
    ]
)
FENCE = '"""'
PROMPT = "> "
FURTHER = ". "


def answer_once(conversation: Conversation, screen: Screen, question: str) -> None:
    """Answers one question; Ctrl-C ends the program then, since nothing else is to be done.

    Raises:
        FreeholdError: The question cannot be answered.
    """
    answer = Answer()
    screen.show(conversation.ask(question, answer), answer)


def read_message(read: Callable[[str], str]) -> str:
    """Reads one message, of several lines where it is fenced in three quotes or a line ends in a backslash.

    Args:
        read: Shows a prompt and gives a line, as `input` does.

    Raises:
        EOFError: The input is over.
    """
    line = read(PROMPT)
    if line.lstrip().startswith(FENCE):
        text = line.lstrip()[len(FENCE) :]
        while not text.rstrip().endswith(FENCE):
            text += "\n" + read(FURTHER)
        return text.rstrip()[: -len(FENCE)].strip("\n")
    lines = [line]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(read(FURTHER))
    return "\n".join(lines)


class Talk:
    """A dialogue until the user leaves.

    Args:
        conversation: Answers and remembers.
        screen: Shows.
        read: Gives a line for a prompt; `input` with line editing by default.
    """

    def __init__(self, conversation: Conversation, screen: Screen, read: Callable[[str], str] | None = None) -> None:
        self._conversation = conversation
        self._screen = screen
        self._read = read or _line_editor()

    def run(self) -> None:
        """Reads and answers until Ctrl-D, `/exit`, or Ctrl-C twice in a row where nothing is being answered."""
        interrupted = False
        while True:
            try:
                message = read_message(self._read)
            except EOFError:
                self._screen.note("")
                return
            except KeyboardInterrupt:
                if interrupted:
                    self._screen.note("")
                    return
                interrupted = True
                self._screen.note("\nOnce more, Ctrl-D or /exit leaves.")
                continue
            interrupted = False
            if message.strip() == "/exit":
                return
            if message.strip():
                self._handle(message)

    def _handle(self, message: str) -> None:
        word = message.strip()
        if word == "/new":
            self._conversation.new()
            self._screen.note("A new conversation.")
        elif word.split()[0] == "/chats" and len(word.split()) <= 2:
            self._chats(word.split()[1:])
        elif word == "/fold":
            self._screen.folded = not self._screen.folded
            self._screen.note("The thinking is hidden." if self._screen.folded else "The thinking is shown.")
        elif word == "/help":
            self._screen.note(HELP)
        elif word.startswith("/") and " " not in word and "/" not in word[1:]:
            near = difflib.get_close_matches(word, COMMANDS, n=1)
            hint = f"Did you mean {near[0]}?" if near else "/help lists what there is."
            self._screen.note(f"There is no {word}. {hint}")
        else:
            self._answer(message)

    def _chats(self, number: list[str]) -> None:
        recent = self._conversation.recent()
        if not number:
            lines = [f"  {place:2}  {clean_line(title)}" for place, (_, title) in enumerate(recent, 1)]
            self._screen.note("\n".join(lines) or "No conversation is kept yet.")
            return
        if not number[0].isdecimal() or not 1 <= int(number[0]) <= len(recent):
            self._screen.note(f"There is no conversation {number[0]}; /chats lists those there are.")
            return
        chat_id, title = recent[int(number[0]) - 1]
        self._conversation.reopen(chat_id)
        self._screen.note(f"Going on with: {clean_line(title)}")

    def _answer(self, question: str) -> None:
        answer = Answer()
        try:
            self._screen.show(self._conversation.ask(question, answer), answer)
        except KeyboardInterrupt:
            self._screen.note("(stopped)")
        except FreeholdError as error:
            self._screen.note(str(error))


def _line_editor() -> Callable[[str], str]:
    # Importing readline gives `input` line editing and a history of this session; it is absent on some systems.
    with contextlib.suppress(ImportError):
        import readline

        readline.set_history_length(1000)
    return input
