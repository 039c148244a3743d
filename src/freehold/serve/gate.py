"""Who may knock at all, before any route: known hosts, known origins, and nobody new while the server drains.

A name that an attacker points at this machine (DNS rebinding) fails the host check; a page of another site that posts
to this machine fails the origin check, whatever its media type.
"""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freehold.errors import OverloadedError
from freehold.serve.problems import HttpError, Problem, clean, problem_of
from freehold.serve.settings import ServeSettings, is_loopback
from freehold.serve.state import AppState

__all__ = ["Gate", "send_problem"]

PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths that answer while the server drains, and are not waited for."""

_SECURITY_HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
}


async def send_problem(problem: Problem, send: Send) -> None:
    """Answers with an error, where no framework stands between."""
    body = json.dumps(problem.body).encode()
    headers = MutableHeaders(headers={"content-type": "application/json", "content-length": str(len(body))})
    headers.update(problem.headers)
    await send({"type": "http.response.start", "status": problem.status, "headers": headers.raw})
    await send({"type": "http.response.body", "body": body})


class Gate:
    """Middleware that checks host and origin, counts what is being answered, and adds security headers."""

    def __init__(self, app: ASGIApp, state: AppState) -> None:
        self._app = app
        self._traffic = state.traffic
        self._hosts = _HostList(state.settings)
        self._origins = frozenset(state.settings.allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_headers(message, origin)
            await send(message)

        try:
            self._check(headers, origin)
        except HttpError as error:
            await send_problem(problem_of(error), guarded)
            return
        if scope["method"] == "OPTIONS" and origin in self._origins and "access-control-request-method" in headers:
            await guarded({"type": "http.response.start", "status": 204, "headers": []})
            await guarded({"type": "http.response.body", "body": b""})
            return
        if scope["path"] in PROBES:
            await self._app(scope, receive, guarded)
            return
        if self._traffic.draining:
            problem = problem_of(OverloadedError("The server is finishing its last answers; try again shortly."))
            await send_problem(problem, guarded)
            return
        self._traffic.begin()
        try:
            await self._app(scope, receive, guarded)
        finally:
            self._traffic.end()

    def _check(self, headers: Headers, origin: str | None) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._hosts.allows(hosts[0]):
            raise HttpError(403, _unknown_host(hosts), code="host_not_allowed")
        if origin is not None and origin not in self._origins and not _same_origin(origin, hosts[0]):
            raise HttpError(
                403,
                f"Pages of {clean(origin, 80)!r} may not call this server; whoever runs it allows them with "
                "`freehold serve --allowed-origin ORIGIN`.",
                code="origin_not_allowed",
            )

    def _add_headers(self, message: Message, origin: str | None) -> None:
        headers = MutableHeaders(scope=message)
        for name, value in _SECURITY_HEADERS.items():
            headers.setdefault(name, value)
        headers.add_vary_header("Origin")
        if origin in self._origins:
            headers["Access-Control-Allow-Origin"] = str(origin)
            headers["Access-Control-Allow-Methods"] = "GET, POST"
            headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
            headers["Access-Control-Max-Age"] = "600"


class _HostList:
    def __init__(self, settings: ServeSettings) -> None:
        names: Iterable[str] = ("localhost", "127.0.0.1", "::1", settings.host, *settings.allowed_hosts)
        if not settings.loopback:
            names = (*names, socket.gethostname())
        self._names = frozenset(_plain(name) for name in names)
        self._loopback = settings.loopback

    def allows(self, host: str) -> bool:
        name = _host_name(host)
        if name is None:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        # An address cannot be rebound, only a name can; a loopback bind still answers to loopback addresses alone.
        return is_loopback(name) or not self._loopback


def _unknown_host(hosts: list[str]) -> str:
    if len(hosts) != 1:
        return f"The request has {len(hosts)} Host headers; it must have one."
    name = _host_name(hosts[0])
    if not name:
        return f"The Host header is {clean(hosts[0], 80)!r}; it must name a host, with or without a port."
    return (
        f"This server does not answer to the host {clean(name, 80)!r}; if that is its own name, whoever runs it allows "
        f"it with `freehold serve --allowed-host {clean(name, 80)}`."
    )


def _plain(name: str) -> str:
    return name.strip("[]").lower().rstrip(".")


def _host_name(host: str) -> str | None:
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises where it is no number
    except ValueError:
        return None
    if parts.hostname is None or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        return None
    return _plain(parts.hostname)


def _same_origin(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower() and not parts.path
