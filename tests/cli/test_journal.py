"""What is said in the terminal is kept where the app keeps its chats, and the app's can go on in the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from freehold.cli.conversation import Answer
from freehold.cli.journal import journal_of
from freehold.errors import NotFoundError
from freehold.serve.accounts import Accounts
from freehold.serve.history import History, NewMessage
from freehold.serve.store import Store
from freehold.types import Message, Usage

pytestmark = pytest.mark.usefixtures("empty_home")

ANSWER = Answer("hm", "Paris", 2.5, "stop", Usage(prompt_tokens=3, completion_tokens=2, reasoning_tokens=1))


def test_an_answer_is_kept_as_the_app_shows_it(empty_home: Path) -> None:
    with journal_of("m", keep=True) as journal:
        assert journal is not None
        journal.record("Capital?", ANSWER)
        journal.record("Sure?", Answer(text="Ye"))
        journal.begin()
        journal.record("Another?", ANSWER)
        assert [title for _, title in journal.recent()] == ["Another?", "Capital?"]
    store = Store(empty_home / "freehold.db")
    owner = Accounts(store).user().id
    history = History(store)
    first = history.list_chats(owner, limit=9, before=None)["chats"][1]
    messages = history.get_chat(owner, first["id"])["messages"]
    store.close()
    assert [message["content"] for message in messages] == ["Capital?", "Paris", "Sure?", "Ye"]
    assert messages[1]["reasoning_content"] == "hm"
    assert messages[1]["reasoning_seconds"] == 2.5
    assert messages[1]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 1}
    assert messages[1]["model"] == "m"
    assert messages[3]["finish_reason"] == "abort"


def test_a_conversation_of_the_app_goes_on(empty_home: Path) -> None:
    store = Store(empty_home / "freehold.db")
    owner = Accounts(store).user().id
    chat = History(store).create_chat(owner)["id"]
    History(store).add_message(owner, chat, NewMessage("user", "Capital?"))
    store.close()
    with journal_of("m", keep=True) as journal:
        assert journal is not None
        assert journal.reopen(chat) == [Message("user", "Capital?")]
        journal.record("And?", ANSWER)
        assert len(journal.reopen(chat)) == 3


def test_nobody_elses_conversation_can_be_opened(empty_home: Path) -> None:
    store = Store(empty_home / "freehold.db")
    other = Accounts(store).user("ada").id
    chat = History(store).create_chat(other, "Hers")["id"]
    store.close()
    with journal_of("m", keep=True) as journal:
        assert journal is not None
        assert journal.recent() == []
        with pytest.raises(NotFoundError):
            journal.reopen(chat)


def test_nothing_is_kept_where_nothing_is_to_be(empty_home: Path) -> None:
    with journal_of("m", keep=False) as journal:
        assert journal is None
    assert not empty_home.exists()
