"""What clients get: streamed and whole, while waiting, when something fails, and when they leave."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from freehold.errors import EngineError, OverloadedError
from tests.support.fake_model import FakeModel, Piece, Think, Wait
from tests.support.live_server import LiveServer, live_server

ASK: dict[str, Any] = {"model": "fake", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture(scope="module")
def model() -> FakeModel:
    return FakeModel(thinking="optional", tools=True)


@pytest.fixture(scope="module")
def server(model: FakeModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("server")
    with live_server([model], folder, keep_alive_seconds=0.1, start_timeout_seconds=0.6) as running:
        yield running


@pytest.fixture(scope="module")
def patient_server(model: FakeModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Sends no sign of life while these tests wait, however busy the machine is: the status is still open then."""
    with live_server([model], tmp_path_factory.mktemp("patient")) as running:
        yield running


@pytest.fixture
def play(model: FakeModel) -> Callable[..., None]:
    def set_script(*pieces: Piece) -> None:
        model.runner.script = pieces

    return set_script


def frames(text: str) -> list[Any]:
    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    return [json.loads(event) for event in events[:-1]]


def wait_for(condition: Callable[[], bool], seconds: float = 5) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


def test_a_stream_adds_up_to_the_whole_answer(server: LiveServer, play: Callable[..., None]) -> None:
    play(Think("Let me "), Think("see."), "Hel", "lo.")
    with server.client() as client:
        whole = client.post("/v1/chat/completions", json={**ASK, "n": 2, "user": "w"}).json()
        stream = client.post(
            "/v1/chat/completions",
            json={**ASK, "n": 2, "user": "s", "stream": True, "stream_options": {"include_usage": True}},
        )
    assert stream.headers["content-type"].startswith("text/event-stream")
    chunks = frames(stream.text)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == whole["usage"]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert len({chunk["id"] for chunk in chunks}) == 1
    for choice in whole["choices"]:
        own = [c["choices"][0] for c in chunks[:-1] if c["choices"][0]["index"] == choice["index"]]
        assert own[0]["delta"] == {"role": "assistant", "content": ""}
        for field in ("content", "reasoning_content"):
            assert "".join(c["delta"].get(field) or "" for c in own) == choice["message"][field]
        assert [c["finish_reason"] for c in own if c["finish_reason"]] == [choice["finish_reason"]] == ["stop"]
    assert whole["choices"][0]["message"]["reasoning_content"] == "Let me see."
    assert whole["model"] == "fake"


def test_without_include_usage_a_stream_has_no_usage(server: LiveServer, play: Callable[..., None]) -> None:
    play("Hello")
    with server.client() as client:
        chunks = frames(client.post("/v1/chat/completions", json={**ASK, "stream": True}).text)
    assert all("usage" not in chunk for chunk in chunks)


def test_usage_counts_hits_and_thinking(server: LiveServer, play: Callable[..., None]) -> None:
    play(Think("12345"), "678")
    with server.client() as client:
        first, second = (client.post("/chat/completions", json={**ASK, "user": "u"}).json()["usage"] for _ in range(2))
    assert first["completion_tokens"] == 8
    assert first["completion_tokens_details"] == {"reasoning_tokens": 5}
    assert first["prompt_cache_hit_tokens"] == 0
    assert second["prompt_cache_hit_tokens"] == second["prompt_tokens_details"]["cached_tokens"] > 0
    for usage in (first, second):
        assert usage["prompt_cache_hit_tokens"] + usage["prompt_cache_miss_tokens"] == usage["prompt_tokens"]
        assert usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"]


def test_tool_calls_whole_and_streamed(server: LiveServer, play: Callable[..., None]) -> None:
    call = '<tool_call>\n{"name": "look", "arguments": {"at": "%s"}}\n</tool_call>'
    play("I look. ", (call % "sky")[:20], (call % "sky")[20:], "\n" + call % "sea")
    ask = {**ASK, "thinking": {"type": "disabled"}, "tools": [{"type": "function", "function": {"name": "look"}}]}
    with server.client() as client:
        choice = client.post("/v1/chat/completions", json=ask).json()["choices"][0]
        chunks = frames(client.post("/v1/chat/completions", json={**ask, "stream": True}).text)
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"].strip() == "I look."
    assert [json.loads(c["function"]["arguments"]) for c in choice["message"]["tool_calls"]] == [
        {"at": "sky"}, {"at": "sea"},
    ]  # fmt: skip
    deltas = [call for c in chunks for call in c["choices"][0]["delta"].get("tool_calls", [])]
    assert [delta["index"] for delta in deltas] == [0, 1]
    assert all(delta["id"] and delta["type"] == "function" for delta in deltas)
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_logprobs_of_thinking_and_answer_are_told_apart(server: LiveServer, play: Callable[..., None]) -> None:
    play(Think("ab"), "cd")
    ask = {**ASK, "logprobs": True, "top_logprobs": 2}
    with server.client() as client:
        found = client.post("/v1/chat/completions", json=ask).json()["choices"][0]["logprobs"]
        chunks = frames(client.post("/v1/chat/completions", json={**ask, "stream": True}).text)
    assert [entry["token"] for entry in found["content"]] == ["c", "d"]
    assert [entry["token"] for entry in found["reasoning_content"]] == ["a", "b"]
    assert all(len(entry["top_logprobs"]) == 2 for entry in found["content"])
    streamed = [c["choices"][0]["logprobs"] for c in chunks if c["choices"][0]["logprobs"]]
    for field in ("content", "reasoning_content"):
        assert [entry for part in streamed for entry in part.get(field, [])] == found[field]


