"""Freehold as a user starts it: the real command in a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["RunningFreehold", "freehold_argv", "running_freehold"]

START_SECONDS = 120.0


def freehold_argv(*arguments: str) -> list[str]:
    """The command line of `freehold`, by the Python that runs the tests."""
    return [sys.executable, "-c", "from freehold.cli.main import main; main()", *arguments]


class RunningFreehold:
    """A server that answers.

    Args:
        process: Its process.
        lines: What it has printed, growing.
        home: Its data home.
    """

    def __init__(self, process: subprocess.Popen[str], lines: list[str], home: Path) -> None:
        self.process = process
        self.lines = lines
        self.home = home

    @property
    def output(self) -> str:
        """Everything that it has printed so far."""
        return "".join(self.lines)

    @property
    def url(self) -> str:
        """Where it answers, without a path."""
        match = re.search(r"(http://\S+?)/v1\b", self.output)
        assert match, self.output
        return match[1]

    @property
    def printed_link(self) -> str:
        """The link that it printed; it signs a browser in, once."""
        match = re.search(r"http://\S+/auth\?token=\S+", self.output)
        assert match, self.output
        return match[0]

    def sign_in_link(self, user: str = "owner") -> str:
        """A fresh link that signs a browser in, once."""
        from freehold.serve.accounts import Accounts

        accounts = Accounts.open(self.home / "freehold.db")
        try:
            return f"{self.url}/auth?token={accounts.new_signin(user)}"
        finally:
            accounts.close()

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout: float = 30) -> int:
        """Ends it and gives its exit code."""
        self.process.send_signal(how)
        return self.process.wait(timeout)


@contextlib.contextmanager
def running_freehold(
    *arguments: str, home: Path, until: str = "/v1", command: Sequence[str] | None = None
) -> Iterator[RunningFreehold]:
    """Starts `freehold` and waits until it answers; ends it when the block does.

    Args:
        arguments: Its verb and options.
        home: Its data home.
        until: What it prints once it answers.
        command: In place of `freehold` by this Python.
    """
    process = subprocess.Popen(
        [*(command or freehold_argv()), *arguments],
        env={**os.environ, "FREEHOLD_HOME": str(home), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    answers = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if until in line:
                answers.set()
        answers.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        begun = time.monotonic()
        while not answers.wait(0.5) and time.monotonic() - begun < START_SECONDS:
            pass
        assert any(until in line for line in lines), f"it did not start:\n{''.join(lines)}"
        yield RunningFreehold(process, lines, home)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)
        reader.join(10)
