"""The database: its shape, its file, its versions, and what it survives."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, text

from freehold.errors import StoreError
from freehold.serve.accounts import Accounts
from freehold.serve.history import History, NewMessage
from freehold.serve.store import Store
from freehold.serve.tables import Base


def test_the_migrations_lead_to_the_declared_tables(tmp_path: Path) -> None:
    Store(tmp_path / "f.db").close()
    with create_engine(f"sqlite:///{tmp_path / 'f.db'}").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "f.db"
    store = Store(path)
    try:
        with store.write() as session:
            session.execute(text("select 1"))
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    finally:
        store.close()


def test_connections_wait_check_and_log_ahead(tmp_path: Path) -> None:
    store = Store(tmp_path / "f.db")
    try:
        with store.read() as session:
            assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"
            assert session.execute(text("PRAGMA foreign_keys")).scalar() == 1
            assert session.execute(text("PRAGMA busy_timeout")).scalar() == 10_000
    finally:
        store.close()


def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "f.db"
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StoreError, match=r"newer version of Freehold \(revision 9999\).*FREEHOLD_HOME"):
        Store(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
    connection.close()


def test_a_file_that_is_no_database_and_a_place_that_is_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "f.db").write_bytes(b"this is not a database, it is a text" * 100)
    with pytest.raises(StoreError, match="not a usable SQLite database"):
        Store(tmp_path / "f.db")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot open"):
        Store(tmp_path / "file" / "f.db")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "f.db")
    try:

        def fail() -> None:
            with store.write() as session:
                session.execute(text("INSERT INTO users VALUES ('u', 'n', 0)"))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        with store.read() as session:
            assert session.execute(text("SELECT count(*) FROM users")).scalar() == 0
    finally:
        store.close()


def test_history_and_keys_survive_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path / "f.db")
    accounts, history = Accounts(store), History(store)
    user = accounts.user("ann")
    _, key = accounts.add_key("laptop", "ann")
    chat = history.create_chat(user.id)["id"]
    history.add_message(user.id, chat, NewMessage("user", "Hello\nthere"))
    store.close()
    store = Store(tmp_path / "f.db")
    try:
        assert Accounts(store).key_user(key) == user
        kept = History(store).get_chat(user.id, chat)
        assert kept["title"] == "Hello"
        assert [m["content"] for m in kept["messages"]] == ["Hello\nthere"]
    finally:
        store.close()


def test_many_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    stores = [Store(tmp_path / "f.db") for _ in range(3)]
    user = Accounts(stores[0]).user("ann")
    chat = History(stores[0]).create_chat(user.id)["id"]

    def write(store: Store) -> None:
        for _ in range(10):
            History(store).add_message(user.id, chat, NewMessage("user", "x"))

    threads = [threading.Thread(target=write, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(History(stores[0]).get_chat(user.id, chat)["messages"]) == 30
    for store in stores:
        store.close()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX file modes")
def test_no_secret_is_in_the_file(tmp_path: Path) -> None:
    accounts = Accounts.open(tmp_path / "f.db")
    _, key = accounts.add_key("laptop")
    signin = accounts.new_signin()
    session = accounts.redeem(accounts.new_signin(), seconds=60)
    assert session is not None
    accounts.close()
    held = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    for secret in (key, signin, session):
        assert secret.encode() not in held
