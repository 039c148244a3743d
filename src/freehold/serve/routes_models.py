"""`GET /models`: what is served, in OpenAI's shape."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from freehold.serve.access import inference_user
from freehold.serve.state import AppState

__all__ = ["models_router"]


def models_router(state: AppState) -> APIRouter:
    """Makes the routes, to be mounted under each of the API's roots."""
    router = APIRouter()

    @router.get("/models")
    async def list_models(request: Request) -> dict[str, Any]:
        await inference_user(request, state)
        return {"object": "list", "data": state.registry.listing()}

    @router.get("/models/{model_id:path}")
    async def get_model(request: Request, model_id: str) -> dict[str, Any]:
        await inference_user(request, state)
        return state.registry.describe(model_id)

    return router
