"""`POST /chat/completions` and `POST /completions`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from freehold.serve.access import inference_user
from freehold.serve.answers import ChatAnswers, chat_frames, whole_chat
from freehold.serve.body import read_object
from freehold.serve.held import DONE, HeldJson, HeldStream, sse
from freehold.serve.plain import completion_frames, whole_completion
from freehold.serve.prompts import chat_job, completion_job
from freehold.serve.running import Job, updates
from freehold.serve.schema import parse_chat, parse_completion
from freehold.serve.state import AppState

__all__ = ["completions_router", "counted_updates"]


def counted_updates(state: AppState, job: Job) -> AsyncGenerator[tuple[int, Any], None]:
    """Runs a job with the server's limits and metrics."""
    return updates(job, start_timeout_seconds=state.settings.start_timeout_seconds, metrics=state.metrics)


def completions_router(state: AppState, *, beta: bool) -> APIRouter:
    """Makes the routes, to be mounted under one of the API's roots.

    Args:
        state: The application's parts.
        beta: Whether a last assistant message may be continued (`prefix`).
    """
    router = APIRouter()
    settings = state.settings

    async def read(request: Request) -> dict[str, Any]:
        return await read_object(
            request,
            max_bytes=settings.max_body_bytes,
            max_depth=settings.max_json_depth,
            parsers=state.parsers,
        )

    @router.post("/chat/completions")
    async def chat_completions(request: Request) -> Response:
        user = await inference_user(request, state)
        body = parse_chat(await read(request))
        make = partial(chat_job, state.registry, body, principal=user.id, allow_prefix=beta)
        job = await state.encode(request.state.body_bytes, make)
        if body.stream:
            return HeldStream(_chat_stream(state, job), keep_alive_seconds=settings.keep_alive_seconds)
        return HeldJson.of(_chat_object(state, job), keep_alive_seconds=settings.keep_alive_seconds)

    @router.post("/completions")
    async def completions(request: Request) -> Response:
        user = await inference_user(request, state)
        body = parse_completion(await read(request))
        make = partial(completion_job, state.registry, body, principal=user.id)
        job = await state.encode(request.state.body_bytes, make)
        if body.stream:
            return HeldStream(_completion_stream(state, job), keep_alive_seconds=settings.keep_alive_seconds)
        return HeldJson.of(_completion_object(state, job), keep_alive_seconds=settings.keep_alive_seconds)

    return router


async def _chat_stream(state: AppState, job: Job) -> AsyncGenerator[bytes, None]:
    answers = ChatAnswers(job)
    async with contextlib.aclosing(counted_updates(state, job)) as source:
        async for frame in chat_frames(answers, source, emit_reasoning=state.settings.emit_reasoning):
            yield sse(frame)
    state.metrics.count_usage(job.served.model.name, answers.usage)
    yield DONE


async def _chat_object(state: AppState, job: Job) -> AsyncGenerator[Mapping[str, Any], None]:
    answers = ChatAnswers(job)
    async with contextlib.aclosing(counted_updates(state, job)) as source:
        whole = await whole_chat(answers, source, emit_reasoning=state.settings.emit_reasoning)
    state.metrics.count_usage(job.served.model.name, answers.usage)
    yield whole


async def _completion_stream(state: AppState, job: Job) -> AsyncGenerator[bytes, None]:
    answers = ChatAnswers(job)
    async with contextlib.aclosing(counted_updates(state, job)) as source:
        async for frame in completion_frames(answers, source):
            yield sse(frame)
    state.metrics.count_usage(job.served.model.name, answers.usage)
    yield DONE


async def _completion_object(state: AppState, job: Job) -> AsyncGenerator[Mapping[str, Any], None]:
    answers = ChatAnswers(job)
    async with contextlib.aclosing(counted_updates(state, job)) as source:
        whole = await whole_completion(answers, source)
    state.metrics.count_usage(job.served.model.name, answers.usage)
    yield whole
