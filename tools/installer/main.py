"""The verbs of `make`: what each does, in order."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from installer import pins
from installer.app import build_app
from installer.environment import Environment
from installer.kernels import build_kernels
from installer.say import SetupError, say
from installer.shell import explain_os

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[2]


def install(environment: Environment) -> None:
    """Makes `.venv`, installs what running needs, builds kernels and app; each only where it is not done yet."""
    environment.make()
    environment.install()
    build_kernels(environment)
    build_app(environment)


def _install(environment: Environment, _: Sequence[str]) -> int:
    install(environment)
    say("Installed: `make run` starts it")
    return 0


def _run(environment: Environment, arguments: Sequence[str]) -> int:
    install(environment)
    say("Starting Freehold")
    return _become([environment.bin / "freehold", "run", *arguments])


def _test(environment: Environment, arguments: Sequence[str]) -> int:
    install(environment)
    environment.install("test")
    say("Running all tests")
    return _become([environment.python, "-m", "pytest", "-m", "", *arguments], cwd=environment.root)


def _check(environment: Environment, _: Sequence[str]) -> int:
    environment.make()
    environment.install("test")
    failed = []
    for what, command in {
        "lint": ["-m", "ruff", "check", "."],
        "types": ["-m", "mypy"],
        "import rules": ["-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
    }.items():
        say(f"Checking {what}")
        if subprocess.run([environment.python, *command], cwd=environment.root, check=False).returncode != 0:
            failed.append(what)
    if failed:
        raise SetupError(f"Not clean: {', '.join(failed)}.", "What is wrong stands above.")
    return 0


def _docs(environment: Environment, _: Sequence[str]) -> int:
    environment.make()
    environment.install()
    say("Writing docs/cli.md")
    target = environment.root / "docs" / "cli.md"
    return subprocess.run([environment.python, "-m", "freehold.cli.reference", target], check=False).returncode


def _pins(environment: Environment, _: Sequence[str]) -> int:
    environment.make()
    say("Resolving what pyproject.toml allows")
    (environment.root / "constraints.txt").write_text(pins.resolve(environment), encoding="utf-8")
    return 0


def _clean(environment: Environment, _: Sequence[str]) -> int:
    root = environment.root
    for folder in (".venv", "build", "dist", "web/node_modules", "src/freehold/web/dist"):
        if (root / folder).exists():
            say(f"Removing {folder}")
            try:
                shutil.rmtree(root / folder)
            except OSError as error:
                error.filename = str(root / folder)  # Python gives the bare name of a file somewhere below
                raise
    for library in (root / "src" / "freehold" / "kernels" / "native").glob("libfreehold_*"):
        library.unlink()
    return 0


def _become(command: Sequence[str | Path], cwd: Path | None = None) -> int:
    """Replaces this process, so that signals reach the program itself."""
    arguments = [str(part) for part in command]
    if cwd is not None:
        os.chdir(cwd)
    sys.stdout.flush()
    os.execv(arguments[0], arguments)
    return 0


VERBS: dict[str, Callable[[Environment, Sequence[str]], int]] = {
    "install": _install,
    "run": _run,
    "test": _test,
    "check": _check,
    "docs": _docs,
    "pins": _pins,
    "clean": _clean,
}


def main(arguments: Sequence[str]) -> int:
    """Runs one verb.

    Args:
        arguments: The verb, then what it passes on.

    Returns:
        The exit code: 0, 1 after a problem that was told, 2 for an unknown verb, 130 after Ctrl-C.
    """
    if not arguments or arguments[0] not in VERBS:
        sys.stderr.write(f"usage: python tools/install.py {'|'.join(VERBS)} [ARGS...]\n")
        return 2
    try:
        return VERBS[arguments[0]](Environment(ROOT), arguments[1:])
    except SetupError as problem:
        sys.stderr.write(f"freehold: {problem}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"freehold: {explain_os(error)}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nfreehold: stopped; run the same command again to go on.\n")
        return 130
