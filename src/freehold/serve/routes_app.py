"""What the app alone uses: the signed-in user's conversations."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from freehold.serve.access import signed_in
from freehold.serve.body import read_object
from freehold.serve.held import HeldStream
from freehold.serve.history import MAX_TITLE
from freehold.serve.schema import parse
from freehold.serve.state import AppState
from freehold.serve.talk import NewTurn, turn

__all__ = ["app_router"]


class _Titled(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)
    title: str = Field(max_length=MAX_TITLE)


class _NewChat(_Titled):
    title: str = Field(default="", max_length=MAX_TITLE)


def app_router(state: AppState) -> APIRouter:
    """Makes the routes under `/api/chats`; each needs a session, and each change its CSRF token."""
    router = APIRouter(prefix="/api/chats")
    settings, history = state.settings, state.history

    async def read(request: Request) -> dict[str, Any]:
        return await read_object(
            request,
            max_bytes=settings.max_body_bytes,
            max_depth=settings.max_json_depth,
            parsers=state.parsers,
        )

    @router.get("")
    async def list_chats(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        before: Annotated[str | None, Query(max_length=200)] = None,
    ) -> dict[str, Any]:
        who = await signed_in(request, state)
        return await run_in_threadpool(history.list_chats, who.user.id, limit=limit, before=before)

    @router.post("", status_code=201)
    async def create_chat(request: Request) -> dict[str, Any]:
        who = await signed_in(request, state)
        body = parse(_NewChat, await read(request))
        return await run_in_threadpool(history.create_chat, who.user.id, _printable(body.title))

    @router.get("/{chat_id}")
    async def get_chat(request: Request, chat_id: str) -> dict[str, Any]:
        who = await signed_in(request, state)
        # Asked before and after: an answer that ends while the chat is read may not be in what was read.
        answering = state.answering(who.user.id, chat_id)
        chat = await run_in_threadpool(history.get_chat, who.user.id, chat_id)
        return {**chat, "answering": answering or state.answering(who.user.id, chat_id)}

    @router.patch("/{chat_id}")
    async def rename_chat(request: Request, chat_id: str) -> dict[str, Any]:
        who = await signed_in(request, state)
        body = parse(_Titled, await read(request))
        return await run_in_threadpool(history.rename_chat, who.user.id, chat_id, _printable(body.title))

    @router.delete("/{chat_id}", status_code=204)
    async def delete_chat(request: Request, chat_id: str) -> Response:
        who = await signed_in(request, state)
        await run_in_threadpool(history.delete_chat, who.user.id, chat_id)
        return Response(status_code=204)

    @router.post("/{chat_id}/messages")
    async def add_message(request: Request, chat_id: str) -> Response:
        who = await signed_in(request, state)
        new = parse(NewTurn, await read(request))
        return HeldStream(turn(state, who.user, chat_id, new), keep_alive_seconds=settings.keep_alive_seconds)

    return router


def _printable(title: str) -> str:
    return "".join(c for c in title if c.isprintable()).strip()
