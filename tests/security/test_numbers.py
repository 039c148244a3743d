"""Numbers and shapes that break servers are answered with 4xx, quickly, and nothing runs."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Iterator

import pytest

from freehold.errors import InvalidRequestError
from freehold.serve.schema import parse_completion
from tests.support.fake_model import FakeModel
from tests.support.live_server import LiveServer, live_server

NUMBERS = (
    "-1",
    "1e309",
    "-1e309",
    "NaN",
    "Infinity",
    "9223372036854775808",
    "-9223372036854775809",
    "1e400",
    "9" * 5000,
)
FIELDS = ("n", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "min_p", "top_logprobs",
          "repetition_penalty")  # fmt: skip


@pytest.fixture(scope="module")
def model() -> FakeModel:
    return FakeModel(thinking="optional")


@pytest.fixture(scope="module")
def server(model: FakeModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server([model], tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def hostile() -> list[str]:
    """Bodies, as text."""
    chat = '{"model":"fake","messages":[{"role":"user","content":"x"}],%s}'
    bodies = [chat % f'"{field}":{number}' for field in FIELDS for number in NUMBERS]
    bodies += [chat % f'"thinking":{{"type":"enabled","budget_tokens":{number}}}' for number in NUMBERS]
    bodies += [chat % f'"logit_bias":{{"1":{number}}}' for number in ("1e309", "NaN", "101", "-101", "9" * 5000)]
    bodies += [chat % f'"logit_bias":{{"{key}":1}}' for key in ("-1", "256", "1e3", "9" * 40, "", "²", " 1", "01")]
    bodies += [
        chat % f'"seed":{number}' for number in ("1e309", "NaN", "1.5", "18446744073709551616", "-9223372036854775809")
    ]
    bodies += [
        chat % f'"{field}":{number}' for field in ("presence_penalty", "frequency_penalty") for number in ("2.1", "NaN")
    ]
    bodies += [chat % '"n":17', chat % '"n":0', chat % '"n":1000000000', chat % '"top_p":0', chat % '"max_tokens":0']
    bodies += [chat % f'"stop":{json.dumps(["x"] * 17)}', chat % '"stop":[""]', chat % f'"stop":"{"x" * 600}"']
    bodies += ["[]", "null", "5", '"x"', "", "{", "{}", "[" * 500_000, '{"a":' * 500_000]
    bodies += ['{"model":"fake","messages":[]}', '{"model":"fake","messages":{}}', '{"model":5,"messages":[]}']
    bodies += ['{"model":"fake","messages":[5]}', '{"model":"fake","messages":[[[[]]]]}', chat % '"user":""']
    bodies += [chat % ('"tools":' + "[" * 100 + "]" * 100), chat % '"model":"fake"', chat % '"messages":[]']
    many = "[" + "1," * 300_000 + '"x"]'
    bodies += [f'{{"model":"fake","messages":{many}}}', chat % f'"stop":{many}', chat % f'"tools":{many}']
    bodies += [f'{{"model":"fake","messages":[{{"role":"user","content":{many}}}]}}']
    names = ",".join(f'"{number}":"x"' for number in range(100_000))
    bodies += [chat % f'"logit_bias":{{{names}}}', f'{{"model":"fake","messages":[{{{names}}}]}}']
    bodies += ['{"model":"\\ud800","messages":[{"role":"user","content":"x"}]}']
    return bodies


def test_hostile_bodies_are_refused_quickly(server: LiveServer, model: FakeModel, hostile: list[str]) -> None:
    with server.client(headers={"Content-Type": "application/json"}) as client:
        for body in hostile:
            begun = time.monotonic()
            answer = client.post("/v1/chat/completions", content=body.encode())
            assert answer.status_code in (400, 422), body[:200]
            assert len(answer.text) < 1000
            assert answer.json()["error"]["message"]
            assert time.monotonic() - begun < 2, body[:200]
    assert model.runner.requests == []


def test_hostile_prompts_are_refused(server: LiveServer, model: FakeModel) -> None:
    prompts = [[], [[]], [-1], [256], [2**63], [1.5], ["x", 5], [["x"]], [[1], [-1]], {}, 5, True, ["x"] * 65, ""]
    with server.client() as client:
        for prompt in prompts:
            answer = client.post("/v1/completions", json={"model": "fake", "prompt": prompt})
            assert answer.status_code in (400, 422), prompt
            assert answer.json()["error"]["param"].startswith("prompt")
        answer = client.post("/v1/completions", json={"model": "fake", "prompt": ["x"] * 60, "n": 16})
        assert answer.json()["error"]["param"] == "n"
    assert model.runner.requests == []


def test_a_long_list_with_a_wrong_item_costs_no_more_than_its_length() -> None:
    for items in ([1] * 300_000 + ["x"], [[1] * 300_000 + ["x"]], ["x"] * 300_000 + [1], [[1]] * 300_000 + [1]):
        tracemalloc.start()
        try:
            with pytest.raises(InvalidRequestError):
                parse_completion({"model": "fake", "prompt": items})
            assert tracemalloc.get_traced_memory()[1] < 2**26
        finally:
            tracemalloc.stop()


def test_bytes_that_are_no_text_are_refused(server: LiveServer) -> None:
    with server.client(headers={"Content-Type": "application/json"}) as client:
        for raw in (b"\xff\xfe{}", b'{"model":"\xc3("}', b"\x00", '{"a":1}'.encode("utf-16")):
            assert client.post("/v1/chat/completions", content=raw).status_code == 400


def test_hostile_queries_are_refused(server: LiveServer) -> None:
    with server.signed_in() as client:
        for query in (
            "limit=0",
            "limit=-1",
            "limit=201",
            "limit=1e9",
            "limit=9" * 50,
            "limit=NaN",
            "before=%00",
            "before=x",
        ):
            assert client.get(f"/api/chats?{query}").status_code == 422, query
        for chat in ("%00", "..%2f..", "'--", "x" * 5000, "%F0%9F%98%80"):
            assert client.get(f"/api/chats/{chat}").status_code == 404
