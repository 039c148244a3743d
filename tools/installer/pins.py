"""Writes constraints.txt: one exact version of everything that running and testing need, from pip's resolver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from installer.say import SetupError
from installer.torch_wheel import REQUIREMENT, probe

if TYPE_CHECKING:
    from installer.environment import Environment

__all__ = ["render", "resolve"]

HEADER = """\
# The versions that `make run` and `make test` install: one of each, resolved from pyproject.toml's ranges by
# `make pins`. PyTorch keeps its wildcard, so that the CPU and the CUDA build both satisfy it.
"""


def render(packages: list[tuple[str, str]]) -> str:
    """The file's text for (name, version) pairs. Freehold itself and PyTorch's CUDA parts are left out.

    The CUDA parts come only with the CUDA build, which pins them itself.
    """
    lines = {REQUIREMENT}
    for name, version in packages:
        key = name.lower().replace("_", "-").replace(".", "-")
        if key in {"freehold", "torch", "triton"} or key.startswith(("nvidia-", "cuda-")):
            continue
        lines.add(f"{key}=={version}")
    return HEADER + "".join(f"{line}\n" for line in sorted(lines))


def resolve(environment: Environment) -> str:
    """Asks pip for the newest set that pyproject.toml allows.

    Raises:
        SetupError: pip finds no such set, or cannot reach its index.
    """
    found = probe(environment.pip, ["-e", f"{environment.root}[test]"])
    if not found:
        raise SetupError(
            "pip could not resolve pyproject.toml's ranges.",
            "Run `.venv/bin/pip install --dry-run -e .[test]` to see why.",
        )
    return render([(name, version) for name, version, _ in found])
