"""One user's things do not exist for another."""

from __future__ import annotations

from pathlib import Path

from freehold.engine.language_model import LanguageModel
from tests.support.fake_model import FakeModel, Wait
from tests.support.live_server import live_server
from tests.support.tiny_models import tiny_folder

ID_ROUTES = (
    ("GET", "/api/chats/{}", None),
    ("PATCH", "/api/chats/{}", {"title": "mine now"}),
    ("DELETE", "/api/chats/{}", None),
    ("POST", "/api/chats/{}/messages", {"content": "and I add"}),
)


def test_every_route_with_an_id_says_404_to_another_user(tmp_path: Path) -> None:
    model = FakeModel()
    with live_server([model], tmp_path) as server, server.signed_in("ann") as ann, server.signed_in("bob") as bob:
        chat = ann.post("/api/chats", json={"title": "secret"}).json()["id"]
        ann.post(f"/api/chats/{chat}/messages", json={"content": "hello"})
        declared = {path for path in server.paths() if path.startswith("/api/") and "{" in path}
        assert declared == {path.replace("{}", "{chat_id}") for _, path, _ in ID_ROUTES}
        runs = len(model.runner.requests)
        for method, path, body in ID_ROUTES:
            theirs = bob.request(method, path.format(chat), json=body)
            nobodys = bob.request(method, path.format("chat_none"), json=body)
            assert theirs.status_code == nobodys.status_code == 404
            assert theirs.json() == nobodys.json()
        assert len(model.runner.requests) == runs
        assert bob.get("/api/chats").json()["chats"] == []
        kept = ann.get(f"/api/chats/{chat}").json()
        assert kept["title"] == "secret"
        assert len(kept["messages"]) == 2


def test_a_chat_that_is_being_answered_is_no_more_there_for_another_user(tmp_path: Path) -> None:
    model = FakeModel(script=["Well, ", Wait(60)])
    with live_server([model], tmp_path) as server, server.signed_in("ann") as ann, server.signed_in("bob") as bob:
        path = f"/api/chats/{ann.post('/api/chats', json={}).json()['id']}/messages"
        with ann.stream("POST", path, json={"content": "hello"}) as answer:
            pieces = answer.iter_bytes()  # held: the connection closes with it
            next(pieces)
            assert ann.post(path, json={"content": "and"}).status_code == 409
            theirs = bob.post(path, json={"content": "and I add"})
            assert theirs.status_code == 404
            assert theirs.json() == bob.post("/api/chats/chat_none/messages", json={"content": "x"}).json()


def test_the_csrf_token_of_one_session_is_no_use_in_another(tmp_path: Path) -> None:
    with (
        live_server([FakeModel()], tmp_path) as server,
        server.signed_in("ann") as ann,
        server.signed_in("bob") as bob,
        server.signed_in("ann") as again,
    ):
        for other in (bob, again):
            answer = ann.post("/api/chats", json={}, headers={"X-CSRF-Token": other.headers["X-CSRF-Token"]})
            assert answer.status_code == 403


def test_prefixes_of_one_user_are_no_hits_for_another(tmp_path: Path) -> None:
    ask = {"model": "fake", "messages": [{"role": "user", "content": "x" * 3000}]}
    with live_server([FakeModel()], tmp_path) as server:
        keys = {name: server.accounts.add_key(name, name)[1] for name in ("ann", "bob")}

        def hits(name: str | None, **fields: str) -> int:
            headers = {} if name is None else {"Authorization": f"Bearer {keys[name]}"}
            with server.client(headers=headers) as client:
                usage = client.post("/v1/chat/completions", json={**ask, **fields}).json()["usage"]
            found: int = usage["prompt_cache_hit_tokens"]
            return found

        assert hits("ann") == 0
        assert hits("ann") > 2000
        assert hits("bob") == hits(None) == hits("ann", user="child") == 0
        with server.signed_in("bob") as bob:
            assert bob.post("/v1/chat/completions", json=ask).json()["usage"]["prompt_cache_hit_tokens"] > 2000


def test_four_thousand_tokens_of_one_user_are_no_hits_for_another_in_the_real_engine(tmp_path: Path) -> None:
    folder = tiny_folder("llama", tmp_path / "tiny", max_position_embeddings=8192)
    prompt = [100 + position * 7 % 300 for position in range(4096)]
    with LanguageModel.from_folder(folder) as model, live_server([model], tmp_path) as server:
        keys = {name: server.accounts.add_key(name, name)[1] for name in ("ann", "bob")}

        def hits(name: str) -> int:
            with server.client(headers={"Authorization": f"Bearer {keys[name]}"}) as client:
                ask = {"model": "tiny", "prompt": prompt, "max_tokens": 1}
                usage = client.post("/v1/completions", json=ask).json()["usage"]
            assert usage["prompt_tokens"] == 4096
            found: int = usage["prompt_cache_hit_tokens"]
            return found

        assert [hits("ann"), hits("bob")] == [0, 0]
        assert hits("ann") > 4000
