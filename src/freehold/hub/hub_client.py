"""The guarded way to the Hugging Face hub: every address, first or redirected, is checked before it is asked.

Only the configured endpoint (`HF_ENDPOINT`, by default the hub itself) and the hub's own storage hosts are ever
reached, by name and over HTTPS; the user's token goes to the endpoint alone. Nothing is sent but the request: no
telemetry, no request ids.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import httpx2
from huggingface_hub import get_token, hf_hub_url
from huggingface_hub.constants import is_offline_mode
from huggingface_hub.hf_api import ModelInfo

from freehold import __version__
from freehold.errors import PullError

__all__ = ["HubClient", "check_address", "hub_endpoint"]

DEFAULT_ENDPOINT = "https://huggingface.co"
STORAGE_DOMAINS = ("huggingface.co", "hf.co")
"""The hub redirects large files to hosts under these domains."""
MAX_REDIRECTS = 5
MAX_ANSWER_BYTES = 64 * 2**20
_TIMEOUT = httpx2.Timeout(30.0, connect=15.0)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def hub_endpoint() -> httpx2.URL:
    """Gives the hub's address: `HF_ENDPOINT`, else the hub itself.

    Raises:
        PullError: `HF_ENDPOINT` is no plain `https://host[:port]` address (`http` is allowed on this machine).
    """
    text = os.environ.get("HF_ENDPOINT", "").rstrip("/") or DEFAULT_ENDPOINT
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise PullError(f"HF_ENDPOINT is {text!r}: {error}.") from error
    secure = url.scheme == "https" or (url.scheme == "http" and url.host in _LOOPBACK)
    if not secure or not url.host or url.userinfo or url.query or url.fragment:
        raise PullError(f"HF_ENDPOINT is {text!r}; it must be https://HOST, or http://127.0.0.1:PORT on this machine.")
    return url


def check_address(url: httpx2.URL, endpoint: httpx2.URL) -> None:
    """Refuses any address but the endpoint's own origin and, over HTTPS, the hub's storage hosts.

    Hosts are compared by name, so that an address in numbers (`169.254.169.254`, `2130706433`, `[::ffff:127.0.0.1]`) is
    refused in every spelling.

    Raises:
        PullError: The address is not one of these; the message names it.
    """
    if not url.userinfo:
        if _origin(url) == _origin(endpoint):
            return
        known = any(url.host == domain or url.host.endswith(f".{domain}") for domain in STORAGE_DOMAINS)
        if known and url.scheme == "https" and url.port in (None, 443) and endpoint.host not in _LOOPBACK:
            return
    raise PullError(
        f"The hub at {endpoint.host} sent us to {url.scheme}://{url.host}, which is neither it nor its storage: "
        "refused. If you use a mirror, set HF_ENDPOINT to it."
    )


class HubClient:
    """One session with the hub; use it in a `with` statement."""

    def __init__(self) -> None:
        if is_offline_mode():
            raise PullError("HF_HUB_OFFLINE is set, so that the hub is not asked; unset it to pull a model.")
        self.endpoint = hub_endpoint()
        self._token = get_token()
        self._http = httpx2.Client(
            follow_redirects=False,
            timeout=_TIMEOUT,
            headers={"User-Agent": f"freehold/{__version__}", "Accept-Encoding": "identity"},
        )

    def __enter__(self) -> HubClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def model_info(self, repository: str, revision: str) -> ModelInfo:
        """Asks for a repository's commit and files, with their sizes and hashes.

        Raises:
            PullError: The repository or revision is not there or not open to this user, or the hub cannot be reached.
        """
        url = f"{str(self.endpoint).rstrip('/')}/api/models/{repository}/revision/{revision.replace('/', '%2F')}"
        try:
            with self._open(httpx2.URL(url, params={"blobs": "true"}), {}) as response:
                self._raise_for_status(response, f"hf:{repository}@{revision}")
                return _model_info(json.loads(_body(response)))
        except httpx2.HTTPError as error:
            raise PullError(
                f"The hub at {self.endpoint.host} cannot be reached ({error or type(error).__name__}). Check the "
                "network (or HF_ENDPOINT); a model that is already here needs none."
            ) from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise PullError(
                f"{self.endpoint.host} gave an answer about {repository} that is not the hub's: {error!r}."
            ) from error

    @contextmanager
    def file(self, repository: str, commit: str, name: str, start: int) -> Iterator[httpx2.Response]:
        """Opens a file of a repository for reading, from a byte on.

        Yields:
            A streaming answer with status 206 (from `start` on) or 200 (the whole file).

        Raises:
            PullError: The hub refuses it, or sends us where we must not go.
            httpx2.HTTPError: The network failed; trying again may help.
        """
        url = httpx2.URL(hf_hub_url(repository, name, revision=commit, endpoint=str(self.endpoint).rstrip("/")))
        with self._open(url, {"Range": f"bytes={start}-"} if start else {}) as response:
            if response.status_code >= 500:
                raise httpx2.RemoteProtocolError(f"the server answered {response.status_code}")
            if response.status_code >= 400:
                self._raise_for_status(response, f"{name} of {repository}")
            yield response

    @contextmanager
    def _open(self, url: httpx2.URL, headers: dict[str, str]) -> Iterator[httpx2.Response]:
        for _ in range(MAX_REDIRECTS + 1):
            check_address(url, self.endpoint)
            own = (
                {"Authorization": f"Bearer {self._token}"}
                if self._token and _origin(url) == _origin(self.endpoint)
                else {}
            )
            with self._http.stream("GET", url, headers=headers | own) as response:
                if not response.has_redirect_location:
                    yield response
                    return
                url = self._redirected(url, response.headers["Location"])
        raise PullError(f"The hub redirected more than {MAX_REDIRECTS} times, last to {url.host}; refused.")

    def _redirected(self, url: httpx2.URL, location: str) -> httpx2.URL:
        try:
            return url.join(location)
        except httpx2.InvalidURL as error:
            raise PullError(
                f"The hub at {self.endpoint.host} sent us to {location[:80]!r} ({error}); refused."
            ) from error

    def _raise_for_status(self, response: httpx2.Response, what: str) -> None:
        if response.is_error:
            raise PullError(f"{self.endpoint.host} answered {response.status_code} for {what}: {_remedy(response)}")


def _body(response: httpx2.Response) -> bytes:
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise ValueError(f"it is longer than {MAX_ANSWER_BYTES} bytes")
    return bytes(body)


def _model_info(content: Any) -> ModelInfo:
    make: Callable[..., ModelInfo] = ModelInfo
    return make(**content)


def _remedy(response: httpx2.Response) -> str:
    if response.headers.get("X-Error-Code") == "GatedRepo":
        return "it is gated. Accept its terms on the hub's page, then log in with `hf auth login`."
    if response.headers.get("X-Error-Code") == "RevisionNotFound":
        return "there is no such revision; check the part after '@'."
    if response.status_code in (401, 403, 404):
        return (
            "there is none of that name, or it is private. Check the spelling; for one that you may see, "
            "log in with `hf auth login`."
        )
    if response.status_code == 429:
        return "too many requests. Wait some minutes and run the pull again; it goes on where it stopped."
    return "try again later."


def _origin(url: httpx2.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or {"https": 443, "http": 80}.get(url.scheme, 0)
