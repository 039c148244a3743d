"""Puts the application together."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

import freehold
from freehold.errors import FreeholdError, InvalidRequestError, OverloadedError
from freehold.hub.home import home
from freehold.serve.accounts import Accounts
from freehold.serve.gate import Gate
from freehold.serve.history import History
from freehold.serve.logs import log_failure
from freehold.serve.metrics import Metrics
from freehold.serve.misfits import misfit
from freehold.serve.observe import Observe
from freehold.serve.problems import clean, problem_of
from freehold.serve.registry import ModelRegistry
from freehold.serve.routes_app import app_router
from freehold.serve.routes_auth import auth_router
from freehold.serve.routes_completions import completions_router
from freehold.serve.routes_health import health_router
from freehold.serve.routes_models import models_router
from freehold.serve.settings import ServeSettings
from freehold.serve.state import AppState, Traffic
from freehold.serve.static import StaticApp
from freehold.serve.store import Store

__all__ = ["API_ROOTS", "create_app", "state_of"]

API_ROOTS = ("/v1", "", "/beta")
"""Where the API answers: OpenAI's base URL, DeepSeek's, and DeepSeek's for what is in beta."""


def create_app(models: ModelRegistry, settings: ServeSettings) -> FastAPI:
    """Makes the ASGI application.

    Args:
        models: What is served; the caller closes the models after the server has ended.
        settings: How.

    Returns:
        The application; its lifespan's end closes the database.

    Raises:
        StoreError: The database cannot be used, or comes from a newer version.
    """
    store = Store(settings.database or home() / "freehold.db")
    metrics = Metrics(models)
    state = AppState(settings, models, Accounts(store), History(store), metrics, Traffic(metrics))

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await run_in_threadpool(store.close)

    app = FastAPI(
        title="Freehold",
        version=freehold.__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.freehold = state
    for root in API_ROOTS:
        app.include_router(completions_router(state, beta=root == "/beta"), prefix=root)
        app.include_router(models_router(state), prefix=root)
    app.include_router(auth_router(state))
    app.include_router(app_router(state))
    app.include_router(health_router(state))
    _handle_errors(app, StaticApp(settings.web_root or Path(freehold.__file__).parent / "web" / "dist"))
    app.add_middleware(Gate, state=state)
    app.add_middleware(Observe, state=state)
    return app


def state_of(app: FastAPI) -> AppState:
    """Gives the parts of an application that `create_app` made."""
    state: AppState = app.state.freehold
    return state


def _handle_errors(app: FastAPI, static: StaticApp) -> None:
    def answer(error: Exception) -> Response:
        problem = problem_of(error)
        if problem.status >= 500 and not isinstance(error, OverloadedError):
            log_failure(error, "request")
        return JSONResponse(problem.body, problem.status, headers=dict(problem.headers))

    async def deliberate(_: Request, error: Exception) -> Response:
        return answer(error)

    async def unmatched(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code == 404:
            found = static.answer(request)
            if found is not None:
                return found
        return answer(error)

    async def unfit(_: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        first = error.errors()[0]
        param = clean(".".join(str(step) for step in first["loc"][1:]), 80)
        return answer(InvalidRequestError(misfit(param, first["input"], [first]), param=param, code="invalid_type"))

    app.add_exception_handler(FreeholdError, deliberate)
    app.add_exception_handler(HTTPException, unmatched)
    app.add_exception_handler(RequestValidationError, unfit)
