"""The built app's files, and a plain page where it is not built.

Which files there are is settled once at the start, so that no path of a request ever reaches the file system.
"""

from __future__ import annotations

import gzip
import html
import mimetypes
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

__all__ = ["APP_CSP", "StaticApp", "page"]

APP_CSP = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Scripts and styles from the app's own files alone: what it styles at run time it sets through the CSSOM."""

_API_ROOTS = frozenset(
    {
        "v1",
        "beta",
        "api",
        "auth",
        "models",
        "completions",
        "embeddings",
        "responses",
        "user",
        "healthz",
        "readyz",
        "metrics",
    }
)
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".webmanifest": "application/manifest+json",
}


def page(title: str, text: str, status: int) -> HTMLResponse:
    """Gives a small page that says what is wrong."""
    body = (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(title)}</title><link rel=icon href=/icon.svg><link rel=stylesheet href=/page.css>"
        f"<h1>{html.escape(title)}</h1><p>{html.escape(text)}</p></html>"
    )
    return HTMLResponse(body, status, headers={"Content-Security-Policy": APP_CSP, "Cache-Control": "no-store"})


class StaticApp:
    """The files of one folder, which need not exist.

    Args:
        root: Where `index.html` and the rest lie; links are not followed.
    """

    def __init__(self, root: Path) -> None:
        self._files = {
            path.relative_to(root).as_posix(): path
            for path in (root.rglob("*") if root.is_dir() else ())
            if path.is_file() and not path.is_symlink()
        }
        self._packed: dict[str, bytes] = {}

    @property
    def built(self) -> bool:
        """Whether there is an app to serve."""
        return "index.html" in self._files

    def answer(self, request: Request) -> Response | None:
        """Gives the file for a path, or the app's page for a path of its own; None where the API has to say 404."""
        if request.method not in ("GET", "HEAD"):
            return None
        path = request.url.path.lstrip("/")
        if path in self._files:
            return self._file(path, packed=_takes_gzip(request))
        root = path.split("/", 1)[0]
        if root in _API_ROOTS or path == "chat/completions" or path.startswith("chat/completions/"):
            return None
        if path and "text/html" not in request.headers.get("accept", ""):
            return None
        if not self.built:
            return page(
                "The app is not built",
                "Run `make run` in Freehold's folder, which builds it, and reload this page. The API works without it, "
                "under /v1.",
                503,
            )
        return self._file("index.html")

    def _file(self, path: str, *, packed: bool = False) -> Response:
        file = self._files[path]
        media = _TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        forever = path.startswith("assets/")  # their names carry a hash of what they hold
        caching = "public, max-age=31536000, immutable" if forever else "no-cache"
        headers = {"Content-Security-Policy": APP_CSP, "Cache-Control": caching}
        if forever and file.suffix in (".js", ".css"):
            headers["Vary"] = "Accept-Encoding"
            if packed:
                if path not in self._packed:
                    self._packed[path] = gzip.compress(file.read_bytes(), mtime=0)
                return Response(self._packed[path], media_type=media, headers={**headers, "Content-Encoding": "gzip"})
        return FileResponse(file, media_type=media, headers=headers)


def _takes_gzip(request: Request) -> bool:
    offers = [offer.replace(" ", "") for offer in request.headers.get("accept-encoding", "").split(",")]
    return any(re.fullmatch(r"gzip(;q=(1|1\.0+|0\.\d*[1-9]\d*))?", offer) is not None for offer in offers)
