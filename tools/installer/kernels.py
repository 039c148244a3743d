"""Compiles the native kernels into the package, where there is a C++ compiler."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from installer.environment import Environment
from installer.say import say

__all__ = ["build_kernels"]


def build_kernels(environment: Environment) -> None:
    """Compiles what is not made from these very sources; without a compiler says so, since PyTorch stands in."""
    build = _build_module(environment)
    if all(build.is_current(build.library_path(level.name)) for level in build.LEVELS):
        return
    if build.compiler() is not None:
        say("Compiling native kernels")
    if not build.build():
        say("No native kernels: PyTorch computes instead, at half the speed (Debian: sudo apt-get install g++)")


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
