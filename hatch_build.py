"""What goes into a wheel beside Python: the app, where Node is at hand, and native kernels, where a compiler is.

Without Node the wheel is made without the app; the server then says how to build it. Without a compiler PyTorch does
what the kernels would. A wheel with kernels is for Linux on x86-64.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class AppBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs the builds of the app and of the kernels before the files of a wheel are gathered."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Builds both where they can be built; an editable install is given no app (`make install` builds it)."""
        if version != "editable":
            self._build_app()
        if self._build_kernels() and version != "editable":
            build_data["pure_python"] = False
            build_data["tag"] = "py3-none-linux_x86_64"

    def _build_app(self) -> None:
        web = Path(self.root) / "web"
        built = Path(self.root) / "src" / "freehold" / "web" / "dist" / "index.html"
        npm = shutil.which("npm")
        if built.exists() or npm is None or not (web / "package.json").exists():
            return
        for command in ([npm, "ci", "--no-audit", "--no-fund"], [npm, "run", "build"]):
            if subprocess.run(command, cwd=web, check=False).returncode != 0:
                self.app.display_warning(f"{' '.join(command[1:])} failed: this wheel comes without the app.")
                return

    def _build_kernels(self) -> bool:
        native = Path(self.root) / "src" / "freehold" / "kernels" / "native"
        subprocess.run([sys.executable, str(native / "build.py")], check=False)
        return any(native.glob("libfreehold_*.so"))
