"""`freehold run` and `freehold serve`: ports, aliases, refusals, and the server as a process with a tiny model."""

from __future__ import annotations

import io
import json
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from freehold.cli import main, serving
from freehold.cli.run import can_open_browser
from freehold.errors import ConfigError
from tests.support.process import RunningFreehold, freehold_argv, running_freehold
from tests.support.tiny_models import tiny_folder


def listener(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    taken = socket.socket()
    taken.bind((host, port))
    taken.listen(1)
    return taken


def test_a_free_port_is_kept() -> None:
    with listener() as taken:
        free = taken.getsockname()[1]
    assert serving.choose_port("127.0.0.1", free) == free
    assert serving.choose_port("127.0.0.1", 0) == 0


def test_a_taken_port_that_was_asked_for_is_named_with_the_remedy() -> None:
    with listener() as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"Port {port} of 127\.0\.0\.1 is taken .* --port"):
            serving.choose_port("127.0.0.1", port)


def test_without_one_the_next_free_port_is_taken_and_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with listener() as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(serving, "DEFAULT_PORT", port)
        chosen = serving.choose_port("127.0.0.1", None)
        assert port < chosen < port + serving.PORTS_TRIED
        assert f"Port {port} is taken; using {chosen}." in capsys.readouterr().out
        monkeypatch.setattr(serving, "PORTS_TRIED", 1)
        with pytest.raises(ConfigError, match="are all taken"):
            serving.choose_port("127.0.0.1", None)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Cannot listen on 192\.0\.2\.1, port 8080: .*--host"):
        serving.choose_port("192.0.2.1", None)


def test_aliases() -> None:
    assert serving.parse_aliases(["gpt-4o=m", "a/b=hf:o/r"]) == {"gpt-4o": "m", "a/b": "hf:o/r"}
    for bad in ("m", "=m", "m=", ""):
        with pytest.raises(ConfigError, match="NAME=MODEL"):
            serving.parse_aliases([bad])
    with pytest.raises(ConfigError, match="given twice"):
        serving.parse_aliases(["a=m", "a=n"])


@pytest.mark.parametrize(
    ("env", "opens"),
    [
        ({}, False),
        ({"DISPLAY": ":0"}, True),
        ({"WAYLAND_DISPLAY": "w"}, True),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "x"}, False),
    ],
)
def test_a_browser_is_opened_where_there_is_a_display(
    env: dict[str, str], opens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert can_open_browser() is opens


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["run", "--port", "70000"], 1, "--port is 70000; it must be from 0"),
        (["run", "--prot", "1"], 2, "--port"),
        (["run", "--port", "abc"], 2, "for '--port': 'abc' is given; it must be a whole number."),
        (["chat", "--temperature", "warm", "Hi"], 2, "for '--temperature': 'warm' is given; it must be a number."),
        (["run", "--context", "0"], 1, "freehold: --context is 0; it must be a whole number from 2 to 16777216."),
        (["run", "--max-batch", "0"], 1, "freehold: --max-batch is 0; it must be a whole number from 1 to"),
        (["serve", "--threads", "-1"], 1, "freehold: --threads is -1; it must be a whole number from 1 to"),
        (["serve", "--cache-tokens", "1"], 1, "freehold: --cache-tokens is 1; it must be a whole number from 2 to"),
        (["serve", "--alias", "nonsense"], 1, "NAME=MODEL"),
        (["run", "--model", "no-such-model"], 1, "No model 'no-such-model'"),
        (["serve", "--allowed-origin", "*"], 1, "allowed origin '*'"),
        (["chat", "--model", "./nowhere", "Hello"], 1, "nowhere"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_loaded(
    arguments: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str], empty_home: Path
) -> None:
    del empty_home
    assert main.call(arguments) == code
    captured = capsys.readouterr()
    assert told in captured.err
    assert "Loading" not in captured.out


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("llama", tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="module")
def server(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFreehold]:
    arguments = ["run", "--no-open", "--port", "0", "--model", str(tiny), "--alias", f"gpt-4o={tiny}"]
    with running_freehold(*arguments, "--alias", "mine=tiny-llama", home=tmp_path_factory.mktemp("home")) as running:
        yield running


