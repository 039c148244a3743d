"""Tests of kernels run with every level of native kernels that this machine has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from freehold.kernels.native.library import native
from tests.support.native import levels, use, why_none


@pytest.fixture(params=levels() or [None])
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each level in turn."""
    if request.param is None:
        pytest.skip(why_none())
    use(request.param, monkeypatch)
    yield request.param
    native.cache_clear()
