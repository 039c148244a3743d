"""Reads a JSON request body within limits, and refuses everything that JSON parsers disagree on."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any, NoReturn

from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect, Request

from freehold.errors import InvalidRequestError
from freehold.serve.problems import HttpError, clean

__all__ = ["parse_object", "read_body", "read_object"]

BODY_SECONDS = 60
_INLINE_BYTES = 64 * 1024
_MAX_DIGITS = 40
_MAX_NAMES = 4096
"""Most names in one object; the largest that is of use, `logit_bias`, has 1024."""
_BROKEN = "invalid_json"


async def read_object(
    request: Request, *, max_bytes: int, max_depth: int, parsers: CapacityLimiter | None = None
) -> dict[str, Any]:
    """Reads a request's JSON object; notes its size as `request.state.body_bytes`.

    Args:
        request: A request whose body has not been read.
        max_bytes: Largest body.
        max_depth: Deepest nesting of arrays and objects.
        parsers: How many large bodies are parsed at the same time: one takes thirty times its size of memory at worst.

    Raises:
        HttpError: 413 a body over the limit, 415 another media type (browsers send those across origins unasked).
        InvalidRequestError: No JSON object, or one that is ambiguous: NaN, infinite or huge numbers, repeated names,
            invalid UTF-8, half surrogates, nesting too deep, an object of too many names.
    """
    media = request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    if media != "application/json":
        raise HttpError(415, "The body's Content-Type must be application/json.", code="unsupported_media_type")
    raw = await read_body(request, max_bytes)
    request.state.body_bytes = len(raw)
    if len(raw) > _INLINE_BYTES:
        return await to_thread.run_sync(parse_object, raw, max_depth, limiter=parsers)
    return parse_object(raw, max_depth)


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Reads at most `max_bytes` of body.

    Raises:
        HttpError: The body is larger, takes longer than a minute, or the client hung up.
    """
    too_large = HttpError(
        413,
        f"The body is over {max_bytes} bytes, the most this server reads.",
        code="request_too_large",
        headers={"Connection": "close"},
    )
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and len(announced) < 20 and int(announced) > max_bytes:
        raise too_large
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > max_bytes:
                    raise too_large
    except TimeoutError:
        raise HttpError(
            408,
            f"The body did not arrive within {BODY_SECONDS} seconds.",
            code="request_timeout",
            headers={"Connection": "close"},
        ) from None
    except ClientDisconnect:
        raise HttpError(400, "The body ended early.", code=_BROKEN) from None
    return bytes(raw)


def parse_object(raw: bytes, max_depth: int) -> dict[str, Any]:
    """Parses one JSON object; see `read_object` for what is refused.

    Raises:
        InvalidRequestError: The bytes are no such object.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse(f"The body is not valid UTF-8 at byte {error.start}.")
    try:
        value = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            parse_int=_bounded_int,
            object_pairs_hook=_unique_names,
        )
    except json.JSONDecodeError as error:
        _refuse(f"The body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}.")
    except RecursionError:
        _refuse(f"The body is nested more than {max_depth} levels deep.")
    if not isinstance(value, dict):
        _refuse("The body must be a JSON object.")
    _check_tree(value, max_depth)
    return value


def _refuse(message: str) -> NoReturn:
    raise InvalidRequestError(message, code=_BROKEN) from None


def _refuse_constant(name: str) -> NoReturn:
    _refuse(f"{name} is not a JSON number.")


def _finite_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        _refuse(f"The number {clean(digits, 40)} is too large.")
    return value


def _bounded_int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS or abs(value := int(digits)) >= 2**64:
        _refuse(f"The number {clean(digits, 40)} does not fit 64 bits.")
    return value


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > _MAX_NAMES:
        _refuse(f"An object has {len(pairs)} names; at most {_MAX_NAMES} are read.")
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                _refuse(f"The name {clean(name, 80)!r} is given twice in one object.")
            seen.add(name)
    return result


def _check_tree(root: Any, max_depth: int) -> None:
    # Level by level, so that nothing but the level itself is held: a body may have millions of values.
    level: list[Any] = [root]
    depth = 0
    while level:
        depth += 1
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                for name in value:
                    _check_text(name)
            for child in value.values() if isinstance(value, dict) else value:
                if isinstance(child, str):
                    _check_text(child)
                elif isinstance(child, (dict, list)):
                    below.append(child)
        if below and depth == max_depth:
            _refuse(f"The body is nested more than {max_depth} levels deep.")
        level = below


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        _refuse("A string holds half of a surrogate pair (such as \\ud800), which is no character.")
