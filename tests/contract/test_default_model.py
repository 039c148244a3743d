"""The default model answers through the openai client: the main job's question, streamed and not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from freehold.engine.language_model import LanguageModel
from tests.support.live_server import LiveServer, live_server

pytestmark = pytest.mark.slow

ASK: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def server(default_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("server")
    with (
        LanguageModel.from_folder(default_model_folder, dtype="auto") as model,
        live_server([model], folder) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


def test_the_capital_of_france_whole_and_streamed(client: openai.OpenAI, server: LiveServer) -> None:
    name = server.state.registry.default.name
    whole = client.chat.completions.create(model=name, messages=ASK, temperature=0)
    assert "Paris" in (whole.choices[0].message.content or "")
    assert whole.choices[0].finish_reason == "stop"
    streamed = ""
    for chunk in client.chat.completions.create(model="deepseek-chat", messages=ASK, temperature=0, stream=True):
        streamed += chunk.choices[0].delta.content or ""
    assert streamed == whole.choices[0].message.content


def test_the_apps_conversation_goes_on(server: LiveServer) -> None:
    with server.signed_in() as app:
        chat = app.post("/api/chats", json={}).json()["id"]
        for question in ("What is the capital of France?", "And of Italy?"):
            assert app.post(f"/api/chats/{chat}/messages", json={"content": question}).status_code == 200
        kept = app.get(f"/api/chats/{chat}").json()["messages"]
    assert [m["role"] for m in kept] == ["user", "assistant"] * 2
    assert all(len(m["content"]) > 3 for m in kept)
    assert kept[3]["usage"]["prompt_cache_hit_tokens"] > 0


def test_asked_to_think_it_says_that_it_cannot(client: openai.OpenAI, server: LiveServer) -> None:
    name = server.state.registry.default.name
    for model, extra in ((name, {"thinking": {"type": "enabled"}}), ("deepseek-reasoner", {})):
        with pytest.raises(openai.BadRequestError, match=f"The model {name} cannot think"):
            client.chat.completions.create(model=model, messages=ASK, extra_body=extra)


def test_leaving_stops_the_engine_within_a_step(client: openai.OpenAI, server: LiveServer) -> None:
    model = server.state.registry.default
    assert isinstance(model, LanguageModel)
    aborted = model.engine.stats.aborted
    long: list[Any] = [{"role": "user", "content": "Write a very long story about a river."}]
    stream = client.chat.completions.create(model=model.name, messages=long, stream=True)
    frames = iter(stream)
    for _ in range(4):
        next(frames)
    stream.close()
    steps = model.engine.stats.steps
    for _ in range(500):
        if model.engine.idle and model.engine.stats.aborted > aborted:
            break
        time.sleep(0.01)
    assert model.engine.stats.aborted == aborted + 1
    assert model.engine.stats.steps - steps <= 5