def test_the_printed_link_signs_a_browser_in_once(server: RunningFreehold) -> None:
    with httpx.Client(base_url=server.url, trust_env=False) as browser:
        answer = browser.get(server.printed_link)
        assert answer.status_code == 303
        assert answer.headers["location"] == "/"
        assert browser.get("/api/session").json()["user"]["name"] == "owner"
    with httpx.Client(base_url=server.url, trust_env=False) as second:
        second.get(server.printed_link)
        assert second.get("/api/session").status_code == 401


def test_a_model_answers_to_its_name_and_its_aliases(server: RunningFreehold) -> None:
    listed = httpx.get(f"{server.url}/v1/models", trust_env=False).json()["data"]
    assert {"tiny-llama", "gpt-4o", "mine"} <= {model["id"] for model in listed}
    body = {"model": "gpt-4o", "prompt": "a", "max_tokens": 2}
    answer = httpx.post(f"{server.url}/v1/completions", json=body, trust_env=False, timeout=30)
    assert answer.status_code == 200, answer.text


def test_a_key_made_beside_the_running_server_works_at_once(server: RunningFreehold) -> None:
    made = subprocess.run(
        freehold_argv("keys", "add", "laptop"),
        env={"FREEHOLD_HOME": str(server.home), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
    assert httpx.get(f"{server.url}/v1/models", headers=headers, trust_env=False).status_code == 200
    assert httpx.get(f"{server.url}/metrics", headers=headers, trust_env=False).status_code == 200


def test_serve_logs_in_json_without_prompts_and_ends_cleanly_at_ctrl_c(tiny: Path, tmp_path: Path) -> None:
    with running_freehold("serve", "--port", "0", "--model", str(tiny), home=tmp_path) as running:
        body = {"model": "tiny-llama", "prompt": "CANARY-7", "max_tokens": 2}
        httpx.post(f"{running.url}/v1/completions", json=body, trust_env=False, timeout=30)
        assert running.stop(signal.SIGINT) == 0
    logged = [json.loads(line) for line in running.lines if line.startswith("{")]
    assert {"listening", "request", "draining"} <= {entry["event"] for entry in logged}
    assert "CANARY-7" not in running.output
    assert "Traceback" not in running.output
    assert "auth?token" not in running.output, "a server for programs prints no sign-in link"


def test_ctrl_c_while_it_loads_leaves_without_a_traceback(tiny: Path, tmp_path: Path) -> None:
    arguments = ["run", "--no-open", "--port", "0", "--model", str(tiny)]
    with running_freehold(*arguments, home=tmp_path, until="Loading") as running:
        assert running.stop(signal.SIGINT) == main.INTERRUPTED
    assert "Traceback" not in running.output


@pytest.mark.usefixtures("empty_home")
def test_a_public_address_is_refused_without_a_key(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # In this process the log would go on writing to the stream that is captured here.
    monkeypatch.setattr("freehold.serve.server.set_up_logging", lambda **_: None)
    assert main.call(["serve", "--host", "0.0.0.0", "--port", "0", "--model", str(tiny)]) == 1
    assert re.search(r"freehold: 0\.0\.0\.0 .* `freehold keys add NAME`", capsys.readouterr().err)


def chat(tiny: Path, *arguments: str) -> int:
    return main.call(["chat", "--model", str(tiny), "--max-tokens", "4", *arguments])


def test_chat_answers_a_pipe_and_keeps_nothing(
    tiny: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Hello\n"))
    assert chat(tiny) == 0
    assert capsys.readouterr().err in ("", "(The answer reached its limit of tokens.)\n")
    assert not (empty_home / "freehold.db").exists()
    monkeypatch.setattr("sys.stdin", io.StringIO(" \n"))
    assert chat(tiny) == 1
    assert "nothing to answer" in capsys.readouterr().err


@pytest.mark.usefixtures("empty_home")
def test_chat_refuses_by_name_what_cannot_be(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert chat(tiny, "--temperature", "3", "Hello") == 1
    assert capsys.readouterr().err.strip() == "freehold: temperature is 3.0; it must be from 0 to 2."
    assert chat(tiny, "--thinking", "Hello") == 1
    assert "think" in capsys.readouterr().err
