"""What the app uses: signing in, conversations, and answers that are kept."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from freehold.errors import EngineError
from tests.support.fake_model import FakeModel, Think, Wait
from tests.support.live_server import LiveServer, live_server


@pytest.fixture(scope="module")
def model() -> FakeModel:
    return FakeModel(thinking="optional", script=[Think("hm"), "Hel", "lo."])


@pytest.fixture(scope="module")
def server(model: FakeModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server([model], tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def app(server: LiveServer) -> Iterator[httpx.Client]:
    with server.signed_in() as client:
        yield client


def events(text: str) -> list[Any]:
    found = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert found[-1] == "[DONE]"
    return [json.loads(event) for event in found[:-1]]


def test_the_link_signs_in_once(server: LiveServer) -> None:
    with server.client() as client:
        assert client.get("/api/session").status_code == 401
        answer = client.get(server.sign_in_url)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        for attribute in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age="):
            assert attribute in cookie
        session = client.get("/api/session").json()
        assert session["user"]["name"] == "owner"
        assert session["model"] == "fake"
        assert client.get("/v1/models").status_code == 200
        assert client.post("/api/logout").status_code == 403
        assert client.post("/api/logout", headers={"X-CSRF-Token": session["csrf_token"]}).status_code == 204
        assert client.get("/api/session").status_code == 401
    with server.client() as other:
        answer = other.get(server.sign_in_url)
        assert answer.status_code == 401
        assert "no longer works" in answer.text
        assert "set-cookie" not in answer.headers


def test_a_conversation_is_streamed_and_kept(model: FakeModel, app: httpx.Client) -> None:
    chat = app.post("/api/chats", json={}).json()
    assert set(chat) == {"id", "title", "model", "created_at", "updated_at"}
    answer = app.post(f"/api/chats/{chat['id']}/messages", json={"content": "Who is there?"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    frames = events(answer.text)
    assert all(frame["object"] == "chat.completion.chunk" for frame in frames[:-1])
    assert "".join(f["choices"][0]["delta"].get("content") or "" for f in frames[:-2]) == "Hello."
    assert frames[-2]["usage"]["completion_tokens"] == 8
    stored = frames[-1]["freehold"]
    assert stored["title"] == "Who is there?"
    kept = app.get(f"/api/chats/{chat['id']}").json()
    assert [(m["id"], m["role"], m["content"], m["reasoning_content"]) for m in kept["messages"]] == [
        (stored["user_message_id"], "user", "Who is there?", None),
        (stored["message_id"], "assistant", "Hello.", "hm"),
    ]
    assert kept["messages"][1]["finish_reason"] == "stop"
    assert kept["messages"][1]["usage"] == frames[-2]["usage"]
    assert kept["messages"][1]["reasoning_seconds"] == stored["reasoning_seconds"] >= 0
    again = {"content": "And now?", "thinking": False, "model": "deepseek-chat"}
    app.post(f"/api/chats/{chat['id']}/messages", json=again)
    assert [m.content for m in model.asked[-1]["messages"]] == ["Who is there?", "Hello.", "And now?"]
    assert model.asked[-1]["thinking"] is False


def test_chats_are_listed_renamed_and_deleted(app: httpx.Client) -> None:
    chat = app.post("/api/chats", json={"title": "One\x1b[2J"}).json()
    assert chat["title"] == "One[2J"
    assert app.patch(f"/api/chats/{chat['id']}", json={"title": "Two"}).json()["title"] == "Two"
    page = app.get("/api/chats", params={"limit": 1}).json()
    assert [c["id"] for c in page["chats"]] == [chat["id"]]
    assert page["next"]
    for limit, told in (
        ("201", 'limit is "201"; it must be at most 200.'),
        ("many", 'limit is "many"; it must be a whole number.'),
    ):
        refused = app.get("/api/chats", params={"limit": limit})
        assert (refused.status_code, refused.json()["error"]["message"]) == (422, told)
    assert app.delete(f"/api/chats/{chat['id']}").status_code == 204
    for answer in (app.get(f"/api/chats/{chat['id']}"), app.delete(f"/api/chats/{chat['id']}")):
        assert answer.status_code == 404


def test_what_was_written_before_the_client_left_is_kept(
    server: LiveServer, model: FakeModel, app: httpx.Client
) -> None:
    chat = app.post("/api/chats", json={}).json()["id"]
    script, model.runner.script = model.runner.script, [Think("a"), "Once ", *["upon ", Wait(0.02)] * 500]
    try:
        with app.stream("POST", f"/api/chats/{chat}/messages", json={"content": "Tell"}) as answer:
            lines = answer.iter_lines()
            while "upon" not in next(lines):
                pass
            busy = app.post(f"/api/chats/{chat}/messages", json={"content": "More"})
            assert busy.status_code == 409
            assert app.get(f"/api/chats/{chat}").json()["answering"] is True
        end = time.monotonic() + 5
        while server.state.busy_chats and time.monotonic() < end:
            time.sleep(0.01)
    finally:
        model.runner.script = script
    whole = app.get(f"/api/chats/{chat}").json()
    assert whole["answering"] is False
    kept = whole["messages"]
    assert [m["role"] for m in kept] == ["user", "assistant"]
    assert kept[1]["content"].startswith("Once upon")
    assert kept[1]["reasoning_content"] == "a"
    assert kept[1]["finish_reason"] == "abort"
    assert model.runner.requests[-1].request_id in model.runner.aborted
    assert app.post(f"/api/chats/{chat}/messages", json={"content": "Go on"}).status_code == 200


def test_a_turn_that_cannot_begin_keeps_nothing_and_one_that_fails_keeps_its_part(
    model: FakeModel, app: httpx.Client
) -> None:
    chat = app.post("/api/chats", json={}).json()["id"]
    for body, status in (
        ({"content": "x" * 5000}, 400),
        ({"content": ""}, 422),
        ({"content": "x", "colour": 1}, 422),
        ({"content": "x", "model": "none"}, 404),
    ):
        assert app.post(f"/api/chats/{chat}/messages", json=body).status_code == status
    assert app.get(f"/api/chats/{chat}").json()["messages"] == []
    script, model.runner.script = model.runner.script, ["Half ", EngineError("broke")]
    try:
        failed = events(app.post(f"/api/chats/{chat}/messages", json={"content": "x"}).text)
    finally:
        model.runner.script = script
    assert failed[-1]["error"]["type"] == "server_error"
    assert [m["content"] for m in app.get(f"/api/chats/{chat}").json()["messages"]] == ["x", "Half "]


def test_the_built_app_is_served_and_never_hides_an_api_error(tmp_path: Path) -> None:
    web = tmp_path / "web"
    (web / "assets").mkdir(parents=True)
    (web / "index.html").write_text("<title>App</title>")
    (web / "assets" / "a-1.js").write_text("1")
    (tmp_path / "secret.txt").write_text("secret")
    (web / "link.txt").symlink_to(tmp_path / "secret.txt")
    page = {"Accept": "text/html"}
    with live_server([FakeModel()], tmp_path) as server, server.client() as client:
        for path in ("/", "/c/chat_1", "/settings"):
            answer = client.get(path, headers=page)
            assert (answer.status_code, answer.text) == (200, "<title>App</title>")
            assert "img-src 'self' data: blob:" in answer.headers["content-security-policy"]
            assert "script-src 'self';" in answer.headers["content-security-policy"]
            assert answer.headers["cache-control"] == "no-cache"
        script = client.get("/assets/a-1.js")
        assert script.headers["content-type"].startswith("text/javascript")
        assert "immutable" in script.headers["cache-control"]
        for path in ("/v1/none", "/api/none", "/beta/none", "/models/none", "/assets/b.js", "/link.txt"):
            answer = client.get(path, headers=page if path != "/assets/b.js" and path != "/link.txt" else {})
            assert answer.status_code == 404, path
            assert answer.json()["error"]["message"]
        for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/assets/..%2f..%2fsecret.txt", "//etc/passwd"):
            assert "secret" not in client.get(path).text


def test_without_a_built_app_a_page_says_what_to_do(server: LiveServer) -> None:
    with server.client() as client:
        answer = client.get("/", headers={"Accept": "text/html"})
    assert answer.status_code == 503
    assert "make run" in answer.text
