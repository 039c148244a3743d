"""How a pull never looks finished before it is: a locked, hidden folder that takes its name in one step at the end.

Everything is written into `models/.partial-NAME`. `freehold.json` is written last, then the folder is renamed to
`models/NAME`; a pull that is cut short at any point leaves only the hidden folder, from which the next one goes on.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from freehold.errors import PullError
from freehold.hub.home import models_folder
from freehold.hub.manifest import MANIFEST, FileEntry, Manifest, file_sha256, sync, write_manifest
from freehold.hub.names import check_name
from freehold.hub.progress import Progress

__all__ = ["PARTIAL_PREFIX", "Stage", "check_space", "locked", "staged"]

PARTIAL_PREFIX = ".partial-"
_STATE = ".pull.json"
_SPARE_BYTES = 200_000_000


class Stage:
    """The hidden folder of one pull.

    Args:
        name: The model's name.
        folder: Where to write the model's files.
        target: What the folder will be called.
    """

    def __init__(self, name: str, folder: Path, target: Path) -> None:
        self.name = name
        self.folder = folder
        self.target = target

    def finish(
        self,
        *,
        source: str,
        revision: str,
        licence: str | None,
        architecture: str,
        chat_format: str | None,
        context_length: int,
        checked: Mapping[str, str],
        progress: Progress,
    ) -> Path:
        """Writes `freehold.json` over all files of the folder and gives it its name.

        Args:
            source: As `Manifest` has it, like those that follow.
            revision: Of the source.
            licence: Of the weights.
            architecture: Of the configuration.
            chat_format: A native one, or None.
            context_length: In tokens.
            checked: The SHA-256 of files, by name, that this pull has just computed; the others are read now.
            progress: Told how far the hashing is.

        Returns:
            `models/NAME`.
        """
        named = sorted(path for path in self.folder.iterdir() if not path.name.startswith("."))
        files = {path.name: _entry(path, checked.get(path.name), progress) for path in named}
        manifest = Manifest(self.name, source, revision, licence, architecture, chat_format, context_length, files)
        write_manifest(self.folder, manifest)
        self.folder.rename(self.target)
        sync(self.target.parent)
        for hidden in self.target.glob(".*"):
            hidden.unlink()
        return self.target


@contextmanager
def staged(name: str, resume_key: str | None) -> Iterator[Stage]:
    """Opens the hidden folder of a pull; the caller holds the name's lock.

    Args:
        name: The model's name.
        resume_key: What an earlier, unfinished pull must have been of (source and commit) for its files to be kept;
            None keeps nothing, neither before nor after a failure.

    Raises:
        PullError: A folder of that name is already there.
    """
    target = models_folder() / check_name(name)
    if target.exists():
        raise PullError(f"{target} is already there; remove it first: freehold models remove {name}.")
    folder = models_folder() / f"{PARTIAL_PREFIX}{name}"
    state = folder / _STATE
    if folder.exists() and (resume_key is None or _key(state) != resume_key):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if resume_key is not None:
        state.write_text(json.dumps({"key": resume_key}), "utf-8")
    (folder / MANIFEST).unlink(missing_ok=True)
    try:
        yield Stage(name, folder, target)
    except BaseException:
        if resume_key is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def locked(name: str, progress: Progress) -> Iterator[None]:
    """Holds the one lock of a model's name, across processes; waits for another pull of the same model."""
    models_folder().mkdir(parents=True, exist_ok=True)
    descriptor = os.open(models_folder() / f".lock-{check_name(name)}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another pull of {name}", 0, None)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def check_space(needed_bytes: int, what: str) -> None:
    """Refuses to begin what the disk cannot hold.

    Args:
        needed_bytes: What will be written.
        what: For the message.

    Raises:
        PullError: There is less free space than that and a reserve of 0.2 GB.
    """
    folder = models_folder()
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed_bytes + _SPARE_BYTES > free:
        raise PullError(
            f"{what} needs {needed_bytes / 1e9:.2f} GB and a reserve of {_SPARE_BYTES / 1e9:.1f} GB; {folder} has "
            f"{free / 1e9:.2f} GB free. Make room, or set FREEHOLD_HOME to a folder on a larger disk."
        )


def _entry(path: Path, checked: str | None, progress: Progress) -> FileEntry:
    size = path.stat().st_size
    return FileEntry(checked or file_sha256(path, lambda done: progress("checking", done, size)), size)


def _key(state: Path) -> str | None:
    try:
        key = json.loads(state.read_text("utf-8"))["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return key if isinstance(key, str) else None
