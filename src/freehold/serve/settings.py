"""How a server is reached, what it allows, and where it keeps its data."""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from freehold.errors import ConfigError

__all__ = ["ServeSettings", "is_loopback"]

_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,252}[A-Za-z0-9_])?\.?")


def is_loopback(host: str) -> bool:
    """Whether an address or name can only be reached from this machine."""
    name = host.strip("[]").lower().rstrip(".")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Everything that an operator can set about the server.

    On a loopback bind inference needs no key unless `require_keys` is true; history, accounts and metrics need a
    sign-in or a key everywhere. On any other bind keys are required, and the server refuses to start without one.

    Args:
        host: Address or name to listen on.
        port: TCP port, 0 takes a free one.
        database: The SQLite file; None means `freehold.db` in the data home.
        require_keys: Ask for a key on inference too; None means yes exactly where the bind is not loopback.
        allowed_hosts: Further names that a `Host` header may carry (a proxy's public name).
        allowed_origins: Further origins (`https://app.example`) whose pages may call the API.
        max_body_bytes: Largest request body.
        max_json_depth: Deepest nesting of a request body.
        keep_alive_seconds: A sign of life is sent after this long a silence while a request waits.
        start_timeout_seconds: A request that has not begun after this long is given up.
        drain_seconds: How long running answers may take after SIGTERM before they are cut.
        session_days: How long a sign-in lasts.
        signin_minutes: How long an unused sign-in link lasts.
        secure_cookies: Mark cookies `Secure`, for a server behind HTTPS.
        web_root: The built app; None means the one packaged with Freehold.
        emit_reasoning: Write the thinking as `reasoning` too, as vLLM does, beside `reasoning_content`.

    Raises:
        ConfigError: A value out of bounds, or a public bind that would need no key.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    database: Path | None = None
    require_keys: bool | None = None
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    max_body_bytes: int = 8 * 2**20
    max_json_depth: int = 64
    keep_alive_seconds: float = 10.0
    start_timeout_seconds: float = 600.0
    drain_seconds: float = 600.0
    session_days: int = 30
    signin_minutes: int = 60
    secure_cookies: bool = False
    web_root: Path | None = None
    emit_reasoning: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port is {self.port}; it must be from 0 (any free port) to 65535.")
        if not self.host:
            raise ConfigError("host is empty; give an address such as 127.0.0.1, or 0.0.0.0 for every interface.")
        if self.require_keys is False and not self.loopback:
            raise ConfigError(
                f"host {self.host} can be reached from other machines, so keys cannot be switched off there; "
                "listen on 127.0.0.1, or leave require_keys alone and create a key with `freehold keys add NAME`."
            )
        for name in self.allowed_hosts:
            if not _HOST_NAME.fullmatch(name) and not _is_address(name):
                raise ConfigError(f"allowed host {name!r} is no host name or address; give it without port and path.")
        for origin in self.allowed_origins:
            parts = urlsplit(origin)
            named = _HOST_NAME.fullmatch(parts.hostname or "") or _is_address(parts.hostname or "")
            if parts.scheme not in ("http", "https") or not named or f"{parts.scheme}://{parts.netloc}" != origin:
                raise ConfigError(
                    f"allowed origin {origin!r} is not of the form https://name[:port]; "
                    "wildcards and paths are not accepted."
                )
        for field, low in _LOWER_BOUNDS.items():
            value = getattr(self, field)
            if not math.isfinite(value) or value < low:
                raise ConfigError(f"{field} is {value}; it must be at least {low:g}.")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def keyless(self) -> bool:
        """Whether inference answers without a key."""
        return self.loopback and not self.require_keys

    @property
    def cookie_name(self) -> str:
        """The session cookie's name; browsers share cookies between the ports of a host, so the port is part of it."""
        return f"freehold_session_{self.port}"


_LOWER_BOUNDS: dict[str, float] = {
    "max_body_bytes": 1024,
    "max_json_depth": 8,
    "keep_alive_seconds": 0.01,
    "start_timeout_seconds": 0.01,
    "drain_seconds": 0,
    "session_days": 1,
    "signin_minutes": 1,
}


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
