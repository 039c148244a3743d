"""Makes `.venv` and installs Freehold's parts in it."""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from installer import torch_wheel
from installer.say import SetupError, say
from installer.shell import GIB, capture, require_space, run_logged
from installer.stamps import fingerprint, is_current, write_stamp

__all__ = ["Environment"]

# On disk beyond PyTorch, measured and rounded up.
RUN_DISK_BYTES = 1 * GIB
TEST_DISK_BYTES = 1 * GIB


class Environment:
    """The clone's virtual environment.

    Args:
        root: The clone.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".venv"
        self.bin = self.folder / ("Scripts" if sys.platform == "win32" else "bin")
        self.python = self.bin / "python"
        self.logs = root / "build" / "logs"

    def pip(self, arguments: Sequence[str], env: Mapping[str, str]) -> tuple[int, str, str]:
        """Runs pip quietly in the environment."""
        return capture([self.python, "-m", "pip", *arguments], env={"PIP_DISABLE_PIP_VERSION_CHECK": "1", **env})

    def make(self) -> None:
        """Makes `.venv` with the Python that runs this, unless one that works is there.

        Raises:
            SetupError: This Python cannot make one.
        """
        if self._works():
            return
        if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise SetupError(
                f"Python {version} at {sys.executable} comes without its venv module.",
                f"On Debian and Ubuntu: sudo apt-get install python{version}-venv",
                "Elsewhere choose a complete Python 3.11 or newer: make run PYTHON=/path/to/python",
            )
        say(f"Making .venv with Python {platform.python_version()}")
        run_logged(
            [sys.executable, "-m", "venv", "--clear", self.folder],
            doing="making .venv",
            log=self.logs / "venv.log",
        )

    def _works(self) -> bool:
        check = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
        return self.python.exists() and capture([self.python, "-c", check])[0] == 0

    def install(self, extra: str | None = None) -> None:
        """Installs Freehold, editable, with its pinned parts; does nothing while those are what they were.

        Args:
            extra: `test` for what the tests need too.

        Raises:
            SetupError: Too little disk, no network, or no build of PyTorch; names the remedy.
        """
        inputs = [self.root / "pyproject.toml", self.root / "constraints.txt"]
        value = fingerprint(self.root, inputs, str(self.root))
        stamp = self.folder / f"freehold-{extra or 'run'}.stamp"
        if is_current(stamp, value):
            return
        self._install_torch()
        what = "the tests' parts" if extra else "Freehold and its parts"
        require_space(self.root, TEST_DISK_BYTES if extra else RUN_DISK_BYTES, f"Installing {what}")
        say(f"Installing {what}")
        target = f"{self.root}[{extra}]" if extra else str(self.root)
        self._pip_install(["-c", str(self.root / "constraints.txt"), "-e", target], f"installing {what}", "install.log")
        write_stamp(stamp, value)

    def _install_torch(self) -> None:
        gpu = torch_wheel.has_nvidia_gpu()
        if torch_wheel.suits(self.installed_version("torch"), gpu=gpu):
            return
        build = torch_wheel.choose(self.pip, gpu=gpu)
        require_space(self.root, build.disk_bytes, f"PyTorch ({build.what})")
        say(f"Installing PyTorch {build.version}: {build.what}")
        self._pip_install(
            ["-c", str(self.root / "constraints.txt"), *build.arguments], "installing PyTorch", "torch.log", build.env
        )

    def _pip_install(
        self, arguments: Sequence[str], doing: str, log: str, env: Mapping[str, str] | None = None
    ) -> None:
        run_logged(
            [self.python, "-m", "pip", "install", "--progress-bar", "off", *arguments],
            doing=doing,
            log=self.logs / log,
            cwd=self.root,
            env={"PIP_DISABLE_PIP_VERSION_CHECK": "1", **(env or {})},
        )

    def installed_version(self, package: str) -> str | None:
        """The version of an installed package; None where it is absent."""
        question = f"from importlib.metadata import version; print(version({package!r}))"
        code, out, _ = capture([self.python, "-c", question])
        return out.strip() if code == 0 else None
