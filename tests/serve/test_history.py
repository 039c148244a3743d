"""Kept conversations: order, pages, titles, and that they belong to one user."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.errors import InvalidRequestError, NotFoundError
from freehold.serve.accounts import Accounts
from freehold.serve.history import History, NewMessage, title_of
from freehold.serve.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "f.db")
    yield opened
    opened.close()


def test_pages_go_from_the_latest_back_without_gaps_or_repeats(store: Store) -> None:
    user, history = Accounts(store).user("ann").id, History(store)
    made = [history.create_chat(user, str(number))["id"] for number in range(7)]
    history.add_message(user, made[2], NewMessage("user", "again"))
    seen: list[str] = []
    before = None
    while True:
        page = history.list_chats(user, limit=3, before=before)
        seen += [chat["id"] for chat in page["chats"]]
        before = page["next"]
        if before is None:
            break
    assert seen == [made[2], *(chat for chat in reversed(made) if chat != made[2])]


def test_a_cursor_that_is_none_is_refused(store: Store) -> None:
    user, history = Accounts(store).user("ann").id, History(store)
    for cursor in ("", "x", "AAAA", "LTE6eA==", "é"):
        with pytest.raises(InvalidRequestError, match="before is no cursor"):
            history.list_chats(user, limit=3, before=cursor)


def test_the_first_words_of_the_user_become_the_title(store: Store) -> None:
    user, history = Accounts(store).user("ann").id, History(store)
    chat = history.create_chat(user)["id"]
    assert history.add_message(user, chat, NewMessage("user", "\n  What is\tthis? \nmore"))[1] == "What is this?"
    assert history.add_message(user, chat, NewMessage("user", "other"))[1] == "What is this?"
    named = history.create_chat(user, "Mine")["id"]
    assert history.add_message(user, named, NewMessage("user", "other"))[1] == "Mine"
    assert title_of("word " * 40) == "word word word word word word word word word word word word…"
    assert title_of("x" * 100) == "x" * 60 + "…"
    assert title_of(" \n ") == ""
    assert title_of("a\x1b]52;c;x\x07b") == "a]52;c;xb"


def test_for_another_user_a_chat_does_not_exist(store: Store) -> None:
    accounts, history = Accounts(store), History(store)
    ann, bob = accounts.user("ann").id, accounts.user("bob").id
    chat = history.create_chat(ann, "mine")["id"]
    for attempt in (
        lambda: history.get_chat(bob, chat),
        lambda: history.rename_chat(bob, chat, "theirs"),
        lambda: history.delete_chat(bob, chat),
        lambda: history.add_message(bob, chat, NewMessage("user", "x")),
    ):
        with pytest.raises(NotFoundError):
            attempt()
    assert history.list_chats(bob, limit=5, before=None)["chats"] == []
    assert history.get_chat(ann, chat)["title"] == "mine"
    history.delete_chat(ann, chat)
    with pytest.raises(NotFoundError):
        history.get_chat(ann, chat)
