"""`freehold chat` in a real terminal with the real default model: it streams, stops at Ctrl-C, and goes on."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import freehold_argv

pytestmark = pytest.mark.slow


class Terminal:
    """A pseudo-terminal with a program in it.

    Args:
        arguments: Of `freehold`.
        home: The data home.
    """

    def __init__(self, *arguments: str, home: Path) -> None:
        self.screen = ""
        self._unread = ""
        self._master, slave = pty.openpty()
        env = {**os.environ, "FREEHOLD_HOME": str(home), "TERM": "xterm"}
        # A session of its own, with the terminal as its controlling one, so that the key Ctrl-C reaches it as a signal.
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *freehold_argv(*arguments)], stdin=slave, stdout=slave, stderr=slave, env=env
        )
        os.close(slave)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Reads until `text` has come, after whatever was waited for before."""
        begun = time.monotonic()
        while text not in self._unread:
            assert time.monotonic() - begun < seconds, f"{text!r} has not come:\n{self.screen}"
            ready, _, _ = select.select([self._master], [], [], 0.2)
            if not ready:
                continue
            try:
                piece = os.read(self._master, 4096).decode(errors="replace")
            except OSError:  # so Linux says that the program has left
                pytest.fail(f"it left before {text!r}:\n{self.screen}")
            self._unread += piece
            self.screen += piece
        self._unread = self._unread.partition(text)[2]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)


@pytest.fixture
def terminal(default_model_folder: Path, tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal("chat", "--model", str(default_model_folder), home=tmp_path)
    yield terminal
    terminal.close()


def test_a_conversation(terminal: Terminal, tmp_path: Path) -> None:
    terminal.wait_for("> ")
    terminal.type("What is the capital of France?\r")
    terminal.wait_for("Paris")
    terminal.wait_for("> ")
    terminal.type("/new\r")
    terminal.wait_for("A new conversation.")
    terminal.type("Write a very long story about a dragon and a lighthouse.\r")
    terminal.wait_for("lighthouse")
    time.sleep(1.5)
    terminal.type("\x03")
    terminal.wait_for("(stopped)", seconds=5)
    terminal.wait_for("> ")
    terminal.type("/chats\r")
    terminal.wait_for("1  Write a very long story about a dragon")
    terminal.wait_for("2  What is the capital of France?")
    terminal.wait_for("> ")
    terminal.type("\x04")
    assert terminal.process.wait(20) == 0
    assert "Traceback" not in terminal.screen
    assert (tmp_path / "freehold.db").exists(), "it is kept among the app's chats"
