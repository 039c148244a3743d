"""The levels of native kernels that this machine can run, each to be tested, and how one is chosen."""

from __future__ import annotations

import pytest

from freehold.kernels.native.build import LEVELS, compiler, library_path
from freehold.kernels.native.library import native

__all__ = ["PYTORCH", "levels", "use"]

PYTORCH = "0"
"""No level: everything in PyTorch."""


def levels() -> list[str]:
    """Those built that this processor has."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        for level in LEVELS:
            if library_path(level.name).exists():
                use(level.name, patch)
                if native() is not None:
                    found.append(level.name)
    native.cache_clear()
    return found


def use(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has models that are packed from here on take a level, or `PYTORCH`; the caller clears the cache at the end."""
    monkeypatch.setenv("FREEHOLD_NATIVE", level)
    native.cache_clear()


def why_none() -> str:
    """Why there is no level to test."""
    return "needs a C++ compiler: apt install g++" if compiler() is None else "needs native kernels: run make install"
