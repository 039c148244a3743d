"""Sequences in lockstep are read through one view of the cache, and get what each would get alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from freehold.engine.attend import PagedAttend
from freehold.engine.blocks import BlockTable, Segment
from freehold.engine.cache import KVCache
from freehold.engine.config import EngineConfig
from freehold.engine.reading import lockstep
from freehold.model.config import ModelConfig
from tests.support.tiny_models import tiny_folder


def filled(folder: Path) -> KVCache:
    cache = KVCache(
        ModelConfig.from_folder(folder),
        EngineConfig(block_size=4, cache_tokens=400),
        max_context=100,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )
    cache.tensor.normal_(generator=torch.Generator().manual_seed(0))
    return cache


def segments(starts: list[int], lengths: list[int]) -> list[Segment]:
    tables = [BlockTable(list(range(start, start + -(-n // 4)))) for start, n in zip(starts, lengths, strict=True)]
    return [Segment(table, n - 1, 1) for table, n in zip(tables, lengths, strict=True)]


@pytest.mark.parametrize("kind", ["llama", "deepseek_v3"])
@pytest.mark.parametrize("length", [1, 4, 18])
def test_the_view_is_each_sequence_s_own_rows(kind: str, length: int, tmp_path: Path) -> None:
    cache = filled(tiny_folder(kind, tmp_path / "m"))
    starts = [3, 10, 17, 24]
    view = lockstep(cache, segments(starts, [length] * 4))
    assert view is not None
    for row, start in enumerate(starts):
        assert torch.equal(view[:, row], cache.tensor[:, start * 4 : start * 4 + length])
    assert view.untyped_storage().data_ptr() == cache.tensor.untyped_storage().data_ptr()


def test_all_else_is_gathered(tmp_path: Path) -> None:
    cache = filled(tiny_folder("llama", tmp_path / "m"))
    assert lockstep(cache, segments([3], [5])) is None
    assert lockstep(cache, segments([3, 10], [5, 6])) is None
    assert lockstep(cache, segments([3, 10, 18], [5, 5, 5])) is None
    assert lockstep(cache, segments([10, 3], [5, 5])) is None
    assert lockstep(cache, segments([3, 3], [5, 5])) is None
    scattered = segments([3, 10], [5, 5])
    scattered[0].table.contiguous = False
    assert lockstep(cache, scattered) is None


@pytest.mark.parametrize("starts", [[3, 10, 17], [3, 10, 18]], ids=["lockstep", "gathered"])
def test_a_batch_gets_what_each_gets_alone(starts: list[int], tmp_path: Path) -> None:
    cache = filled(tiny_folder("llama", tmp_path / "m"))
    config = ModelConfig.from_folder(tmp_path / "m")
    generator = torch.Generator().manual_seed(1)
    q = torch.randn(3, config.num_attention_heads, config.head_dim, generator=generator)
    k, v = torch.randn(2, 3, config.num_key_value_heads, config.head_dim, generator=generator).unbind(0)
    batch = segments(starts, [11, 11, 11])
    together = PagedAttend(cache, batch, rows=3, exact=False).gqa(1, q, k, v, 0.3)
    for row, segment in enumerate(batch):
        only = slice(row, row + 1)
        alone = PagedAttend(cache, [segment], rows=1, exact=True).gqa(1, q[only], k[only], v[only], 0.3)
        torch.testing.assert_close(together[only], alone, rtol=1e-5, atol=1e-5)
