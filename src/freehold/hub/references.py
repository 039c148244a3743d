"""What the text after `freehold pull` or `--model` means: a name, a hub repository, a folder or a GGUF file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from freehold.errors import ModelNotFoundError, PullError
from freehold.hub.names import check_name, check_repository, check_revision, slug

__all__ = ["FolderReference", "GgufReference", "HubReference", "NamedReference", "Reference", "parse_reference"]


@dataclass(frozen=True, slots=True)
class NamedReference:
    """A model of the catalog, or one that is already here."""

    name: str


@dataclass(frozen=True, slots=True)
class HubReference:
    """`hf:org/repo[@revision]`."""

    repository: str
    revision: str | None

    @property
    def name(self) -> str:
        """What its folder is called here."""
        return slug("--".join(self.repository.split("/") + ([self.revision] if self.revision else [])))


@dataclass(frozen=True, slots=True)
class FolderReference:
    """A model folder of the user's own, used where it is."""

    path: Path


@dataclass(frozen=True, slots=True)
class GgufReference:
    """A GGUF file of the user's own."""

    path: Path

    @property
    def name(self) -> str:
        """What its folder is called here."""
        return slug(self.path.name.removesuffix(self.path.suffix))


Reference: TypeAlias = NamedReference | HubReference | FolderReference | GgufReference


def parse_reference(text: str | Path) -> Reference:
    """Tells what a reference means.

    Args:
        text: A name; `hf:org/repo[@revision]`; or a path. A path begins with `.`, `/` or `~`, holds a `/`, or ends in
            `.gguf`.

    Raises:
        PullError: It is none of these, or a file of a kind that is refused (pickles among them).
        ModelNotFoundError: It is a path at which there is nothing.
    """
    written = str(text)
    if not written or not written.isprintable():
        raise PullError(f"{written[:80]!r} is not a model: write a name, hf:org/repo, a model folder or a GGUF file.")
    if isinstance(text, str) and text.startswith("hf:"):
        repository, at, revision = text.removeprefix("hf:").partition("@")
        check_repository(repository)
        if at and not revision:
            raise PullError(
                f"{written[:140]!r} is not a whole reference: name a revision after the @, or leave it out."
            )
        return HubReference(repository, check_revision(revision) if at else None)
    if isinstance(text, str) and not _looks_like_path(text):
        return NamedReference(check_name(text))
    path = Path(text).expanduser()
    if path.is_dir():
        return FolderReference(path.resolve())
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise PullError(
                f"{path} is no model that is read here: give a folder with "
                "config.json and safetensors, or a .gguf file. "
                "Pickles (.bin, .pt, .pth, .ckpt) are refused because loading "
                "them runs code: convert them to safetensors."
            )
        return GgufReference(path.resolve())
    looked = "" if path.is_absolute() else f" (looked for in {Path.cwd()})"
    hint = f" For the hub's repository of that name write hf:{written}." if _looks_like_repository(written) else ""
    raise ModelNotFoundError(
        f"There is no model folder or GGUF file at {written!r}{looked}; check the path, or take a model by its name: "
        f"`freehold models` lists them.{hint}"
    )


def _looks_like_repository(text: str) -> bool:
    if text.lower().endswith(".gguf"):
        return False
    try:
        check_repository(text)
    except PullError:
        return False
    return True


def _looks_like_path(text: str) -> bool:
    return os.sep in text or text.startswith((".", "~")) or text.lower().endswith(".gguf")
