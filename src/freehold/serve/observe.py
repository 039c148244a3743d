"""Sees every request: an id, one log line, the metrics, and an answer also to what nobody expected."""

from __future__ import annotations

import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freehold.serve.gate import send_problem
from freehold.serve.logs import log_event, log_failure
from freehold.serve.problems import problem_of
from freehold.serve.running import new_id
from freehold.serve.state import AppState

__all__ = ["Observe"]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Observe:
    """The outermost middleware. It logs a request's route as it is declared, never the path or query that was sent."""

    def __init__(self, app: ASGIApp, state: AppState) -> None:
        self._app = app
        self._metrics = state.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on and notes what came of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_id("req_")
        begun = time.monotonic()
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            log_failure(error, "request", request_id=request_id)
            if status == 0:
                await send_problem(problem_of(error), noting)
        finally:
            seconds = time.monotonic() - begun
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = _route(scope)
            shown = str(status or 499)  # 499: the client left before an answer, as nginx writes it
            self._metrics.requests.labels(method, route, shown).inc()
            self._metrics.seconds.labels(route).observe(seconds)
            log_event(
                "request",
                request_id=request_id,
                method=method,
                route=route,
                status=int(shown),
                seconds=round(seconds, 4),
            )


def _route(scope: Scope) -> str:
    declared = getattr(scope.get("route"), "path", None)
    if declared is None:
        return "unmatched"
    root = next((root for root in ("/v1", "/beta") if scope["path"].startswith(f"{root}/")), "")
    return str(declared) if declared.startswith(f"{root}/") and root else f"{root}{declared}"
