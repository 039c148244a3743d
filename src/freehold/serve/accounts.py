"""Who may use the server: users, API keys, one-time sign-in links and sessions.

Secrets leave this module once, when they are made, and are stored as digests. Every method blocks on the database.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session

from freehold.errors import ConfigError, NotFoundError
from freehold.serve.store import Store, now_us
from freehold.serve.tables import ApiKeyRow, SessionRow, SigninRow, UserRow

__all__ = ["KEY_PREFIX", "OWNER", "Accounts", "KeyInfo", "User", "csrf_token"]

OWNER = "owner"
"""The user that `freehold run` signs in and that keys belong to unless another is named."""

KEY_PREFIX = "fh-"
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,200}")
_SECOND_US = 1_000_000
_TOUCH_US = 60 * _SECOND_US


@dataclass(frozen=True, slots=True)
class User:
    """A person or programme known to the server."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What may be shown of a key; times are microseconds since 1970, UTC."""

    id: str
    name: str
    user: str
    hint: str
    created_at: int
    last_used_at: int | None
    revoked_at: int | None


def csrf_token(session_token: str) -> str:
    """The token that pages of this session send with every change; nobody without the cookie can compute it."""
    return hmac.new(session_token.encode(), b"freehold csrf", hashlib.sha256).hexdigest()


class Accounts:
    """Users, keys, sign-ins and sessions of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    def open(cls, path: Path | None = None) -> Accounts:
        """Opens the accounts in a database file, by default `freehold.db` in the data home.

        Raises:
            StoreError: The database cannot be used.
        """
        from freehold.hub.home import home

        return cls(Store(path or home() / "freehold.db"))

    def close(self) -> None:
        """Closes the database."""
        self._store.close()

    def user(self, name: str = OWNER) -> User:
        """Gives the user of a name, made where it does not exist.

        Raises:
            ConfigError: The name is empty, over 200 characters, or has control characters.
        """
        with self._store.write() as session:
            row = _user_row(session, name)
            return User(row.id, row.name)

    # Keys

    def add_key(self, name: str, user: str = OWNER) -> tuple[KeyInfo, str]:
        """Makes an API key.

        Args:
            name: What the key is for; shown in lists.
            user: Whose key it is; a user that does not exist is made.

        Returns:
            What may be shown of it, and the key itself, which cannot be had again.

        Raises:
            ConfigError: The name is malformed, or another live key has it.
        """
        _check_name("key", name)
        key = KEY_PREFIX + secrets.token_urlsafe(32)
        with self._store.write() as session:
            owner = _user_row(session, user)
            if session.scalar(select(ApiKeyRow.id).where(ApiKeyRow.name == name, ApiKeyRow.revoked_at.is_(None))):
                raise ConfigError(f"a key named {name!r} exists; choose another name, or revoke that one first.")
            row = ApiKeyRow(
                id=f"key_{secrets.token_hex(8)}",
                user_id=owner.id,
                name=name,
                hint=key[:8] + "…",
                digest=_digest(key),
                created_at=now_us(),
            )
            session.add(row)
            session.flush()
            return _key_info(row, owner.name), key

    def list_keys(self, *, revoked: bool = False) -> list[KeyInfo]:
        """Gives every live key, oldest first; with `revoked`, the revoked ones too."""
        with self._store.read() as session:
            query = select(ApiKeyRow, UserRow.name).join(UserRow).order_by(ApiKeyRow.created_at, ApiKeyRow.id)
            if not revoked:
                query = query.where(ApiKeyRow.revoked_at.is_(None))
            return [_key_info(found[0], found[1]) for found in session.execute(query)]

    def revoke_key(self, name_or_id: str) -> KeyInfo:
        """Ends a live key at once.

        Raises:
            NotFoundError: No live key of that name or id.
        """
        with self._store.write() as session:
            row = session.scalar(
                select(ApiKeyRow).where(
                    or_(ApiKeyRow.id == name_or_id, ApiKeyRow.name == name_or_id), ApiKeyRow.revoked_at.is_(None)
                )
            )
            if row is None:
                raise NotFoundError(f"no live key {name_or_id!r}; `freehold keys list` shows those there are.")
            row.revoked_at = now_us()
            owner = session.get_one(UserRow, row.user_id)
            return _key_info(row, owner.name)

    def has_keys(self) -> bool:
        """Whether any live key exists."""
        with self._store.read() as session:
            return bool(session.scalar(select(func.count()).where(ApiKeyRow.revoked_at.is_(None))))

    def key_user(self, key: str) -> User | None:
        """Gives the user of a live key, or None; notes when the key was used, to the minute."""
        digest = _digest(key)
        with self._store.read() as session:
            found = session.execute(
                select(UserRow.id, UserRow.name, ApiKeyRow.last_used_at)
                .join(ApiKeyRow)
                .where(ApiKeyRow.digest == digest, ApiKeyRow.revoked_at.is_(None))
            ).one_or_none()
        if found is None:
            return None
        if found.last_used_at is None or now_us() - found.last_used_at > _TOUCH_US:
            with self._store.write() as session:
                row = session.scalar(select(ApiKeyRow).where(ApiKeyRow.digest == digest))
                if row is not None:
                    row.last_used_at = now_us()
        return User(found.id, found.name)

    # Sign-ins and sessions

    def new_signin(self, user: str = OWNER, *, seconds: int = 3600) -> str:
        """Makes a one-time token for `/auth?token=`, good for `seconds`."""
        token = secrets.token_urlsafe(32)
        with self._store.write() as session:
            session.execute(delete(SigninRow).where(SigninRow.expires_at < now_us()))
            row = _user_row(session, user)
            expires = now_us() + seconds * _SECOND_US
            session.add(SigninRow(digest=_digest(token), user_id=row.id, expires_at=expires))
        return token

    def redeem(self, signin: str, *, seconds: int) -> str | None:
        """Turns a one-time token into a session token good for `seconds`; None where it is unknown, used or expired."""
        token = secrets.token_urlsafe(32)
        with self._store.write() as session:
            row = session.get(SigninRow, _digest(signin))
            if row is None:
                return None
            session.delete(row)
            if row.expires_at < now_us():
                return None
            session.execute(delete(SessionRow).where(SessionRow.expires_at < now_us()))
            now = now_us()
            session.add(
                SessionRow(
                    digest=_digest(token), user_id=row.user_id, created_at=now, expires_at=now + seconds * _SECOND_US
                )
            )
        return token

    def session_user(self, token: str) -> User | None:
        """Gives the user of a session token, or None where it is unknown or expired."""
        with self._store.read() as session:
            found = session.execute(
                select(UserRow.id, UserRow.name)
                .join(SessionRow)
                .where(SessionRow.digest == _digest(token), SessionRow.expires_at >= now_us())
            ).one_or_none()
        return None if found is None else User(found.id, found.name)

    def end_session(self, token: str) -> None:
        """Signs a browser out; an unknown token is no error."""
        with self._store.write() as session:
            session.execute(delete(SessionRow).where(SessionRow.digest == _digest(token)))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _check_name(kind: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{kind} name {name!r} must have 1 to 200 characters, none of them a control character.")


def _user_row(session: Session, name: str) -> UserRow:
    _check_name("user", name)
    row = session.scalar(select(UserRow).where(UserRow.name == name))
    if row is None:
        row = UserRow(id=f"user_{secrets.token_hex(8)}", name=name, created_at=now_us())
        session.add(row)
        session.flush()
    return row


def _key_info(row: ApiKeyRow, user: str) -> KeyInfo:
    return KeyInfo(row.id, row.name, user, row.hint, row.created_at, row.last_used_at, row.revoked_at)
