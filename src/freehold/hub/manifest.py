"""`freehold.json`: what a pulled model's folder is, where it came from, and the hash of every file in it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.errors import ConfigError

__all__ = ["MANIFEST", "FileEntry", "Manifest", "file_sha256", "read_manifest", "sync", "write_manifest"]

MANIFEST = "freehold.json"
CHUNK_BYTES = 2**20
_FIELDS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "source": (str,),
    "revision": (str,),
    "licence": (str, type(None)),
    "architecture": (str,),
    "chat_format": (str, type(None)),
    "context_length": (int,),
}


@dataclass(frozen=True, slots=True)
class FileEntry:
    """The hash and the bytes of one file."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of `freehold.json`.

    Args:
        name: The model's name, which is its folder's.
        source: `hf:org/repo`, `wheel:PROJECT==VERSION` or `file:PATH`.
        revision: The hub's commit, the wheel's version, or `sha256:…` of the file.
        licence: None where nobody stated one.
        architecture: `architectures[0]` of its configuration.
        chat_format: A native chat format; None leaves it to the template.
        context_length: In tokens.
        files: Every other file of the folder.
    """

    name: str
    source: str
    revision: str
    licence: str | None
    architecture: str
    chat_format: str | None
    context_length: int
    files: Mapping[str, FileEntry]

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.files.values())


def read_manifest(folder: Path) -> Manifest | None:
    """Reads a folder's `freehold.json`; None where it has none.

    Raises:
        ConfigError: The file is malformed.
    """
    path = folder / MANIFEST
    try:
        content: Any = json.loads(path.read_text("utf-8"))
        files = {name: FileEntry(str(entry["sha256"]), int(entry["size"])) for name, entry in content["files"].items()}
        return Manifest(files=files, **{key: _typed(content, key, kinds) for key, kinds in _FIELDS.items()})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path} is malformed ({error!r}); remove the folder and pull the model again.") from error


def _typed(content: dict[str, Any], key: str, kinds: tuple[type, ...]) -> Any:
    value = content[key]
    if type(value) not in kinds:
        raise TypeError(f"{key} is {value!r}")
    return value


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes `freehold.json` so that it is there whole or not at all, after everything else of the folder is on the
    disk."""
    for name in manifest.files:
        sync(folder / name)
    half = folder / f".{MANIFEST}"
    with half.open("w", encoding="utf-8") as out:
        json.dump(dataclasses.asdict(manifest), out, ensure_ascii=False, indent=2)
        out.write("\n")
        out.flush()
        os.fsync(out.fileno())
    half.rename(folder / MANIFEST)
    sync(folder)


def file_sha256(path: Path, told: Callable[[int], None] = lambda _: None) -> str:
    """Gives the SHA-256 of a file; `told` hears how many bytes are done."""
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            told(done)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Waits until a file or a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
