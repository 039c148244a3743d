"""The README's commands, run as they are printed, against `freehold run` with the real default model."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, TEST_HOME
from tests.support.process import RunningFreehold, running_freehold

pytestmark = pytest.mark.slow

PRINTED_ADDRESS = "127.0.0.1:8080"
BLOCK = re.compile(r"^(?P<indent> *)```(?P<language>bash|python)\n(?P<code>.*?)^ *```$", re.DOTALL | re.MULTILINE)


def blocks(language: str) -> list[str]:
    """The README's blocks of one language, in order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [textwrap.dedent(match["code"]) for match in BLOCK.finditer(text) if match["language"] == language]


def commands() -> list[str]:
    """The lines of the shell blocks, continued ones joined."""
    return [line for block in blocks("bash") for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def command(beginning: str) -> str:
    found = [line for line in commands() if beginning in line]
    assert found, f"the README has no command with {beginning!r}"
    return found[0]


@pytest.fixture
def shell(running: RunningFreehold, default_model_folder: Path, tmp_path: Path) -> dict[str, str]:
    """An environment in which the printed address is that of the running server, with the default model here."""
    home = tmp_path / "home"
    (home / "models").mkdir(parents=True)
    (home / "models" / default_model_folder.name).symlink_to(default_model_folder)
    return {**os.environ, "FREEHOLD_HOME": str(home), "ADDRESS": running.url.removeprefix("http://")}


def run(text: str, shell: dict[str, str]) -> str:
    # `.venv` is the clone's; where the tests run in another environment, its commands are meant.
    here = text.replace(PRINTED_ADDRESS, shell["ADDRESS"]).replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    done = subprocess.run(["bash", "-c", here], cwd=ROOT, env=shell, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{here}\n{done.stderr}"
    return done.stdout


def test_every_printed_command_is_run_by_a_test_here() -> None:
    tried = ["make run", "make test", "curl ", "freehold chat", "freehold models", "freehold keys add"]
    assert [line for line in commands() if not any(part in line for part in tried)] == []
    assert len(blocks("python")) == 2


def test_curl(shell: dict[str, str]) -> None:
    assert "Paris" in run(command("curl "), shell)


def python(code: str, shell: dict[str, str]) -> str:
    here = code.replace(PRINTED_ADDRESS, shell["ADDRESS"])
    done = subprocess.run([sys.executable, "-c", here], env=shell, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_openais_client(shell: dict[str, str]) -> None:
    code = next(block for block in blocks("python") if "openai" in block)
    assert "Paris" in python(code, shell)


def test_python_without_a_server(shell: dict[str, str]) -> None:
    code = next(block for block in blocks("python") if "freehold.load" in block)
    assert len(code.strip().splitlines()) <= 5
    out = python(code, shell)
    assert "Paris" in out
    assert "49152" in out


def test_chat_in_the_terminal(shell: dict[str, str]) -> None:
    assert "Paris" in run(command('freehold chat "What'), shell)
    assert run(command("echo "), shell).strip()


def test_models_and_keys(shell: dict[str, str]) -> None:
    listed = run(command("freehold models"), shell)
    assert "smollm2-135m-instruct" in listed
    assert "deepseek-r1-distill-qwen-1.5b" in listed
    assert run(command("freehold keys add"), shell).startswith("fh-")


@pytest.mark.usefixtures("default_model_folder")
def test_make_run_starts_in_seconds_where_everything_is_here() -> None:
    """What is installed is not installed again: no line speaks of it, and the link is there soon."""
    if Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("needs the clone's own .venv, as `make test` makes it")
    subprocess.run(["make", "--silent", "install"], cwd=ROOT, check=True)
    begun = time.monotonic()
    make = ["make", "--silent", "run", "ARGS=--no-open --port 0"]
    with running_freehold(home=TEST_HOME, command=make) as running:
        took = time.monotonic() - begun
        told = [line for line in running.lines if line.startswith("==> ")]
        assert told == ["==> Starting Freehold\n"]
        assert "auth?token=" in running.printed_link
        assert "Fetching" not in running.output
    assert took < 30, took
