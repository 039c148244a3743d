"""Signing in with a one-time link, who is signed in, and signing out."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

import freehold
from freehold.errors import AuthenticationError
from freehold.serve.access import signed_in
from freehold.serve.state import AppState
from freehold.serve.static import page

__all__ = ["auth_router"]

_DAY_SECONDS = 86_400


def auth_router(state: AppState) -> APIRouter:
    """Makes the routes `/auth`, `/api/session` and `/api/logout`."""
    router = APIRouter()
    settings = state.settings

    @router.get("/auth")
    async def auth(request: Request, token: str = "") -> Response:
        seconds = settings.session_days * _DAY_SECONDS
        session = await run_in_threadpool(state.accounts.redeem, token, seconds=seconds)
        if session is None and await _is_signed_in(request, state):
            return RedirectResponse("/", 303, headers={"Cache-Control": "no-store"})
        if session is None:
            return page(
                "This sign-in link no longer works",
                "Each link works once and for a limited time. Start `freehold run` again for a new one, and open it in "
                "this browser.",
                401,
            )
        answer = RedirectResponse("/", 303, headers={"Cache-Control": "no-store"})
        answer.set_cookie(
            settings.cookie_name,
            session,
            max_age=seconds,
            path="/",
            httponly=True,
            samesite="strict",
            secure=settings.secure_cookies,
        )
        return answer

    @router.get("/api/session")
    async def session(request: Request) -> dict[str, Any]:
        who = await signed_in(request, state)
        return {
            "user": {"id": who.user.id, "name": who.user.name},
            "csrf_token": who.csrf_token,
            "version": freehold.__version__,
            "model": state.registry.default.name,
        }

    @router.post("/api/logout")
    async def logout(request: Request) -> Response:
        who = await signed_in(request, state)
        await run_in_threadpool(state.accounts.end_session, who.token)
        answer = Response(status_code=204)
        answer.delete_cookie(
            settings.cookie_name, path="/", httponly=True, samesite="strict", secure=settings.secure_cookies
        )
        return answer

    return router


async def _is_signed_in(request: Request, state: AppState) -> bool:
    try:
        await signed_in(request, state)
    except AuthenticationError:
        return False
    return True
