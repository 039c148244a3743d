"""Keeps the terminal's conversations where the app keeps its own, so that each shows the other's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from freehold.types import Message, Role

if TYPE_CHECKING:
    from freehold.cli.conversation import Answer
    from freehold.serve.history import History

__all__ = ["HistoryJournal", "journal_of"]

RECENT = 10


@contextlib.contextmanager
def journal_of(model: str, *, keep: bool) -> Iterator[HistoryJournal | None]:
    """Opens the journal of this machine's owner in the data home's database; None where nothing is to be kept.

    Args:
        model: The name under which answers are kept.
        keep: Whether to keep any.

    Raises:
        StoreError: The database cannot be used.
    """
    if not keep:
        yield None
        return
    from freehold.hub.home import home
    from freehold.serve.accounts import Accounts
    from freehold.serve.history import History
    from freehold.serve.store import Store

    store = Store(home() / "freehold.db")
    try:
        yield HistoryJournal(History(store), Accounts(store).user().id, model)
    finally:
        store.close()


class HistoryJournal:
    """One user's conversations in the server's history.

    Args:
        history: Of the store.
        user_id: Whose conversations.
        model: The name under which answers are kept.
    """

    def __init__(self, history: History, user_id: str, model: str) -> None:
        self._history = history
        self._user_id = user_id
        self._model = model
        self._chat_id: str | None = None

    def begin(self) -> None:
        """The next question opens a new conversation."""
        self._chat_id = None

    def record(self, question: str, answer: Answer) -> None:
        """Keeps a question with its answer, whole or stopped.

        Raises:
            StoreError: It cannot be kept.
        """
        from freehold.serve.answers import usage_object
        from freehold.serve.history import NewMessage

        if self._chat_id is None:
            self._chat_id = str(self._history.create_chat(self._user_id)["id"])
        said = NewMessage(
            "assistant",
            answer.text,
            reasoning_content=answer.reasoning or None,
            reasoning_seconds=answer.reasoning_seconds,
            finish_reason=answer.finish_reason,
            usage=None if answer.usage is None else usage_object(answer.usage),
            model=self._model,
        )
        for message in (NewMessage("user", question), said):
            self._history.add_message(self._user_id, self._chat_id, message)

    def recent(self) -> list[tuple[str, str]]:
        """The latest conversations, as (id, title), the latest first."""
        page = self._history.list_chats(self._user_id, limit=RECENT, before=None)
        return [(chat["id"], chat["title"]) for chat in page["chats"]]

    def reopen(self, chat_id: str) -> list[Message]:
        """Goes on with a kept conversation, and gives what was said in it.

        Raises:
            NotFoundError: It is not this user's, or not there any more.
        """
        chat = self._history.get_chat(self._user_id, chat_id)
        self._chat_id = chat_id
        return [
            Message(cast(Role, message["role"]), message["content"], message["reasoning_content"])
            for message in chat["messages"]
        ]
