"""What somebody wrote stays between them and the model: not in logs, not in metrics, not with anybody else."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.errors import EngineError
from freehold.serve.logs import set_up_logging
from tests.support.fake_model import FakeModel, Think
from tests.support.live_server import live_server

CANARY = "canary-7f3a"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The server's log at its most talkative."""
    loggers = [logging.getLogger(name) for name in ("freehold", "uvicorn.error")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    stream = io.StringIO()
    set_up_logging(stream, logging.DEBUG)
    yield stream
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def test_no_word_of_a_chat_and_no_key_is_logged_counted_or_seen_by_others(tmp_path: Path, log: io.StringIO) -> None:
    model = FakeModel(thinking="optional", script=[Think(f"I think {CANARY}."), f"You said {CANARY}."])
    ask = {"model": "fake", "messages": [{"role": "user", "content": f"Say {CANARY}"}], "user": CANARY}
    with live_server([model], tmp_path) as server:
        _, key = server.accounts.add_key("laptop")
        signin = server.accounts.new_signin()
        with server.client(headers={"Authorization": f"Bearer {key}"}) as client:
            for fields in (
                {}, {"stream": True}, {CANARY: 1}, {"temperature": CANARY}, {"seed": CANARY}, {"stop": [CANARY * 99]},
                {"messages": [{"role": CANARY, "content": CANARY}]}, {"messages": [{"role": "user", CANARY: CANARY}]},
                {"response_format": {"type": CANARY}}, {"logit_bias": {CANARY: 1}}, {"model": CANARY},
                {"messages": [{"role": "user", "content": CANARY * 1000}]},
            ):  # fmt: skip
                client.post(f"/v1/chat/completions?q={CANARY}", json={**ask, **fields})
            client.post("/v1/completions", json={"model": "fake", "prompt": CANARY})
            client.post("/v1/chat/completions", content=f'{{"{CANARY}', headers={"Content-Type": "application/json"})
            client.get(f"/v1/models/{CANARY}")
            client.get(f"/{CANARY}?{CANARY}")
            client.get("/v1/models", headers={"Authorization": f"Bearer fh-{CANARY}", "X-Request-Id": CANARY})
            client.get("/v1/models", headers={"Host": f"{CANARY}.example"})
            client.request(CANARY.upper(), "/v1/models")
            model.runner.script = [f"Half {CANARY}", EngineError(CANARY)]
            client.post("/v1/chat/completions", json={**ask, "stream": True})
            model.runner.script = [ValueError(CANARY)]
            client.post("/v1/chat/completions", json=ask)
            model.runner.script = [Think(CANARY), CANARY]
            metrics = client.get("/metrics").text
        with server.signed_in() as browser:
            chat = browser.post("/api/chats", json={"title": CANARY}).json()["id"]
            browser.post(f"/api/chats/{chat}/messages", json={"content": CANARY})
            assert CANARY in browser.get(f"/api/chats/{chat}").text
            browser.get(f"/auth?token={signin}")
            metrics += browser.get("/metrics").text
        with server.signed_in("bob") as other:
            assert CANARY not in other.get("/api/chats").text
            assert other.get(f"/api/chats/{chat}").status_code == 404
    lines = log.getvalue().splitlines()
    assert len(lines) > 20
    for line in lines:
        assert set(json.loads(line)) >= {"time", "level", "event"}
    held = (log.getvalue() + metrics).lower()
    for secret in (CANARY, key, key[4:20], signin):
        assert secret.lower() not in held
    assert 'freehold_requests_total{method="POST",route="/v1/chat/completions",status="200"}' in metrics
    assert "freehold_engine_steps_total" in metrics


def test_control_codes_and_line_breaks_do_not_reach_the_log(log: io.StringIO) -> None:
    logging.getLogger("freehold.x").warning("a\x1b]52;c;aGk=\x07 b\x9b2J\r\nforged: line\u202e")
    logging.getLogger("uvicorn.error").warning("%s", "\x1b[31m")
    written = log.getvalue()
    assert len(written.splitlines()) == 2
    assert written.isascii()
    for line in written.splitlines():
        assert json.loads(line)["event"].isprintable()


def test_names_in_answers_carry_no_control_codes(tmp_path: Path) -> None:
    with live_server([FakeModel()], tmp_path) as server, server.client() as client:
        ask = {"model": "fake\x1b]0;x\x07", "messages": [{"role": "user", "content": "x"}], "a\x9b\r\nb": 1}
        answer = client.post("/v1/chat/completions", json=ask)
        assert all(c.isprintable() for c in answer.json()["error"]["message"])
        del ask["a\x9b\r\nb"]
        assert all(c.isprintable() for c in client.post("/v1/chat/completions", json=ask).json()["error"]["message"])