def test_plain_completions(server: LiveServer, play: Callable[..., None]) -> None:
    play("ab", "c")
    ask = {"model": "fake", "prompt": ["One", "Two"], "n": 2, "echo": True}
    with server.client() as client:
        whole = client.post("/v1/completions", json=ask).json()
        chunks = frames(client.post("/completions", json={**ask, "stream": True}).text)
        scored = client.post("/v1/completions", json={"model": "fake", "prompt": [72, 105], "logprobs": 1}).json()
        cut = client.post("/v1/completions", json={"model": "fake", "prompt": "x", "max_tokens": 2}).json()
    assert [c["text"] for c in whole["choices"]] == ["Oneabc", "Oneabc", "Twoabc", "Twoabc"]
    for index, choice in enumerate(whole["choices"]):
        own = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == index]
        assert "".join(c["text"] for c in own) == choice["text"]
        assert own[-1]["finish_reason"] == "stop"
    assert whole["usage"]["prompt_tokens"] == 6
    assert whole["usage"]["completion_tokens"] == 12
    logprobs = scored["choices"][0]["logprobs"]
    assert logprobs["tokens"] == ["a", "b", "c"]
    assert logprobs["text_offset"] == [0, 1, 2]
    assert cut["choices"][0] == {"index": 0, "text": "ab", "logprobs": None, "finish_reason": "length"}


def test_parts_of_a_character_are_named_by_their_bytes_in_completions(
    server: LiveServer, play: Callable[..., None]
) -> None:
    play("aé", "b")
    with server.client() as client:
        ask = {"model": "fake", "prompt": [72], "logprobs": 2}
        found = client.post("/v1/completions", json=ask).json()["choices"][0]["logprobs"]
        streamed = client.post("/v1/completions", json={**ask, "stream": True}).text
    assert found["tokens"] == ["a", r"bytes:\xc3", r"bytes:\xa9", "b"]
    assert found["text_offset"] == [0, 1, 1, 2]
    assert list(found["top_logprobs"][1]) == [r"bytes:\xc3", r"bytes:\xc4"]
    frames = [json.loads(line.removeprefix("data: ")) for line in streamed.split("\n\n")[:-2]]
    parts = [frame["choices"][0]["logprobs"] for frame in frames if frame["choices"][0]["logprobs"]]
    assert [offset for part in parts for offset in part["text_offset"]] == [0, 1, 1, 2]


def test_signs_of_life_while_waiting(server: LiveServer, play: Callable[..., None]) -> None:
    play(Wait(0.25), "Hello")
    with server.client() as client:
        stream = client.post("/v1/chat/completions", json={**ASK, "stream": True}).text
        whole = client.post("/v1/chat/completions", json=ASK)
    assert stream.startswith(": keep-alive\n\n")
    assert frames(stream)
    assert whole.text.startswith("\n")
    assert whole.json()["choices"][0]["message"]["content"] == "Hello"


def test_a_request_that_never_starts_is_given_up(
    server: LiveServer, model: FakeModel, play: Callable[..., None]
) -> None:
    play(Wait(60))
    with server.client() as client:
        stream = frames(client.post("/v1/chat/completions", json={**ASK, "stream": True}).text)
        whole = client.post("/v1/chat/completions", json=ASK).json()
    assert stream[-1]["error"]["type"] == whole["error"]["type"] == "overloaded_error"
    assert [request.request_id for request in model.runner.requests[-2:]] == model.runner.aborted[-2:]


