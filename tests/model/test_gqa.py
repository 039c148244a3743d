"""Grouped-query attention against one query and one head at a time."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from freehold.model.attention import DenseAttend
from freehold.model.gqa import gqa


def brute_force(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
    batch, queries, heads, _ = q.shape
    share = heads // k.shape[2]
    out = torch.zeros(q.shape, dtype=torch.float64)
    for b in range(batch):
        for t in range(queries):
            for h in range(heads):
                seen = [s for s in range(k.shape[1]) if mask[b, t, s]]
                scores = [float(q[b, t, h].double() @ k[b, s, h // share].double()) * scale for s in seen]
                weights = [math.exp(score - max(scores)) for score in scores]
                for s, weight in zip(seen, weights, strict=True):
                    out[b, t, h] += weight / sum(weights) * v[b, s, h // share].double()
    return out


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    batch=st.integers(1, 3),
    queries=st.integers(1, 4),
    past=st.integers(0, 5),
    groups=st.integers(1, 3),
    share=st.integers(1, 4),
    size=st.sampled_from([2, 5, 16]),
    seed=st.integers(0, 2**16),
)
def test_against_brute_force(batch, queries, past, groups, share, size, seed):
    generator = torch.Generator().manual_seed(seed)
    keys = past + queries
    q = torch.randn(batch, queries, groups * share, size, generator=generator)
    k, v = (torch.randn(batch, keys, groups, size, generator=generator) for _ in range(2))
    mask = torch.ones(queries, keys, dtype=torch.bool).tril(past).expand(batch, -1, -1).clone()
    for b in range(batch):
        mask[b, :, : min(b, past)] = False
    expected = brute_force(q, k, v, mask, 0.4)
    torch.testing.assert_close(gqa(q, k, v, mask, 0.4).double(), expected, rtol=1e-4, atol=1e-4)


def test_no_mask_means_causal():
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 5, heads, 8, generator=generator) for heads in (4, 2, 2))
    mask = torch.ones(5, 5, dtype=torch.bool).tril()[None]
    torch.testing.assert_close(gqa(q, k, v, None, 0.3).double(), brute_force(q, k, v, mask, 0.3), rtol=1e-4, atol=1e-4)


def test_packed_sequences_do_not_see_each_other():
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(7, heads, 8, generator=generator) for heads in (4, 2, 2))
    packed = DenseAttend([3, 4]).gqa(0, q, k, v, 0.3)
    for rows in (slice(0, 3), slice(3, 7)):
        assert torch.equal(packed[rows], gqa(q[None, rows], k[None, rows], v[None, rows], None, 0.3)[0])
