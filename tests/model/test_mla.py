"""Both forms of latent attention against each other, and against one token and one head at a time."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from freehold.model.attention import DenseAttend
from freehold.model.mla import mla_absorbed, mla_naive

SCALE = 0.3


def inputs(batch: int, queries: int, keys: int, heads: int, nope: int, rope: int, rank: int, value: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return (
        draw(batch, queries, heads, nope),
        draw(batch, queries, heads, rope),
        draw(batch, keys, rank + rope),
        draw(heads, nope, rank),
        draw(heads, value, rank),
    )


def brute_force(q_nope: Tensor, q_rope: Tensor, latent: Tensor, mask: Tensor, w_uk: Tensor, w_uv: Tensor) -> Tensor:
    """One query and one head at a time, in float64."""
    q_nope, q_rope, latent, w_uk, w_uv = (x.double() for x in (q_nope, q_rope, latent, w_uk, w_uv))
    batch, queries, heads, _ = q_nope.shape
    rank = w_uk.shape[-1]
    out = torch.zeros(batch, queries, heads, w_uv.shape[1], dtype=torch.float64)
    for b in range(batch):
        for t in range(queries):
            for h in range(heads):
                seen = [s for s in range(latent.shape[1]) if mask[b, t, s]]
                scores = [
                    float(q_nope[b, t, h] @ (w_uk[h] @ latent[b, s, :rank]) + q_rope[b, t, h] @ latent[b, s, rank:])
                    * SCALE
                    for s in seen
                ]
                weights = [math.exp(score - max(scores)) for score in scores]
                for s, weight in zip(seen, weights, strict=True):
                    out[b, t, h] += weight / sum(weights) * (w_uv[h] @ latent[b, s, :rank])
    return out


def causal(batch: int, queries: int, keys: int) -> Tensor:
    return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries).expand(batch, -1, -1)


sizes = st.integers(1, 9)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    batch=st.integers(1, 3),
    queries=st.integers(1, 5),
    past=st.integers(0, 6),
    heads=st.integers(1, 5),
    nope=sizes,
    half_rope=st.integers(1, 4),
    rank=sizes,
    value=sizes,
    seed=st.integers(0, 2**16),
)
def test_naive_and_absorbed_are_equal(batch, queries, past, heads, nope, half_rope, rank, value, seed):
    q_nope, q_rope, latent, w_uk, w_uv = inputs(
        batch, queries, past + queries, heads, nope, 2 * half_rope, rank, value, seed
    )
    # Sequences of different lengths, padded: each sees its own part of the past only, and itself.
    mask = causal(batch, queries, past + queries).clone()
    for b in range(batch):
        mask[b, :, : min(b, past)] = False
    naive = mla_naive(q_nope, q_rope, latent, mask, w_uk, w_uv, SCALE)
    absorbed = mla_absorbed(q_nope, q_rope, latent, mask, w_uk, w_uv, SCALE)
    torch.testing.assert_close(naive, absorbed, rtol=1e-4, atol=1e-4)
    assert naive.shape == (batch, queries, heads, value)


@pytest.mark.parametrize("form", [mla_naive, mla_absorbed])
def test_against_brute_force(form):
    q_nope, q_rope, latent, w_uk, w_uv = inputs(2, 3, 5, 3, 4, 2, 6, 5)
    mask = causal(2, 3, 5)
    expected = brute_force(q_nope, q_rope, latent, mask, w_uk, w_uv)
    ours = form(q_nope, q_rope, latent, mask, w_uk, w_uv, SCALE)
    torch.testing.assert_close(ours.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", [mla_naive, mla_absorbed])
def test_no_mask_means_causal(form):
    q_nope, q_rope, latent, w_uk, w_uv = inputs(1, 4, 4, 2, 4, 2, 6, 5)
    with_mask = form(q_nope, q_rope, latent, causal(1, 4, 4), w_uk, w_uv, SCALE)
    torch.testing.assert_close(form(q_nope, q_rope, latent, None, w_uk, w_uv, SCALE), with_mask)


@pytest.mark.parametrize("form", [mla_naive, mla_absorbed])
def test_a_shared_mask_and_bfloat16(form):
    tensors = inputs(3, 2, 5, 2, 8, 4, 16, 8)
    expected = brute_force(*tensors[:3], causal(3, 2, 5), *tensors[3:])
    q_nope, q_rope, latent, w_uk, w_uv = (tensor.bfloat16() for tensor in tensors)
    ours = form(q_nope, q_rope, latent, causal(1, 2, 5), w_uk, w_uv, SCALE)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.double(), expected, rtol=0.1, atol=0.25)


def test_gradients_are_equal():
    tensors = [tensor.requires_grad_() for tensor in inputs(2, 4, 4, 3, 4, 2, 6, 5)]
    q_nope, q_rope, latent, w_uk, w_uv = tensors
    target = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(1))
    gradients = [
        torch.autograd.grad((form(q_nope, q_rope, latent, None, w_uk, w_uv, SCALE) * target).sum(), tensors)
        for form in (mla_naive, mla_absorbed)
    ]
    for naive, absorbed in zip(*gradients, strict=True):
        torch.testing.assert_close(naive, absorbed, rtol=1e-3, atol=1e-4)


def test_packed_sequences_do_not_see_each_other():
    q_nope, q_rope, latent, w_uk, w_uv = inputs(1, 7, 7, 2, 4, 2, 6, 5)
    packed = DenseAttend([3, 4]).mla(0, q_nope[0], q_rope[0], latent[0], w_uk, w_uv, SCALE)
    for rows in (slice(0, 3), slice(3, 7)):
        alone = mla_naive(q_nope[:, rows], q_rope[:, rows], latent[:, rows], None, w_uk, w_uv, SCALE)[0]
        assert torch.equal(packed[rows], alone)


def test_dense_attend_refuses_empty_sequences():
    with pytest.raises(ValueError, match=r"lengths is \[3, 0\]"):
        DenseAttend([3, 0])
