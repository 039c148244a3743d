"""Who is asking: a key, a signed-in browser, or nobody in particular on this very machine."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from freehold.errors import AuthenticationError, PermissionDeniedError
from freehold.serve.accounts import KEY_PREFIX, User, csrf_token
from freehold.serve.state import AppState

__all__ = ["ANONYMOUS", "CSRF_HEADER", "SignedIn", "inference_user", "require_identity", "signed_in"]

ANONYMOUS = User("anonymous", "anonymous")
"""Who asks without a key on a loopback bind: inference only, no history."""

CSRF_HEADER = "x-csrf-token"
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A signed-in browser."""

    user: User
    token: str

    @property
    def csrf_token(self) -> str:
        """What its pages send in `X-CSRF-Token` with every change."""
        return csrf_token(self.token)


async def inference_user(request: Request, state: AppState) -> User:
    """Gives who may use the models: a live key's user, a signed-in user, or, on keyless loopback, anybody.

    A key that looks like one of ours must be one, everywhere. On keyless loopback any other placeholder is let pass,
    because OpenAI's clients insist on sending something.

    Raises:
        AuthenticationError: None of these.
    """
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    key = key.strip()
    bearer = scheme.lower() == "bearer" and bool(key)
    keyless = state.settings.keyless and not any(name in request.headers for name in _FORWARDED)
    if bearer and (key.startswith(KEY_PREFIX) or not keyless):
        user = await run_in_threadpool(state.accounts.key_user, key)
        if user is None:
            raise AuthenticationError(
                "The API key is not known here, or was revoked; `freehold keys add NAME` makes one."
            )
        return user
    if not bearer:
        session = await _session(request, state)
        if session is not None and (request.method in _SAFE or _csrf_matches(request, session)):
            return session.user
    if keyless:
        return ANONYMOUS
    raise AuthenticationError(
        "An API key is required: send `Authorization: Bearer KEY`; `freehold keys add NAME` makes one."
    )


async def require_identity(request: Request, state: AppState) -> User:
    """Gives a key's or a signed-in user; nobody in particular is refused, also on loopback.

    Raises:
        AuthenticationError: Neither.
    """
    user = await inference_user(request, state)
    if user is ANONYMOUS:
        raise AuthenticationError("This needs an API key or a sign-in; `freehold keys add NAME` makes a key.")
    return user


async def signed_in(request: Request, state: AppState) -> SignedIn:
    """Gives the signed-in browser; a key does not stand in for it.

    Raises:
        AuthenticationError: No session, or an expired one.
        PermissionDeniedError: A change without the session's CSRF token.
    """
    session = await _session(request, state)
    if session is None:
        raise AuthenticationError("Not signed in; open the link that `freehold run` prints.")
    if request.method not in _SAFE and not _csrf_matches(request, session):
        raise PermissionDeniedError(
            "The X-CSRF-Token header is missing or not this session's; take it from GET /api/session."
        )
    return session


async def _session(request: Request, state: AppState) -> SignedIn | None:
    token = request.cookies.get(state.settings.cookie_name, "")
    if not token:
        return None
    user = await run_in_threadpool(state.accounts.session_user, token)
    return None if user is None else SignedIn(user, token)


def _csrf_matches(request: Request, session: SignedIn) -> bool:
    given = request.headers.get(CSRF_HEADER, "")
    return hmac.compare_digest(given.encode(), session.csrf_token.encode())