@pytest.mark.parametrize(
    ("error", "status", "shown"),
    [
        (OverloadedError("The queue is full."), 503, "The queue is full."),
        (EngineError("secret detail"), 500, "The server failed"),
        (ValueError("secret detail"), 500, "The server failed"),
    ],
)
def test_an_early_error_has_its_status_and_a_late_one_its_frame(
    patient_server: LiveServer, play: Callable[..., None], error: Exception, status: int, shown: str
) -> None:
    for stream in (False, True):
        play(error)
        with patient_server.client() as client:
            early = client.post("/v1/chat/completions", json={**ASK, "stream": stream})
        assert early.status_code == status
        assert shown in early.json()["error"]["message"]
        assert "secret" not in early.text
    play("Hel", error)
    with patient_server.client() as client:
        late = client.post("/v1/chat/completions", json={**ASK, "stream": True})
    assert late.status_code == 200
    assert shown in frames(late.text)[-1]["error"]["message"]
    assert "secret" not in late.text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_a_client_that_hangs_up_stops_its_generation(
    server: LiveServer, model: FakeModel, play: Callable[..., None], path: str, stream: bool
) -> None:
    play(*["x", Wait(0.02)] * 1000)
    before = len(model.runner.requests)
    body = (
        {**ASK, "stream": stream}
        if "chat" in path
        else {"model": "fake", "prompt": "x", "max_tokens": 999, "stream": stream}
    )
    raw = json.dumps(body).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
        assert wait_for(lambda: len(model.runner.requests) == before + 1)
        time.sleep(0.1)
        assert model.runner.requests[-1].request_id not in model.runner.aborted
    left = time.monotonic()
    assert wait_for(lambda: model.runner.requests[-1].request_id in model.runner.aborted)
    assert time.monotonic() - left < 0.5
    assert wait_for(lambda: server.state.traffic.running == 0)


def test_reasoning_is_written_under_both_names_when_asked(tmp_path: Path) -> None:
    model = FakeModel(thinking="always", script=[Think("hm"), "Yes"])
    with live_server([model], tmp_path, emit_reasoning=True) as server, server.client() as client:
        message = client.post("/v1/chat/completions", json=ASK).json()["choices"][0]["message"]
        chunks = frames(client.post("/v1/chat/completions", json={**ASK, "stream": True}).text)
    assert message["reasoning"] == message["reasoning_content"] == "hm"
    assert [c["choices"][0]["delta"].get("reasoning") for c in chunks].count("hm") == 1


def test_errors_have_one_shape_on_every_path(server: LiveServer) -> None:
    with server.client() as client:
        answers: list[tuple[httpx.Response, int]] = [
            (client.get("/v1/nothing"), 404),
            (client.post("/nothing"), 404),
            (client.get("/assets/x.js"), 404),
            (client.get("/v1/chat/completions"), 405),
            (client.delete("/v1/models/fake"), 405),
            (client.get("/v1/models/none"), 404),
            (client.post("/v1/chat/completions", json={**ASK, "model": "none"}), 404),
            (client.post("/v1/chat/completions", content=b"{", headers={"Content-Type": "application/json"}), 400),
            (client.post("/v1/chat/completions", json={**ASK, "temperature": 3}), 422),
            (client.post("/v1/chat/completions", json={**ASK, "colour": 3}), 422),
            (client.post("/v1/chat/completions", json={"model": "fake"}), 422),
            (client.post("/v1/chat/completions", json={**ASK, "audio": {}}), 400),
            (client.post("/v1/chat/completions", json={**ASK, "max_tokens": 10_000}), 400),
            (client.post("/v1/chat/completions", data={"a": "b"}), 415),
            (client.get("/api/chats"), 401),
            (client.get("/api/chats?limit=x"), 422),
            (client.request("BREW", "/v1/models"), 405),
        ]
        assert client.get("/v1/chat/completions").headers["allow"] == "POST"
    for answer, status in answers:
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/json"
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        assert error["type"]


def test_a_prompt_that_does_not_fit_is_refused_with_the_counts(server: LiveServer) -> None:
    long = {**ASK, "messages": [{"role": "user", "content": "x" * 5000}]}
    with server.client() as client:
        for ask, param in ((long, "messages"), ({**ASK, "max_tokens": 4096}, "max_tokens")):
            for stream in (False, True):
                answer = client.post("/v1/chat/completions", json={**ask, "stream": stream})
                error = answer.json()["error"]
                assert answer.status_code == 400
                assert (error["code"], error["param"]) == ("context_length_exceeded", param)
                assert "4096 tokens" in error["message"]


def test_a_body_over_the_limit_is_refused(server: LiveServer) -> None:
    with server.client() as client:
        answer = client.post("/v1/chat/completions", json={**ASK, "user": "x" * (9 * 2**20)})
        assert answer.status_code == 413

        def endless() -> Iterator[bytes]:
            for _ in range(20):
                yield b" " * 2**20

        headers = {"Content-Type": "application/json"}
        try:
            answer = client.post("/v1/chat/completions", content=endless(), headers=headers)
        except httpx.TransportError:
            return  # the server closed the connection while the body was still being sent
        assert answer.status_code == 413
