"""The server as a process: one listening socket, and an end that cuts nobody off."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.fake_model import FakeModel, Wait
from tests.support.live_server import live_server

ASK = {"model": "fake", "messages": [{"role": "user", "content": "Hi"}], "stream": True}

WORDS = 30
"""How many words the process's model answers; it takes twenty a second."""

PROGRAM = """
import sys
from pathlib import Path
from freehold.serve import ModelRegistry, ServeSettings, run_server
from tests.support.fake_model import FakeModel, Wait

model = FakeModel(script=["word ", Wait(0.05)] * int(sys.argv[2]))
settings = ServeSettings(port=0, database=Path(sys.argv[1]) / "f.db")
run_server(ModelRegistry([model]), settings, on_ready=lambda ready: print(ready.url, ready.sign_in_url, flush=True))
print("ended", flush=True)
"""


@pytest.fixture
def process(tmp_path: Path, repository: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A server whose model answers thirty words, or as many as the test is parametrised with."""
    words = str(getattr(request, "param", WORDS))
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path), words],
            cwd=repository,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        yield running
        running.kill()
        running.wait()
        assert running.stdout is not None
        running.stdout.close()


def started(process: subprocess.Popen[str]) -> tuple[str, str]:
    assert process.stdout is not None
    url, link = process.stdout.readline().split()
    return url, link


def test_sigterm_lets_answers_finish_and_takes_no_more(process: subprocess.Popen[str], tmp_path: Path) -> None:
    url, _ = started(process)
    texts: list[str] = []

    def read() -> None:
        texts.append(httpx.post(f"{url}/v1/chat/completions", json=ASK, timeout=30, trust_env=False).text)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    time.sleep(0.4)
    assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 503
    assert httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    refused = httpx.post(f"{url}/v1/chat/completions", json=ASK, trust_env=False)
    assert refused.status_code == 503
    assert refused.json()["error"]["type"] == "overloaded_error"
    assert "retry-after" in refused.headers
    for reader in readers:
        reader.join()
    for text in texts:
        assert text.endswith("data: [DONE]\n\n")
        assert text.count("word ") == WORDS
    assert process.wait(10) == 0
    assert process.stdout is not None
    assert process.stdout.read().strip() == "ended"
    events = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    assert "draining" in events
    assert "failure" not in events


@pytest.mark.parametrize("process", [1000], indirect=True)
def test_a_second_signal_ends_at_once(process: subprocess.Popen[str]) -> None:
    url, _ = started(process)

    def read() -> None:
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{url}/v1/chat/completions", json=ASK, trust_env=False)

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.4)
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(15) == 0
    reader.join()


def test_it_listens_on_one_socket_alone_talks_to_nobody_else_and_the_link_works(process: subprocess.Popen[str]) -> None:
    url, link = started(process)
    listening = [c.laddr for c in psutil.Process(process.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert [(address.ip, f"http://127.0.0.1:{address.port}") for address in listening] == [("127.0.0.1", url)]
    with httpx.Client(trust_env=False) as client:
        assert client.get(link).status_code == 303
        assert client.get(f"{url}/api/session").json()["user"]["name"] == "owner"
        with client.stream("POST", f"{url}/v1/chat/completions", json=ASK) as answer:
            lines = answer.iter_lines()
            next(lines)
            connections = psutil.Process(process.pid).net_connections()
    assert {c.raddr.ip for c in connections if c.raddr} == {"127.0.0.1"}


def test_answers_that_take_too_long_are_cut_at_the_end(tmp_path: Path) -> None:
    model = FakeModel(script=["word ", Wait(60)])
    with (
        live_server([model], tmp_path, drain_seconds=0.2) as server,
        server.client() as client,
        client.stream("POST", "/v1/chat/completions", json=ASK) as answer,
    ):
        lines = answer.iter_lines()
        assert "data: " in next(lines)
        server.drain()
        begun = time.monotonic()
        with pytest.raises(httpx.TransportError):
            list(lines)
        assert time.monotonic() - begun < 5
    assert len(model.runner.aborted) == 1
