"""What goes into a wheel beside Python: the app, where Node is at hand, and native kernels, where a compiler is.

Without Node the wheel is made without the app, or with the one that lies there; the server then says how to build it.
Without a compiler PyTorch does what the kernels would. A wheel with kernels is for Linux on x86-64.
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
        """Builds the app unless the one that is there was made from these very sources; warns where it cannot."""
        web = Path(self.root) / "web"
        built = Path(self.root) / "src" / "freehold" / "web" / "dist"
        if not (web / "package.json").exists():
            return
        value = self._fingerprint(web)
        stamp = built / ".built-from"
        if (built / "index.html").exists() and value is not None and _says(stamp, value):
            return
        problem = _npm_build(web, stamp)
        if problem is None:
            if value is not None:
                stamp.write_text(f"{value}\n", encoding="ascii")
        elif (built / "index.html").exists():
            self.app.display_warning(f"{problem}: the app in this wheel may be older than its sources.")
        else:
            self.app.display_warning(f"{problem}: this wheel comes without the app.")

    def _fingerprint(self, web: Path) -> str | None:
        """What `make install` writes beside the app that it builds; None where the installer cannot be asked."""
        tools = str(Path(self.root) / "tools")
        sys.path.insert(0, tools)
        try:
            from installer.app import sources
            from installer.stamps import fingerprint
        except ImportError as error:
            self.app.display_warning(f"tools/installer cannot be used ({error}): the app is built anew.")
            return None
        finally:
            sys.path.remove(tools)
        return fingerprint(Path(self.root), sources(web))

    def _build_kernels(self) -> bool:
        native = Path(self.root) / "src" / "freehold" / "kernels" / "native"
        subprocess.run([sys.executable, str(native / "build.py")], check=False)
        return any(native.glob("libfreehold_*.so"))


def _says(stamp: Path, value: str) -> bool:
    return stamp.is_file() and stamp.read_text(encoding="utf-8", errors="replace").strip() == value


def _npm_build(web: Path, stamp: Path) -> str | None:
    """Builds the app; gives what went wrong, None where nothing did."""
    npm = shutil.which("npm")
    if npm is None:
        return "There is no npm to build the app with"
    stamp.unlink(missing_ok=True)
    for command in ([npm, "ci", "--no-audit", "--no-fund"], [npm, "run", "build"]):
        if subprocess.run(command, cwd=web, check=False).returncode != 0:
            return f"npm {' '.join(command[1:])} failed"
    return None
