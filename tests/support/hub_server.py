"""A local server that speaks the Hugging Face hub's protocol: model info, file tree, resolve with redirects and ranges.

    with HubServer() as hub:
        hub.add("org/model", {"config.json": b"{}", "model.safetensors": data})
        monkeypatch.setenv("HF_ENDPOINT", hub.url)

Large files (`*.safetensors`) are stored as LFS: resolve answers 302 to a storage path with `X-Linked-Etag` (the
SHA-256),
`X-Linked-Size` and `X-Repo-Commit`, as the hub does. Small ones are served at once with git's hash as their ETag.
`faults` makes it misbehave; `requests` is what it was asked.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["Faults", "HubServer", "git_sha1"]


def git_sha1(data: bytes) -> str:
    """The hash that git, and so the hub, gives a small file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@dataclass
class Faults:
    """What is wrong with the server.

    Args:
        cut_after: File to bytes: the connection is closed after that many bytes of an answer, as often as `cuts` says.
        cuts: How many answers are cut.
        corrupt: Files whose bytes are not those that the hash was taken of.
        redirects: File to the address that resolve redirects to, in place of the storage.
        ignore_range: Ranges are answered with the whole file and 200.
        status: Path prefix to (status, headers): the answer to everything below it.
    """

    cut_after: dict[str, int] = field(default_factory=dict)
    cuts: int = 1
    corrupt: set[str] = field(default_factory=set)
    redirects: dict[str, str] = field(default_factory=dict)
    ignore_range: bool = False
    status: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass
class _Repository:
    files: dict[str, bytes]
    commit: str
    private_token: str | None
    card: dict[str, Any]


class HubServer:
    """Serves repositories on 127.0.0.1 while its `with` block lasts."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.requests: list[Asked] = []
        self.repositories: dict[str, _Repository] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, name: str, files: dict[str, bytes], *, private_token: str | None = None, **card: Any) -> str:
        """Publishes files as a new commit of a repository and gives the commit."""
        content = name.encode() + b"".join(key.encode() + value for key, value in sorted(files.items()))
        commit = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        self.repositories[name] = _Repository(dict(files), commit, private_token, card)
        return commit

    def asked(self, part: str) -> list[Asked]:
        """The requests whose path holds a text."""
        return [request for request in self.requests if part in request.path]


def _is_lfs(name: str) -> bool:
    return name.endswith((".safetensors", ".bin", ".gguf"))


def _sibling(name: str, data: bytes, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": name}
    entry: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": git_sha1(data)}
    if _is_lfs(name):
        entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return entry


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            url = urlsplit(self.path)
            hub.requests.append(Asked(self.command, self.path, dict(self.headers.items())))
            for prefix, (status, headers) in hub.faults.status.items():
                if url.path.startswith(prefix):
                    self._send(status, b"", headers)
                    return
            if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", url.path):
                self._api(match[1], match[2], unquote(match[3] or "main"), parse_qs(url.query))
            elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", url.path):
                self._resolve(match[1], unquote(match[2]), unquote(match[3]))
            elif match := re.fullmatch(r"/storage/([^/]+/[^/]+)/(.+)", url.path):
                self._file(match[2], hub.repositories[match[1]].files[match[2]], {})
            else:
                self._send(404, b"")

        def _repository(self, name: str, revision: str) -> _Repository | None:
            found = hub.repositories.get(name)
            allowed = found is None or found.private_token in (
                None,
                self.headers.get("Authorization", "").removeprefix("Bearer "),
            )
            if found is None or not allowed:
                self._send(401, b"{}", {"X-Error-Code": "RepoNotFound"})
                return None
            if revision not in ("main", found.commit):
                self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
                return None
            return found

        def _api(self, name: str, kind: str | None, revision: str, query: dict[str, list[str]]) -> None:
            found = self._repository(name, revision)
            if found is None:
                return
            if kind == "tree":
                tree = [{"type": "file", "path": key, "size": len(data)} for key, data in found.files.items()]
                self._send(200, json.dumps(tree).encode(), {"Content-Type": "application/json"})
                return
            blobs = query.get("blobs", ["false"])[0].lower() in ("true", "1")
            info = {
                "_id": "0",
                "id": name,
                "modelId": name,
                "sha": found.commit,
                "private": False,
                "tags": [],
                "downloads": 0,
                "cardData": found.card,
                "siblings": [_sibling(key, data, blobs) for key, data in found.files.items()],
            }
            self._send(200, json.dumps(info).encode(), {"Content-Type": "application/json"})

        def _resolve(self, name: str, revision: str, file: str) -> None:
            found = self._repository(name, revision)
            if found is None:
                return
            if file not in found.files:
                self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
                return
            data = found.files[file]
            headers = {"X-Repo-Commit": found.commit}
            if _is_lfs(file) or file in hub.faults.redirects:
                digest = hashlib.sha256(data).hexdigest()
                headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data))}
                headers["Location"] = hub.faults.redirects.get(file, f"/storage/{name}/{file}")
                self._send(302, b"", headers)
                return
            self._file(file, data, headers | {"ETag": f'"{git_sha1(data)}"'})

        def _file(self, name: str, data: bytes, headers: dict[str, str]) -> None:
            if name in hub.faults.corrupt:
                data = bytes([data[0] ^ 1]) + data[1:]
            status, start = 200, 0
            if (match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))) and not hub.faults.ignore_range:
                status, start = 206, int(match[1])
                headers = headers | {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            body = data[start:]
            cut = hub.faults.cut_after.get(name)
            if cut is not None and hub.faults.cuts > 0:
                hub.faults.cuts -= 1
                self._send(status, body, headers, only=cut)
                return
            self._send(status, body, headers)

        def _send(
            self, status: int, body: bytes, headers: dict[str, str] | None = None, only: int | None = None
        ) -> None:
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body if only is None else body[:only])
            if only is not None:
                self.wfile.flush()
                self.close_connection = True

    return Handler
