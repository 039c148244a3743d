"""The models that are here: under `models/`, each a folder of its name."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import ConfigError, ModelNotFoundError
from freehold.hub.home import models_folder
from freehold.hub.manifest import Manifest, read_manifest
from freehold.hub.names import check_name
from freehold.hub.progress import quiet
from freehold.hub.staging import PARTIAL_PREFIX, locked
from freehold.model.config import ModelConfig

__all__ = ["InstalledModel", "installed", "installed_path", "remove"]


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """One model under `models/`; `manifest` is None for a folder that the user put there."""

    name: str
    path: Path
    manifest: Manifest | None

    @property
    def size_bytes(self) -> int:
        """Bytes of its files."""
        if self.manifest is not None:
            return self.manifest.size_bytes
        return sum(path.stat().st_size for path in self.path.iterdir() if path.is_file())

    @property
    def context_length(self) -> int | None:
        """In tokens; None where its configuration cannot be read."""
        if self.manifest is not None:
            return self.manifest.context_length
        try:
            return ModelConfig.from_folder(self.path).context_length
        except ConfigError:
            return None


def installed() -> list[InstalledModel]:
    """Lists the models under `models/`, by name; unfinished pulls are not among them."""
    folder = models_folder()
    if not folder.is_dir():
        return []
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    return [
        InstalledModel(name, path, read_manifest(path)) for name in names if (path := installed_path(name)) is not None
    ]


def installed_path(name: str) -> Path | None:
    """Gives the folder of a model under `models/`; None where there is none of that name."""
    path = models_folder() / name
    return path if (path / "config.json").is_file() else None


def remove(name: str) -> None:
    """Deletes a model under `models/`, and what an unfinished pull of it left.

    Raises:
        PullError: The name is malformed.
        ModelNotFoundError: There is none of that name.
    """
    check_name(name)
    target, partial = models_folder() / name, models_folder() / f"{PARTIAL_PREFIX}{name}"
    if not target.is_dir() and not partial.is_dir():
        raise ModelNotFoundError(
            f"There is no model {name!r} in {models_folder()}; `freehold models` lists those that are."
        )
    with locked(name, quiet):
        if target.is_symlink():
            target.unlink()
        elif target.is_dir():
            # Renamed first, so that a deletion that is cut short leaves nothing that looks whole.
            shutil.rmtree(target.rename(partial.with_name(f".removed-{name}")))
        shutil.rmtree(partial, ignore_errors=True)
