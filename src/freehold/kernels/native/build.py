"""Compiles the native library, once for each level of instructions that the compiler knows. Standard library alone.

    python src/freehold/kernels/native/build.py

The build of a wheel calls it (`hatch_build.py`), and so does `make install`. Neither Python's headers nor torch's are
needed, only a C++17 compiler: `CXX`, else `c++`, `g++` or `clang++`.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LEVELS", "Level", "build", "compiler", "digest", "is_current", "library_path"]

_HERE = Path(__file__).parent
_FLAGS = ("-std=c++17", "-O3", "-DNDEBUG", "-fPIC", "-shared", "-Wno-psabi")
_SOURCES = ("decoder.cpp", "attention.h", "product.h", "team.h", "vector.h")


@dataclass(frozen=True, slots=True)
class Level:
    """A set of instructions to compile for.

    Args:
        name: Of the library's file.
        flags: For the compiler.
        needs: Flags of /proc/cpuinfo that a processor must have.
        tiles: Whether it multiplies with AMX, which the system must allow.
    """

    name: str
    flags: tuple[str, ...]
    needs: tuple[str, ...]
    tiles: bool = False


_V3 = ("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")

LEVELS = (
    Level(
        "amx",
        ("-march=x86-64-v4", "-mamx-tile", "-mamx-bf16"),
        (*_V4, "amx_tile", "amx_bf16"),
        tiles=True,
    ),
    Level("avx512", ("-march=x86-64-v4",), _V4),
    Level("avx2", ("-march=x86-64-v3",), _V3),
)
"""From the best down."""


def library_path(level: str) -> Path:
    """Where the library of a level lies, built or not."""
    return _HERE / f"libfreehold_{level}.so"


def compiler() -> str | None:
    """The C++ compiler at hand."""
    named = os.environ.get("CXX")
    return named or next((found for name in ("c++", "g++", "clang++") if (found := shutil.which(name))), None)


def digest() -> str:
    """SHA-256 over the sources and the ways to compile them; a library carries that of its own."""
    value = hashlib.sha256(repr((_FLAGS, LEVELS)).encode())
    for name in _SOURCES:
        value.update((_HERE / "cpp" / name).read_bytes())
    return value.hexdigest()


def is_current(path: Path) -> bool:
    """Whether a library is there and was made from these very sources."""
    return path.exists() and digest().encode() in path.read_bytes()


def build() -> list[Path]:
    """Compiles what is missing or made from other sources; the latter is removed even where nothing can be compiled.

    Returns:
        The libraries that are there now: none without a compiler, or on another system than Linux on x86-64.
    """
    command = compiler()
    suits = command is not None and sys.platform == "linux" and platform.machine() == "x86_64"
    built = []
    for level in LEVELS:
        path = library_path(level.name)
        if not is_current(path):
            path.unlink(missing_ok=True)
            if command is None or not suits or not _compile(command, level, path):
                continue
        built.append(path)
    return built


def _compile(command: str, level: Level, path: Path) -> bool:
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    arguments = [*_FLAGS, *level.flags, f'-DFREEHOLD_SOURCES="{digest()}"', "-o", str(unfinished)]
    whole = [*shlex.split(command), *arguments, str(_HERE / "cpp" / "decoder.cpp")]
    try:
        # the compiler is the one that the user names or has on the path
        done = subprocess.run(whole, check=False, capture_output=True, text=True)  # noqa: S603
        problem = done.stderr[-2000:] if done.returncode != 0 else None
    except OSError as error:
        problem = str(error)
    if problem is not None:
        sys.stderr.write(f"{command} cannot compile for {level.name}; it is left out.\n{problem}\n")
        unfinished.unlink(missing_ok=True)
        return False
    unfinished.replace(path)
    return True


if __name__ == "__main__":
    names = [path.name for path in build()]
    print(f"Native kernels: {', '.join(names)}" if names else "No native kernels: PyTorch computes instead.")
