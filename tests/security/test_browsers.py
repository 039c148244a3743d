"""What pages of other sites try: rebinding a name, posting across origins, framing, reading."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from freehold.errors import ConfigError
from freehold.serve.settings import ServeSettings
from tests.support.fake_model import FakeModel
from tests.support.live_server import LiveServer, live_server

FRIEND = "https://friend.example"
CHAT = {"model": "fake", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture(scope="module")
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture(scope="module")
def server(model: FakeModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("server")
    with live_server([model], folder, allowed_origins=(FRIEND,), allowed_hosts=("box.example",)) as running:
        yield running


@pytest.fixture
def client(server: LiveServer) -> Iterator[httpx.Client]:
    with server.client() as opened:
        yield opened


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "169.254.169.254",
     "0.0.0.0", "[::2]", "10.0.0.1", "localhost@evil.example", "evil.example#localhost", "localhost:x", "",
     "2130706433"],
)  # fmt: skip
def test_an_unknown_host_is_refused_on_every_path(client: httpx.Client, host: str) -> None:
    for path in ("/", "/healthz", "/v1/models", "/auth?token=x", "/api/session", "/nothing"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == 403, (host, path)
        assert answer.json()["error"]["code"] == "host_not_allowed"


def test_a_refused_host_is_named_with_what_allows_it(client: httpx.Client) -> None:
    for host, told in (
        ("box.local:8080", "`freehold serve --allowed-host box.local`"),
        ("localhost:x", "The Host header is 'localhost:x'; it must name a host"),
    ):
        assert told in client.get("/v1/models", headers={"Host": host}).json()["error"]["message"]


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:99", "127.0.0.1:1", "[::1]:8080", "localhost.", "box.example"]
)
def test_known_hosts_answer(client: httpx.Client, host: str) -> None:
    assert client.get("/v1/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["null", "https://evil.example", "http://localhost.evil.example", "file://", "http://127.0.0.1:1"]
)
def test_a_foreign_origin_is_refused_whatever_it_sends(client: httpx.Client, model: FakeModel, origin: str) -> None:
    before = len(model.runner.requests)
    for method, path in (("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("POST", "/api/chats")):
        answer = client.request(method, path, json=CHAT if method == "POST" else None, headers={"Origin": origin})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    preflight = client.options(
        "/v1/chat/completions", headers={"Origin": origin, "Access-Control-Request-Method": "POST"}
    )
    assert preflight.status_code == 403
    assert len(model.runner.requests) == before


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
def test_what_a_page_may_post_unasked_is_no_json(client: httpx.Client, model: FakeModel, media: str | None) -> None:
    before = len(model.runner.requests)
    headers = {} if media is None else {"Content-Type": media}
    raw = b'{"model":"fake","messages":[{"role":"user","content":"Hi"}]}'
    assert client.post("/v1/chat/completions", content=raw, headers=headers).status_code == 415
    assert len(model.runner.requests) == before


def test_a_session_is_no_use_to_another_origin(server: LiveServer) -> None:
    with server.signed_in() as browser:
        for origin in ("null", "https://evil.example", FRIEND.replace("https", "http")):
            assert browser.post("/api/chats", json={}, headers={"Origin": origin}).status_code == 403
        own = {"Origin": server.url}
        assert browser.post("/api/chats", json={}, headers=own).status_code == 201


def test_an_allowed_origin_is_named_and_nothing_else_is(client: httpx.Client) -> None:
    answer = client.post("/v1/chat/completions", json=CHAT, headers={"Origin": FRIEND})
    assert answer.headers["access-control-allow-origin"] == FRIEND
    assert "access-control-allow-credentials" not in answer.headers
    assert "Origin" in answer.headers["vary"]
    preflight = client.options(
        "/v1/chat/completions", headers={"Origin": FRIEND, "Access-Control-Request-Method": "POST"}
    )
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == FRIEND
    assert "access-control-allow-origin" not in client.get("/v1/models").headers


@pytest.mark.parametrize(
    "origin", ["*", "https://*.example", "friend.example", "https://a.example/path", "https://", "null"]
)
def test_wildcards_cannot_be_set(origin: str) -> None:
    with pytest.raises(ConfigError, match="not of the form"):
        ServeSettings(allowed_origins=(origin,))


def test_every_answer_carries_the_headers_that_browsers_heed(client: httpx.Client) -> None:
    for path in ("/", "/healthz", "/v1/models", "/nothing", "/auth", "/api/session"):
        headers = client.get(path, headers={"Accept": "text/html"}).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        policy = headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "unsafe-eval" not in policy
        assert "script-src 'unsafe-inline'" not in policy
        assert "default-src 'none'" in policy or "script-src 'self';" in policy
        assert "server" not in headers


def test_text_that_is_sent_never_comes_back_as_a_page(client: httpx.Client) -> None:
    attack = "<script>alert(1)</script>"
    for answer in (
        client.get(f"/auth?token={attack}"),
        client.get(f"/v1/models/{attack}"),
        client.post("/v1/chat/completions", json={**CHAT, attack: 1}),
        client.get(f"/{attack}", headers={"Accept": "text/html"}),
    ):
        assert attack not in answer.text or answer.headers["content-type"] == "application/json"
