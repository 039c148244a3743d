"""How many threads a native call uses, and that more than there are processors for do no harm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from freehold.kernels.native import linear, team
from freehold.kernels.native.linear import NativeLinear
from freehold.kernels.native.team import team_size


@pytest.fixture
def quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "cpu.max"
    monkeypatch.setattr(team, "_CGROUP", file)
    team._quota.cache_clear()
    return file


@pytest.mark.parametrize(
    ("text", "most"), [("max 100000", None), ("150000 100000", 2), ("50000 100000", 1), ("?", None)]
)
def test_a_team_is_no_larger_than_what_it_may_run_on(
    text: str, most: int | None, quota: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota.write_text(text)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    assert team_size() == (most or 6)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert team_size() == 1
    team._quota.cache_clear()


def test_more_threads_than_processors_still_meet(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    del level
    layer = NativeLinear(torch.randn(512, 256), None)
    x = torch.randn(40, 256)
    expected = layer(x)
    monkeypatch.setattr(linear, "team_size", lambda: 2 * (os.cpu_count() or 1) + 1)
    for _ in range(50):
        assert torch.equal(layer(x), expected)
