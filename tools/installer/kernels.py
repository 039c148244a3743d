"""Compiles the native kernels into the package, where there is a C++ compiler that knows how."""

from __future__ import annotations

import importlib.util
import platform
import shlex
import shutil
import sys
from pathlib import Path
from types import ModuleType

from installer.environment import Environment
from installer.say import say
from installer.shell import capture, explain, out_of_space, run_logged
from installer.stamps import fingerprint, is_current, write_stamp

__all__ = ["build_kernels"]


def build_kernels(environment: Environment) -> None:
    """Compiles what is not made from these very sources; says why where it cannot, since PyTorch stands in.

    What this compiler could not build of these sources is remembered in build/kernels.stamp, and neither tried nor told
    again until one of them changes.

    Raises:
        SetupError: The disk filled up.
    """
    build = _build_module(environment)
    if not _missing(build):
        return
    command = build.compiler()
    suits = sys.platform == "linux" and platform.machine() == "x86_64"
    version = _version(command) if suits and command is not None else None
    known = [build.digest(), sys.platform, platform.machine(), str(command), str(version)]
    stamp = environment.root / "build" / "kernels.stamp"
    if is_current(stamp, _value(environment, known, build)):
        return
    if not suits:
        build.build()  # removes what was made from other sources
        say("No native kernels for this processor; PyTorch computes instead")
    elif command is None:
        build.build()
        if len(_missing(build)) == len(build.LEVELS):
            say("No native kernels: PyTorch computes instead, at half the speed (Debian: sudo apt-get install g++)")
        return
    elif version is None:
        _run(environment, build)
        say(f"CXX names {command!r}, which cannot be started: set it to a C++ compiler, or unset it")
        return
    else:
        say("Compiling native kernels")
        _compile(environment, build, version)
    if _missing(build):
        write_stamp(stamp, _value(environment, known, build))


def _compile(environment: Environment, build: ModuleType, version: str) -> None:
    log = _run(environment, build)
    missing = _missing(build)
    if not missing:
        return
    output = log.read_text(encoding="utf-8", errors="replace")
    if out_of_space(output):
        raise explain(output, "compiling native kernels", log)
    if len(missing) == len(build.LEVELS):
        say(f"No native kernels: {version} cannot compile them; PyTorch computes instead, at half the speed")
    else:
        say(f"Native kernels without those for {' and '.join(missing)}, which {version} cannot compile")
    say(f"Its output is in {log}; CXX=/path/to/c++ chooses another compiler")


def _run(environment: Environment, build: ModuleType) -> Path:
    """Compiles what is missing, with what the compiler says in a log; gives the log."""
    log = environment.logs / "kernels.log"
    run_logged([sys.executable, build.__file__ or ""], doing="compiling native kernels", log=log)
    return log


def _missing(build: ModuleType) -> list[str]:
    """The levels that have no library made from these very sources."""
    return [level.name for level in build.LEVELS if not build.is_current(build.library_path(level.name))]


def _value(environment: Environment, known: list[str], build: ModuleType) -> str:
    return fingerprint(environment.root, [], *known, "without", *_missing(build))


def _version(command: str) -> str | None:
    """A compiler's place and the first line of its `--version`; None where it cannot be started."""
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    if not words:
        return None
    code, out, _ = capture([*words, "--version"])
    if code == 127:
        return None
    first = next(iter(out.splitlines()), "").strip()
    where = shutil.which(words[0]) or words[0]
    return f"{where} ({first})" if first else where


def _build_module(environment: Environment) -> ModuleType:
    """The package's own build, which needs nothing else of it."""
    path = environment.root / "src" / "freehold" / "kernels" / "native" / "build.py"
    spec = importlib.util.spec_from_file_location("freehold_kernels_build", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be read.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where a dataclass looks for its module
    spec.loader.exec_module(module)
    return module
