"""Fetches the files of a hub repository: resumed where it stopped, and each checked against the hub's own hash."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx2
from huggingface_hub.hf_api import ModelInfo

from freehold.errors import PullError
from freehold.hub.hub_client import HubClient
from freehold.hub.manifest import CHUNK_BYTES
from freehold.hub.names import check_file_name
from freehold.hub.progress import Progress
from freehold.hub.staging import check_space
from freehold.hub.validate import INDEX, indexed_files

__all__ = ["HubFile", "fetch_repository", "wanted_files"]

RETRIES = 5
RETRY_SECONDS = 2.0
"""Wait after the first failure of the network; doubled after each further one of the same file."""
_PLAIN_FILES = {
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    INDEX,
}
_LICENCE = re.compile(r"(licen[cs]e|notice)[a-z0-9_-]*(\.txt|\.md)?", re.ASCII | re.IGNORECASE)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file to fetch.

    Args:
        name: Plain, in the repository's top folder.
        size: In bytes.
        digest: What the hub says its content hashes to, in hexadecimal.
        is_git: `digest` is git's SHA-1 of a small file, not the SHA-256 of a large one.
    """

    name: str
    size: int
    digest: str
    is_git: bool


def wanted_files(repository: str, info: ModelInfo) -> list[HubFile]:
    """Picks what a model needs of a repository: safetensors, configuration, tokenizer, licence; no code, no pickles.

    Raises:
        PullError: There are no safetensors, a size or hash is missing, or the answer is not the hub's.
    """
    names = [sibling.rfilename for sibling in info.siblings or []]
    picked = []
    for sibling in info.siblings or []:
        if not _is_wanted(sibling.rfilename):
            continue
        lfs = sibling.lfs
        size, digest = (lfs.size, lfs.sha256) if lfs else (sibling.size, sibling.blob_id)
        if not isinstance(size, int) or size < 0 or not isinstance(digest, str) or len(digest) != (64 if lfs else 40):
            raise PullError(
                f"The hub gives no usable size and hash for {sibling.rfilename} of {repository}; it cannot be verified."
            )
        picked.append(HubFile(check_file_name(sibling.rfilename), size, digest, is_git=lfs is None))
    if not any(file.name.endswith(".safetensors") for file in picked):
        raise PullError(f"hf:{repository} {_without_safetensors(names)}")
    for needed in ("config.json", "tokenizer.json"):
        if not any(file.name == needed for file in picked):
            raise PullError(
                f"hf:{repository} has no {needed}; it is not a model that can be loaded as it is published."
            )
    return picked


def fetch_repository(
    client: HubClient,
    repository: str,
    commit: str,
    files: Sequence[HubFile],
    folder: Path,
    progress: Progress,
) -> dict[str, str]:
    """Fetches files into a folder; those that are there already, whole and right, are kept.

    Args:
        client: The session.
        repository: `org/repo`.
        commit: Its commit; every file is asked for at it.
        files: From `wanted_files`. Weights that the repository's index does not name are left out.
        folder: Where to write; a file has its name only when it is whole and its hash is right.
        progress: Told per file.

    Returns:
        The SHA-256 of each file of weights, by name, as it was checked.

    Raises:
        PullError: The network failed for good, a hash is wrong, or the disk is too small. What is fetched is kept.
    """
    small = [file for file in files if not file.name.endswith(".safetensors")]
    weights = [file for file in files if file.name.endswith(".safetensors")]
    check_space(sum(file.size for file in small), f"hf:{repository}")
    _fetch_all(client, repository, commit, small, folder, progress)
    if (folder / INDEX).is_file():
        named = set(indexed_files(folder / INDEX))
        absent = named - {file.name for file in weights}
        if absent:
            raise PullError(f"hf:{repository} lacks {min(absent)}, which its own {INDEX} names; it is incomplete.")
        weights = [file for file in weights if file.name in named]
    check_space(sum(file.size for file in weights) - _bytes_there(weights, folder), f"hf:{repository}")
    _fetch_all(client, repository, commit, weights, folder, progress)
    keep = {file.name for file in [*small, *weights]}
    for stray in folder.iterdir():
        if not stray.name.startswith(".") and stray.name not in keep:
            stray.unlink()
    return {file.name: file.digest for file in weights if not file.is_git}


