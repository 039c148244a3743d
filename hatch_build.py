"""Builds the app into a wheel where Node is at hand, so that `pip install .` serves it too.

Without Node the wheel is made without the app; the server then says how to build it.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class AppBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs the app's own build before the files of a wheel are gathered."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Builds the app, unless it is built already, this is an editable install, or there is no npm."""
        del build_data
        web = Path(self.root) / "web"
        built = Path(self.root) / "src" / "freehold" / "web" / "dist" / "index.html"
        npm = shutil.which("npm")
        if version == "editable" or built.exists() or npm is None or not (web / "package.json").exists():
            return
        for command in ([npm, "ci", "--no-audit", "--no-fund"], [npm, "run", "build"]):
            if subprocess.run(command, cwd=web, check=False).returncode != 0:
                self.app.display_warning(f"{' '.join(command[1:])} failed: this wheel comes without the app.")
                return
