"""Conversations that are kept: each belongs to one user, and does not exist for any other.

Every method blocks on the database, takes the user whose chats it may touch, and raises `NotFoundError` for all others.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from freehold.errors import InvalidRequestError, NotFoundError
from freehold.serve.store import Store, now_us
from freehold.serve.tables import ChatRow, MessageRow

__all__ = ["MAX_TITLE", "History", "NewMessage", "title_of"]

MAX_TITLE = 200
_TITLE_FROM_MESSAGE = 60


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to keep."""

    role: str
    content: str
    reasoning_content: str | None = None
    reasoning_seconds: float | None = None
    finish_reason: str | None = None
    usage: Mapping[str, Any] | None = None
    model: str | None = None


def title_of(text: str) -> str:
    """Makes a chat's title of its first message: the first line, shortened at a word."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    line = "".join(c for c in " ".join(line.split()) if c.isprintable())
    if len(line) <= _TITLE_FROM_MESSAGE:
        return line
    cut = line[:_TITLE_FROM_MESSAGE]
    head, blank, _ = cut.rpartition(" ")
    return (head if blank and len(head) > _TITLE_FROM_MESSAGE // 2 else cut).rstrip() + "…"


class History:
    """The chats of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def list_chats(self, user_id: str, *, limit: int, before: str | None) -> dict[str, Any]:
        """Gives a page of a user's chats, the latest first, and the cursor of the next page.

        Raises:
            InvalidRequestError: The cursor is not one that this gave.
        """
        query = select(ChatRow).where(ChatRow.user_id == user_id)
        if before is not None:
            updated_at, chat_id = _read_cursor(before)
            query = query.where(
                or_(ChatRow.updated_at < updated_at, and_(ChatRow.updated_at == updated_at, ChatRow.id < chat_id))
            )
        query = query.order_by(ChatRow.updated_at.desc(), ChatRow.id.desc()).limit(limit + 1)
        with self._store.read() as session:
            rows = list(session.scalars(query))
            more = len(rows) > limit
            rows = rows[:limit]
            return {"chats": [_chat(row) for row in rows], "next": _cursor(rows[-1]) if more else None}

    def create_chat(self, user_id: str, title: str = "") -> dict[str, Any]:
        """Makes an empty chat."""
        now = now_us()
        row = ChatRow(
            id=f"chat_{secrets.token_hex(12)}", user_id=user_id, title=title, model=None, created_at=now, updated_at=now
        )
        with self._store.write() as session:
            session.add(row)
            session.flush()
            return _chat(row)

    def get_chat(self, user_id: str, chat_id: str) -> dict[str, Any]:
        """Gives a chat with all its messages, the oldest first."""
        with self._store.read() as session:
            chat = _chat(_own(session, user_id, chat_id))
            rows = session.scalars(
                select(MessageRow).where(MessageRow.chat_id == chat_id).order_by(MessageRow.position)
            )
            return {**chat, "messages": [_message(row) for row in rows]}

    def rename_chat(self, user_id: str, chat_id: str, title: str) -> dict[str, Any]:
        """Gives a chat another title."""
        with self._store.write() as session:
            row = _own(session, user_id, chat_id)
            row.title = title
            session.flush()
            return _chat(row)

    def delete_chat(self, user_id: str, chat_id: str) -> None:
        """Deletes a chat and its messages."""
        with self._store.write() as session:
            session.delete(_own(session, user_id, chat_id))

    def add_message(self, user_id: str, chat_id: str, message: NewMessage) -> tuple[str, str]:
        """Adds a message at the end of a chat; the first one of the user gives an untitled chat its title.

        Returns:
            The message's id and the chat's title.
        """
        with self._store.write() as session:
            chat = _own(session, user_id, chat_id)
            last = session.scalar(select(func.max(MessageRow.position)).where(MessageRow.chat_id == chat_id))
            row = MessageRow(
                id=f"msg_{secrets.token_hex(12)}",
                chat_id=chat_id,
                position=0 if last is None else last + 1,
                role=message.role,
                content=message.content,
                reasoning_content=message.reasoning_content,
                reasoning_seconds=message.reasoning_seconds,
                finish_reason=message.finish_reason,
                usage=None if message.usage is None else json.dumps(message.usage),
                model=message.model,
                created_at=now_us(),
            )
            session.add(row)
            if not chat.title and message.role == "user":
                chat.title = title_of(message.content)
            if message.model is not None:
                chat.model = message.model
            chat.updated_at = row.created_at
            session.flush()
            return row.id, chat.title


def _own(session: Session, user_id: str, chat_id: str) -> ChatRow:
    row = session.scalar(select(ChatRow).where(ChatRow.id == chat_id, ChatRow.user_id == user_id))
    if row is None:
        raise NotFoundError("No such chat.")
    return row


def _time(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _chat(row: ChatRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "title": row.title,
        "model": row.model,
        "created_at": _time(row.created_at),
        "updated_at": _time(row.updated_at),
    }


def _message(row: MessageRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "role": row.role,
        "content": row.content,
        "reasoning_content": row.reasoning_content,
        "reasoning_seconds": row.reasoning_seconds,
        "finish_reason": row.finish_reason,
        "usage": None if row.usage is None else json.loads(row.usage),
        "model": row.model,
        "created_at": _time(row.created_at),
    }


def _cursor(row: ChatRow) -> str:
    return base64.urlsafe_b64encode(f"{row.updated_at}:{row.id}".encode()).decode()


def _read_cursor(cursor: str) -> tuple[int, str]:
    try:
        updated_at, _, chat_id = base64.b64decode(cursor, altchars=b"-_", validate=True).decode().partition(":")
        number = int(updated_at)
        if not 0 <= number < 2**63:
            raise ValueError
    except ValueError:
        raise InvalidRequestError(
            "before is no cursor of this server; take it from `next` of the page before.",
            param="before",
            code="invalid_value",
        ) from None
    return number, chat_id
