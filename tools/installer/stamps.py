"""Stamps: what a step was made from, as one hash, so that it is done again exactly when that changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

__all__ = ["fingerprint", "is_current", "write_stamp"]


def fingerprint(root: Path, files: Iterable[Path], *extra: str) -> str:
    """SHA-256 over the names (relative to `root`) and contents of files, and over further words."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    for word in extra:
        digest.update(f"\0{word}".encode())
    return digest.hexdigest()


def is_current(stamp: Path, value: str) -> bool:
    """Whether the stamp is there and says `value`."""
    try:
        return stamp.read_text(encoding="ascii").strip() == value
    except (OSError, UnicodeDecodeError):
        return False


def write_stamp(stamp: Path, value: str) -> None:
    """Writes the stamp, last of all that a step does."""
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(f"{value}\n", encoding="ascii")
