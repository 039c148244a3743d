"""Liveness, readiness and metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from freehold.serve.access import require_identity
from freehold.serve.metrics import METRICS_TYPE
from freehold.serve.state import AppState

__all__ = ["health_router"]


def health_router(state: AppState) -> APIRouter:
    """Makes the routes `/healthz`, `/readyz` and `/metrics`; only the last asks who wants to know."""
    router = APIRouter()

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/readyz")
    async def readyz() -> Response:
        if state.traffic.draining:
            return JSONResponse({"status": "draining"}, 503)
        if not all(model.runner.alive for model in state.registry.models):
            return JSONResponse({"status": "engine stopped"}, 503)
        return JSONResponse({"status": "ready"})

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        await require_identity(request, state)
        return Response(state.metrics.render(), media_type=METRICS_TYPE)

    return router