def _fetch_all(
    client: HubClient,
    repository: str,
    commit: str,
    files: Iterable[HubFile],
    folder: Path,
    progress: Progress,
) -> None:
    for file in files:
        if not _is_right(folder / file.name, file, progress):
            _fetch(client, repository, commit, file, folder, progress)


def _fetch(client: HubClient, repository: str, commit: str, file: HubFile, folder: Path, progress: Progress) -> None:
    part = folder / f".{file.name}.part"
    for attempt in range(RETRIES + 1):
        try:
            _stream(client, repository, commit, file, part, progress)
            break
        except httpx2.HTTPError as error:
            if attempt == RETRIES:
                raise PullError(
                    f"Fetching {file.name} of {repository} failed {RETRIES + 1} times, last with "
                    f"{error or type(error).__name__}. Run the same pull again: it goes on where it stopped."
                ) from error
            time.sleep(RETRY_SECONDS * 2**attempt)
    found = _digest(part, file, progress)
    if found != file.digest:
        part.unlink()
        raise PullError(
            f"{file.name} of {repository} hashes to {found}; the hub says {file.digest}. The wrong bytes were thrown "
            "away: run the pull again, and if it happens twice, do not trust what lies between you and the hub."
        )
    part.rename(folder / file.name)


def _stream(client: HubClient, repository: str, commit: str, file: HubFile, part: Path, progress: Progress) -> None:
    done = part.stat().st_size if part.exists() else 0
    if done > file.size:
        part.unlink()
        done = 0
    if done == file.size and part.exists():
        return
    with client.file(repository, commit, file.name, done) as response:
        if response.status_code == 206:
            told = response.headers.get("Content-Range", "")
            if not told.startswith(f"bytes {done}-"):
                raise PullError(
                    f"The server answered the range from byte {done} of "
                    f"{file.name} with {told[:60]!r}; it is not usable."
                )
        else:
            done = 0
        with part.open("ab" if done else "wb") as out:
            for chunk in response.iter_raw():
                if done + len(chunk) > file.size:
                    raise PullError(
                        f"{file.name} of {repository} is longer than the "
                        f"{file.size} bytes that the hub states; refused."
                    )
                out.write(chunk)
                done += len(chunk)
                progress(file.name, done, file.size)
    if done < file.size:
        raise httpx2.RemoteProtocolError(f"the connection ended after {done} of {file.size} bytes")


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


def _digest(path: Path, file: HubFile, progress: Progress) -> str:
    digest: _Hash
    done = 0
    if file.is_git:
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    else:
        digest = hashlib.sha256()
    with path.open("rb") as data:
        while chunk := data.read(CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            progress("checking", done, file.size)
    return digest.hexdigest()


def _is_right(path: Path, file: HubFile, progress: Progress) -> bool:
    return path.is_file() and path.stat().st_size == file.size and _digest(path, file, progress) == file.digest


def _bytes_there(files: Iterable[HubFile], folder: Path) -> int:
    paths = (path for file in files for path in (folder / file.name, folder / f".{file.name}.part"))
    return sum(path.stat().st_size for path in paths if path.exists())


def _is_wanted(name: str) -> bool:
    if "/" in name or name.startswith("."):
        return False
    plain = name in _PLAIN_FILES or _LICENCE.fullmatch(name) is not None
    return plain or (name.endswith(".safetensors") and not name.startswith("consolidated"))


def _without_safetensors(names: Sequence[str]) -> str:
    if any(name.endswith(_PICKLES) for name in names):
        return (
            "holds its weights only as pickles (.bin, .pt), which are refused because loading them runs code. "
            "Look for a repository with safetensors, or convert it."
        )
    if any(name.endswith(".gguf") for name in names):
        return "holds only GGUF files: download one of them and run `freehold pull FILE.gguf`."
    return "holds no safetensors; it is not a model that can be loaded."
