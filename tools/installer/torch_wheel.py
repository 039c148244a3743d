"""Chooses the build of PyTorch: the CPU's where there is no NVIDIA GPU, since the CUDA build is many times its size.

In order, without a GPU: a local `+cpu` wheel that pip is configured to find (`find-links`) and that satisfies the
pin; PyTorch's own CPU index; the plain package, after saying how large it is. With a GPU: the plain package, which
on Linux is the CUDA build.
"""

from __future__ import annotations

import json
import platform
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from installer.say import SetupError
from installer.shell import capture

__all__ = ["CPU_INDEX", "REQUIREMENT", "Build", "Pip", "choose", "has_nvidia_gpu", "probe", "suits"]

REQUIREMENT = "torch==2.13.*"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
GIB = 2**30

# What the builds take on disk with the packages they bring, measured for 2.13 on Linux x86-64 and rounded up.
CPU_DISK_BYTES = int(1.5 * GIB)
CUDA_DISK_BYTES = 8 * GIB

Pip = Callable[[Sequence[str], Mapping[str, str]], tuple[int, str, str]]
"""Runs pip with arguments and an environment on top; gives exit code, output and errors."""


@dataclass(frozen=True)
class Build:
    """A build of PyTorch that can be had, and how.

    Args:
        version: As pip names it, such as `2.13.0+cpu`.
        what: What it is, for the line that says so.
        arguments: For `pip install`.
        env: On top of pip's environment.
        disk_bytes: What it takes once installed.
    """

    version: str
    what: str
    arguments: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    disk_bytes: int = CPU_DISK_BYTES


def has_nvidia_gpu(proc: Path = Path("/proc/driver/nvidia/version")) -> bool:
    """Whether an NVIDIA driver is loaded, or `nvidia-smi` lists a GPU."""
    if proc.exists():
        return True
    code, out, _ = capture(["nvidia-smi", "-L"])
    return code == 0 and "GPU " in out


def suits(installed: str | None, *, gpu: bool) -> bool:
    """Whether an installed version can stay: it satisfies the pin, and is not the CPU build beside a GPU."""
    if installed is None:
        return False
    release = REQUIREMENT.removeprefix("torch==").removesuffix("*")
    return installed.startswith(release) and not (gpu and "+cpu" in installed)


def probe(pip: Pip, arguments: Sequence[str], env: Mapping[str, str] | None = None) -> list[tuple[str, str, str]]:
    """Asks pip what it would install, without installing it.

    Args:
        pip: Runs pip.
        arguments: What to install, and from where.
        env: On top of pip's environment.

    Returns:
        (name, version, URL) of each package; empty where pip finds none or cannot reach its index.
    """
    code, out, _ = pip(
        ["install", "--dry-run", "--quiet", "--ignore-installed", "--report", "-", *arguments], env or {}
    )
    if code != 0:
        return []
    report = json.loads(out[out.index("{") :])
    return [
        (item["metadata"]["name"], item["metadata"]["version"], item["download_info"]["url"])
        for item in report["install"]
    ]


def choose(
    pip: Pip, *, gpu: bool, system: str | None = None, size_of: Callable[[str], int | None] | None = None
) -> Build:
    """Picks the build of PyTorch for this machine.

    Args:
        pip: Runs pip.
        gpu: Whether there is an NVIDIA GPU.
        system: `platform.system()`; this machine's by default.
        size_of: Bytes to download from a URL, None where they cannot be told; asks the server by default.

    Raises:
        SetupError: No source has a build that satisfies the pin.
    """
    system = system or platform.system()
    if gpu:
        return _cuda(pip)
    local = probe(pip, ["--no-deps", REQUIREMENT])
    if local and (system != "Linux" or "+cpu" in local[0][1]):
        return Build(local[0][1], "the CPU build", (REQUIREMENT,))
    official = probe(pip, ["--no-deps", "--index-url", CPU_INDEX, REQUIREMENT])
    if official:
        arguments = ("--no-deps", "--index-url", CPU_INDEX, REQUIREMENT)
        return Build(official[0][1], "the CPU build, from PyTorch's own index", arguments)
    if local:
        return _plain(pip, local[0][1], size_of or size_at)
    raise _nowhere()


def _cuda(pip: Pip) -> Build:
    """The CUDA build. A local `+cpu` wheel would win over it by its version, so pip looks at no such folder here."""
    with tempfile.TemporaryDirectory() as empty:
        env = {"PIP_FIND_LINKS": empty}
        found = probe(pip, ["--no-deps", REQUIREMENT], env)
    if not found:
        raise _nowhere()
    # An absent folder is no source either; pip says so and goes on.
    return Build(found[0][1], "the CUDA build, for the NVIDIA GPU here", (REQUIREMENT,), env, CUDA_DISK_BYTES)


def _plain(pip: Pip, version: str, size_of: Callable[[str], int | None]) -> Build:
    sizes = [size_of(url) for _, _, url in probe(pip, [REQUIREMENT])]
    known = sum(size for size in sizes if size is not None)
    size = f"{known / GIB:.1f} GiB to download" if sizes and None not in sizes else "several GiB to download"
    return Build(
        version,
        f"the plain package with its CUDA parts, {size}, since no local CPU wheel and no CPU index is at hand",
        (REQUIREMENT,),
        disk_bytes=CUDA_DISK_BYTES,
    )


def size_at(url: str) -> int | None:
    """Bytes behind a URL of a package index; None where its server does not say."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path)).stat().st_size
    if parts.scheme != "https":
        return None
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=20) as answer:
            length = answer.headers.get("Content-Length")
    except (OSError, urllib.error.URLError):
        return None
    return int(length) if length and length.isdigit() else None


def _nowhere() -> SetupError:
    return SetupError(
        f"No build of PyTorch that satisfies {REQUIREMENT} can be found for this Python.",
        "Check the network (behind a proxy: set HTTPS_PROXY), or put a wheel in a folder and set PIP_FIND_LINKS to it.",
        "PyTorch 2.13 is built for Python 3.11 to 3.14; PYTHON=/path/to/python chooses another one.",
    )
