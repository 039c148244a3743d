"""Every route, asked by nobody in particular: which ones answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from freehold.errors import ConfigError
from freehold.serve.app import create_app
from freehold.serve.registry import ModelRegistry
from freehold.serve.server import run_server
from freehold.serve.settings import ServeSettings
from tests.support.fake_model import FakeModel
from tests.support.live_server import LiveServer, live_server

OPEN = {("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/auth")}
INFERENCE = {
    (method, root + path)
    for root in ("/v1", "", "/beta")
    for method, path in (
        ("POST", "/chat/completions"),
        ("POST", "/completions"),
        ("GET", "/models"),
        ("GET", "/models/{model_id}"),
    )
}
BODIES = {
    "/chat/completions": {"model": "fake", "messages": [{"role": "user", "content": "Hi"}]},
    "/completions": {"model": "fake", "prompt": "Hi"},
}


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    """Every route that is declared, as FastAPI itself lists them."""
    settings = ServeSettings(database=tmp_path_factory.mktemp("routes") / "f.db")
    paths = create_app(ModelRegistry([FakeModel()]), settings).openapi()["paths"]
    return {(method.upper(), path) for path, methods in paths.items() for method in methods}


@pytest.fixture(scope="module")
def keyless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server([FakeModel()], tmp_path_factory.mktemp("keyless")) as server:
        yield server


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server([FakeModel()], tmp_path_factory.mktemp("keyed"), require_keys=True) as server:
        yield server


def ask(client: httpx.Client, method: str, path: str) -> httpx.Response:
    body = next((body for end, body in BODIES.items() if path.endswith(end)), {})
    url = path.replace("{model_id}", "fake").replace("{chat_id}", "chat_1")
    return client.request(method, url, json=body if method != "GET" else None)


def answering(client: httpx.Client, routes: set[tuple[str, str]]) -> set[tuple[str, str]]:
    found = set()
    for method, path in routes:
        answer = ask(client, method, path)
        if (method, path) == ("GET", "/auth"):
            assert answer.status_code == 401  # the login page answers, and lets nobody in without a link
            assert "sign-in link" in answer.text
            found.add((method, path))
        elif answer.status_code < 400:
            found.add((method, path))
        else:
            assert answer.status_code == 401, (method, path, answer.text)
            assert answer.json()["error"]["type"] == "authentication_error"
    return found


def test_on_keyless_loopback_only_health_login_and_inference_answer(
    keyless: LiveServer, routes: set[tuple[str, str]]
) -> None:
    assert len(routes) > 20
    with keyless.client() as client:
        assert answering(client, routes) == OPEN | INFERENCE


def test_with_keys_required_only_health_and_login_answer(keyed: LiveServer, routes: set[tuple[str, str]]) -> None:
    with keyed.client() as client:
        assert answering(client, routes) == OPEN
        client.headers["Authorization"] = "Bearer sk-something"
        assert answering(client, routes) == OPEN


def test_a_key_opens_inference_and_metrics_and_never_a_history(keyed: LiveServer, routes: set[tuple[str, str]]) -> None:
    info, key = keyed.accounts.add_key("laptop")
    with keyed.client(headers={"Authorization": f"Bearer {key}"}) as client:
        assert answering(client, routes) == OPEN | INFERENCE | {("GET", "/metrics")}
        keyed.accounts.revoke_key(info.id)
        assert answering(client, routes) == OPEN


def test_on_keyless_loopback_a_wrong_key_of_ours_is_refused_and_a_placeholder_is_nobody(keyless: LiveServer) -> None:
    with keyless.client() as client:
        assert client.get("/v1/models", headers={"Authorization": "Bearer fh-wrong"}).status_code == 401
        assert client.get("/v1/models", headers={"Authorization": "Bearer not-needed"}).status_code == 200
        assert client.get("/metrics", headers={"Authorization": "Bearer not-needed"}).status_code == 401


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
def test_behind_a_proxy_nobody_is_local(keyless: LiveServer, header: str) -> None:
    with keyless.client() as client:
        assert client.get("/v1/models", headers={header: "127.0.0.1"}).status_code == 401


def test_a_session_reads_with_its_cookie_and_changes_with_its_csrf_token(keyed: LiveServer) -> None:
    chat = BODIES["/chat/completions"]
    with keyed.signed_in() as client:
        assert client.get("/v1/models").status_code == 200
        assert client.get("/metrics").status_code == 200
        assert client.post("/v1/chat/completions", json=chat).status_code == 200
        token = client.headers.pop("X-CSRF-Token")
        assert client.post("/v1/chat/completions", json=chat).status_code == 401
        for wrong in ("", token[:-1], token.upper(), "é"):
            answer = client.post("/api/chats", json={}, headers={"X-CSRF-Token": wrong.encode()})
            assert answer.status_code == 403, wrong
        client.cookies.set(keyed.state.settings.cookie_name, "wrong")
        assert client.get("/api/session").status_code == 401


def test_a_public_bind_without_a_key_does_not_start(tmp_path: Path) -> None:
    for settings in (
        ServeSettings(host="0.0.0.0", port=0, database=tmp_path / "f.db"),
        ServeSettings(port=0, require_keys=True, database=tmp_path / "f.db"),
    ):
        with pytest.raises(ConfigError, match="freehold keys add"):
            run_server(ModelRegistry([FakeModel()]), settings)
    with pytest.raises(ConfigError, match=r"cannot be switched off.*127\.0\.0\.1"):
        ServeSettings(host="0.0.0.0", require_keys=False)


def test_a_port_that_is_taken_is_said_so(keyless: LiveServer, tmp_path: Path) -> None:
    settings = ServeSettings(port=keyless.port, database=tmp_path / "f.db")
    with pytest.raises(ConfigError, match=rf"port {keyless.port}.*in use.*--port"):
        run_server(ModelRegistry([FakeModel()]), settings)
