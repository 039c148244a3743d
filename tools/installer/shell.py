"""Runs other programs, keeps what they print in a log, and turns their failures into one line and a remedy."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from installer.say import SetupError

__all__ = ["capture", "explain", "explain_os", "out_of_space", "require_space", "run_logged"]

GIB = 2**30

_NO_NETWORK = (
    "Temporary failure in name resolution",
    "Name or service not known",
    "nodename nor servname provided",
    "Failed to establish a new connection",
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "Network is unreachable",
    "No route to host",
    "Connection refused",
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "ENETUNREACH",
)
_NO_SPACE = ("No space left on device", "ENOSPC", "Disk quota exceeded")
_NO_RIGHT = ("Permission denied", "EACCES")


def explain(output: str, doing: str, log: Path) -> SetupError:
    """Reads a failed program's output and says what went wrong and what helps.

    Args:
        output: Everything that the program printed.
        doing: What it was doing, as in "installing Freehold's parts".
        log: Where the output is kept.
    """
    see = f"Everything it said is in {log}"
    if out_of_space(output):
        return SetupError(
            f"The disk filled up while {doing}.", "Free some space, then run the same command again.", see
        )
    if any(sign in output for sign in _NO_NETWORK):
        return SetupError(
            f"The network could not be reached while {doing}.",
            "Check the connection (behind a proxy: set HTTPS_PROXY), then run the same command again;",
            "what was finished before is kept.",
            see,
        )
    if any(sign in output for sign in _NO_RIGHT):
        return SetupError(f"A file could not be written while {doing}.", "Check who owns this folder.", see)
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "npm error"))]
    last = (errors or lines or ["it said nothing"])[-1]
    return SetupError(f"Failed while {doing}: {last[:300]}", see)


def out_of_space(output: str) -> bool:
    """Whether a program's output says that the disk is full."""
    return any(sign in output for sign in _NO_SPACE)


def explain_os(error: OSError) -> SetupError:
    """Says which file the system refused, why, and what helps.

    Args:
        error: What the system answered.
    """
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return SetupError(f"The system refused a step: {reason}.", "Run the same command again.")
    path = Path(os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else str(error.filename))
    again = "then run the same command again."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = [f"Free some space on the disk that holds it, {again}"]
    elif error.errno in (errno.EACCES, errno.EPERM):
        remedy = [
            f"Check who owns it and the folder around it: ls -ld '{path}' '{path.parent}'",
            f'Where that is root, as after a sudo, take the clone back (sudo chown -R "$(id -un)" .), {again}',
        ]
    elif error.errno == errno.EROFS:
        remedy = ["It lies on a disk that cannot be written to; clone to another one."]
    else:
        remedy = [f"Check that file and the folder around it ({path.parent}), {again}"]
    return SetupError(f"{path} cannot be used: {reason}.", *remedy)


def run_logged(
    command: Sequence[str | Path],
    *,
    doing: str,
    log: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Runs a program with its output in `log`.

    Args:
        command: The program and its arguments.
        doing: For the error, as in "installing Freehold's parts".
        log: Overwritten with the command line and what it prints.
        cwd: The folder to run it in.
        env: Set on top of this process's environment.

    Raises:
        SetupError: It failed or could not be started; names the likely cause and the remedy.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = [str(part) for part in command]
    with log.open("w", encoding="utf-8", errors="replace") as sink:
        sink.write(f"$ {' '.join(arguments)}\n")
        sink.flush()
        try:
            done = subprocess.run(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                check=False,
            )
        except OSError as error:
            raise SetupError(f"{arguments[0]} could not be started while {doing}: {error.strerror}.") from error
    if done.returncode != 0:
        raise explain(log.read_text(encoding="utf-8", errors="replace"), doing, log)


def capture(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Runs a program quietly and gives its exit code, output and errors; 127 where it cannot be started."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, **(env or {})},
            check=False,
        )
    except OSError as error:
        return 127, "", str(error)
    return done.returncode, done.stdout, done.stderr


def require_space(folder: Path, needed_bytes: int, what: str) -> None:
    """Checks the free space before a step starts.

    Raises:
        SetupError: Less is free than `needed_bytes`; names both and the folder.
    """
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise SetupError(
            f"{what} takes {needed_bytes / GIB:.1f} GiB, and {folder} has {free_bytes / GIB:.1f} GiB free.",
            f"Free {(needed_bytes - free_bytes) / GIB:.1f} GiB there, or clone to a larger disk, and run it again.",
        )
