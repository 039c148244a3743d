"""Every error of the API in OpenAI's shape, and which status each one gets.

400 a request that cannot be honoured (an unsupported field, a prompt that does not fit), 401 no or a wrong key, 403 not
allowed, 404 unknown, 405, 409, 413 too large, 415, 422 a field of the wrong type or out of bounds, 500 our fault, 503
overloaded or draining. The text of an unexpected error is never sent: it could quote a prompt or a path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.exceptions import HTTPException

from freehold.errors import (
    AuthenticationError,
    FreeholdError,
    InvalidRequestError,
    ModelNotFoundError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    StoreError,
    TemplateError,
)

__all__ = ["HttpError", "Problem", "clean", "problem_of"]

_VALIDATION_CODES = frozenset({"invalid_value", "invalid_type", "unknown_parameter", "missing_parameter"})
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "overloaded_error",
}
MAX_SHOWN = 2000


def clean(text: str, limit: int = MAX_SHOWN) -> str:
    """Gives a text without control codes and of bounded length, fit for a log, a header or a terminal."""
    kept = "".join(c if c.isprintable() or c == " " else "\ufffd" for c in text[: limit + 1])
    return kept if len(kept) <= limit else kept[:limit] + "…"


class HttpError(FreeholdError):
    """An error of HTTP itself: a wrong method, media type or size."""

    def __init__(self, status: int, message: str, *, code: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as a client sees it."""

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def type(self) -> str:
        """OpenAI's class of error."""
        return _TYPES.get(self.status, "invalid_request_error")

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body."""
        error = {"message": clean(self.message), "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}


_HTTP_MESSAGES = {
    404: "No such path here; the API is under /v1, /beta and the root, as in /v1/chat/completions.",
    405: "This path does not take that method.",
}


def problem_of(error: BaseException) -> Problem:
    """Gives the status and body for an error."""
    match error:
        case HttpError():
            return Problem(error.status, str(error), code=error.code, headers=error.headers)
        case InvalidRequestError():
            status = 422 if error.code in _VALIDATION_CODES else 400
            param = None if error.param is None else clean(error.param, 200)
            return Problem(status, str(error), param=param, code=error.code)
        case ModelNotFoundError():
            return Problem(404, str(error), param="model", code="model_not_found")
        case NotFoundError():
            return Problem(404, str(error), code="not_found")
        case AuthenticationError():
            return Problem(401, str(error), code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
        case PermissionDeniedError():
            return Problem(403, str(error), code="forbidden")
        case OverloadedError():
            return Problem(503, str(error), code="overloaded", headers={"Retry-After": "5"})
        case TemplateError():
            return Problem(400, str(error), param="messages", code="template_error")
        case StoreError():
            return Problem(503, "The server's database cannot be used just now; its log says why.", code="store_error")
        case HTTPException():
            message = _HTTP_MESSAGES.get(error.status_code, str(error.detail))
            code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
            return Problem(error.status_code, message, code=code, headers=dict(error.headers or {}))
        case _:
            return Problem(500, "The server failed at this request; its log says where.", code="internal_error")
