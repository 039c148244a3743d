"""The database file: opened, checked, migrated, and read and written in short transactions.

SQLite in WAL mode: many readers beside one writer, in several processes (the server and `freehold keys`). Every call
blocks; the server makes them on worker threads.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, IntegrityError
from sqlalchemy.orm import Session

from freehold.errors import StoreError

__all__ = ["Store", "now_us"]

BUSY_TIMEOUT_MS = 10_000
_WRITES = "freehold_writes"


def now_us() -> int:
    """The time in microseconds since 1970, UTC."""
    return time.time_ns() // 1000


class Store:
    """One database file.

    Args:
        path: The SQLite file; it and its folder are created, readable by their owner alone.

    Raises:
        StoreError: The file cannot be opened or migrated, is no database, or comes from a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            path.chmod(0o600)
        except OSError as error:
            raise StoreError(
                f"cannot open the database {path}: {error.strerror}; "
                "give a writable place with FREEHOLD_HOME, or correct the file's owner."
            ) from None
        self._engine = _engine(path)
        try:
            with self._connection(writes=True) as connection:
                _migrate(connection, path)
        except BaseException:
            self._engine.dispose()
            raise

    def close(self) -> None:
        """Closes every connection; the store must not be used afterwards."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _connection(self, *, writes: bool) -> Iterator[Connection]:
        engine = self._engine.execution_options(**{_WRITES: writes})
        try:
            with engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except DatabaseError as error:
            raise StoreError(_reason(self.path, error)) from None

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one consistent state and must not write.

        Raises:
            StoreError: The database cannot be read.
        """
        with self._connection(writes=False) as connection, Session(connection) as session:
            yield session

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose changes are committed together on leaving, or not at all when an error leaves it.

        Raises:
            StoreError: The database is locked for too long, read-only or full.
        """
        with self._connection(writes=True) as connection, Session(connection, expire_on_commit=False) as session:
            yield session
            session.flush()


def _engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", hide_parameters=True, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "foreign_keys=ON", f"busy_timeout={BUSY_TIMEOUT_MS}", "synchronous=NORMAL"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes the write lock at once: one that began as a reader could not wait for it.
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _migrate(connection: Connection, path: Path) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    folder = str(Path(__file__).parent / "migrations").replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in known:
        raise StoreError(
            f"the database {path} was written by a newer version of Freehold (revision {current}); "
            "install that version, or keep this one's data elsewhere with FREEHOLD_HOME."
        )
    command.upgrade(config, "head")


def _reason(path: Path, error: DatabaseError) -> str:
    text = str(error.orig) if isinstance(error.orig, sqlite3.Error) else type(error).__name__
    if "locked" in text:
        return f"the database {path} is locked by another process; try again when that has finished."
    if "readonly" in text:
        return f"the database {path} is read-only; make it and its folder writable."
    if "full" in text:
        return f"the disk that holds {path} is full; free some room."
    if "not a database" in text or "malformed" in text:
        return f"{path} is not a usable SQLite database ({text}); move it away, or restore a copy."
    return f"the database {path} failed: {text}."
