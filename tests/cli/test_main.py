"""The command line's entrance: help without weight, the nearest verb, clean errors, exit codes."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import freehold
from freehold.cli import main
from freehold.errors import StoreError


def freehold_command(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; from freehold.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_names_every_verb_and_imports_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.call(["--help"]) == 0
    out = capsys.readouterr().out
    for verb, summary in main.VERBS.items():
        assert verb in out
        assert summary.split(".")[0][:30] in " ".join(out.split())


def test_help_is_there_in_half_a_second() -> None:
    """Half a second of the processor, so that whatever else this machine does is not counted."""

    def seconds() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    took = []
    for _ in range(3):
        begun = seconds()
        assert freehold_command("--help").returncode == 0
        took.append(seconds() - begun)
    assert statistics.median(took) < 0.5, took


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.call(["--version"]) == 0
    assert capsys.readouterr().out == f"freehold {freehold.__version__}\n"


@pytest.mark.parametrize(("typo", "verb"), [("rnu", "run"), ("serv", "serve"), ("chta", "chat"), ("key", "keys")])
def test_a_typing_slip_is_answered_with_the_nearest_verb(
    typo: str, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.call([typo]) == 2
    assert f"'{verb}'" in capsys.readouterr().err


def test_no_verb_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.call([]) == 2
    captured = capsys.readouterr()
    assert "freehold VERB --help" in captured.out + captured.err


def pretend(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Puts a verb in place that does nothing but fail."""
    module = ModuleType("freehold.cli.failing")

    def failing() -> None:
        raise error

    monkeypatch.setattr(module, "failing", failing, raising=False)
    monkeypatch.setitem(sys.modules, "freehold.cli.failing", module)
    monkeypatch.setitem(main.VERBS, "failing", "Fail.")


def test_an_error_of_ours_is_one_clean_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(monkeypatch, StoreError("the disk is full\x1b]52;c;eA==\x07; free some room."))
    assert main.call(["failing"]) == 1
    assert capsys.readouterr().err == "freehold: the disk is full; free some room.\n"


def test_ctrl_c_leaves_with_130_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(monkeypatch, KeyboardInterrupt())
    assert main.call(["failing"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_mistake_of_our_own_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, ZeroDivisionError("ours"))
    with pytest.raises(ZeroDivisionError):
        main.call(["failing"])


def test_a_malformed_home_is_told_and_not_traced() -> None:
    done = freehold_command("keys", "list", FREEHOLD_HOME="relative/path")
    assert done.returncode == 1
    assert done.stderr.startswith("freehold: FREEHOLD_HOME is 'relative/path'")
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_early_is_no_error() -> None:
    program = f"{sys.executable} -c 'from freehold.cli.main import main; main()' --help | head -n 1"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_the_installed_command_is_this_one() -> None:
    command = Path(sys.executable).with_name("freehold")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"freehold {freehold.__version__}\n"
