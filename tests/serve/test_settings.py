"""Settings, the registry of models, and who may knock on a public bind."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from freehold.errors import ConfigError, ModelNotFoundError
from freehold.serve import body as body_module
from freehold.serve.app import create_app, state_of
from freehold.serve.registry import ModelRegistry
from freehold.serve.settings import ServeSettings, is_loopback
from tests.support.fake_model import FakeModel
from tests.support.live_server import live_server


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("localhost", True), ("::1", True), ("[::1]", True), ("0.0.0.0", False),
     ("::", False), ("10.0.0.1", False), ("example.org", False), ("localhost.example.org", False)],
)  # fmt: skip
def test_what_is_loopback(host: str, local: bool) -> None:
    assert is_loopback(host) is local
    assert ServeSettings(host=host).keyless is local


@pytest.mark.parametrize(
    "wrong",
    [{"port": -1}, {"port": 65536}, {"host": ""}, {"max_body_bytes": 5}, {"keep_alive_seconds": float("nan")},
     {"session_days": 0}, {"allowed_hosts": ("a/b",)}, {"allowed_hosts": ("a:80",)}, {"drain_seconds": -1}],
)  # fmt: skip
def test_a_setting_out_of_bounds_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"port|host|must be"):
        ServeSettings(**wrong)


def test_ids_aliases_and_their_conflicts() -> None:
    one, two = FakeModel(name="one"), FakeModel(name="two", thinking="always")
    registry = ModelRegistry([one, two], {"gpt-4o": "two", "deepseek-reasoner": "two"})
    assert registry.default is one
    assert registry.resolve("two").model is registry.resolve("gpt-4o").model is two
    assert registry.resolve("gpt-4o").thinking is None
    assert (registry.resolve("deepseek-chat").model, registry.resolve("deepseek-chat").thinking) == (one, False)
    assert (registry.resolve("deepseek-reasoner").model, registry.resolve("deepseek-reasoner").thinking) == (two, True)
    assert [entry["id"] for entry in registry.listing()] == [
        "one",
        "two",
        "deepseek-chat",
        "deepseek-reasoner",
        "gpt-4o",
    ]
    for asked in ("three", "ONE", "one ", "../one", ""):
        with pytest.raises(ModelNotFoundError, match="served are: one, two"):
            registry.resolve(asked)
    for models, aliases in (
        ([], {}), ([one, one], {}), ([one], {"a": "none"}), ([one], {"one": "one"}), ([one], {"a b": "one"}),
        ([FakeModel(name="a\x1b")], {}),
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            ModelRegistry(models, aliases)


def test_ids_that_nothing_could_answer_to_are_not_listed() -> None:
    for nature, listed in (("never", ["m", "deepseek-chat"]), ("always", ["m", "deepseek-chat", "deepseek-reasoner"])):
        registry = ModelRegistry([FakeModel(name="m", thinking=nature)])
        assert [entry["id"] for entry in registry.listing()] == listed
        assert registry.describe("deepseek-reasoner")["freehold"]["alias_of"] == "m"


def test_a_public_bind_answers_to_addresses_and_to_its_own_names(tmp_path: Path) -> None:
    # Bound to loopback for the test; only what is checked follows the setting.
    from fastapi.testclient import TestClient

    settings = ServeSettings(host="0.0.0.0", database=tmp_path / "f.db", allowed_hosts=("box.example",))
    app = create_app(ModelRegistry([FakeModel()]), settings)
    _, key = state_of(app).accounts.add_key("k")
    with TestClient(app) as client:
        for host in ("192.168.1.5:8080", "[fd00::5]", "box.example", "localhost", socket.gethostname().lower()):
            answer = client.get("/v1/models", headers={"Host": host, "Authorization": f"Bearer {key}"})
            assert answer.status_code == 200, host
            assert client.get("/v1/models", headers={"Host": host}).status_code == 401
        for host in ("evil.example", "192.168.1.5.evil.example"):
            assert client.get("/healthz", headers={"Host": host}).status_code == 403


def test_a_body_that_never_arrives_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "BODY_SECONDS", 0.2)
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with live_server([FakeModel()], tmp_path) as server, socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(5)
        client.sendall(head + b"Content-Length: 9\r\n\r\n{")
        assert b" 408 " in client.recv(100)


def test_readiness_follows_the_engine(tmp_path: Path) -> None:
    model = FakeModel()
    with live_server([model], tmp_path) as server, server.client() as client:
        assert client.get("/readyz").status_code == 200
        model.runner.alive = False
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
