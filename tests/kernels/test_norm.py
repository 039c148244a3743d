"""The short RMS normalisation against the formula in float64."""

from __future__ import annotations

import pytest
import torch

from freehold.errors import WeightsError
from freehold.kernels.norm import PackedRMSNorm
from freehold.model.norm import RMSNorm


def norm(size: int, eps: float, dtype: torch.dtype) -> RMSNorm:
    module = RMSNorm(size, eps)
    module.weight.data = torch.linspace(-2, 3, size).to(dtype)
    return module


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 2, 16])
@pytest.mark.parametrize("magnitude", [1e-4, 1.0, 3e3])
@pytest.mark.parametrize("size", [64, 576])
def test_it_is_the_formula(dtype: torch.dtype, rows: int, magnitude: float, size: int) -> None:
    eps = 1e-5
    plain = norm(size, eps, dtype)
    x = (torch.randn(rows, size, generator=torch.Generator().manual_seed(rows)) * magnitude + magnitude / 3).to(dtype)
    wide = x.double()
    expected = wide / (wide.square().mean(-1, keepdim=True) + eps).sqrt() * plain.weight.double()
    actual = PackedRMSNorm(plain)(x)
    assert actual.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 2.0**-8
    torch.testing.assert_close(actual.double(), expected, rtol=tolerance, atol=1e-5)
    torch.testing.assert_close(actual.double(), plain(x).double(), rtol=2 * tolerance, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 3])
def test_zeros_and_slices(rows: int) -> None:
    packed = PackedRMSNorm(norm(32, 1e-6, torch.bfloat16))
    assert torch.equal(packed(torch.zeros(rows, 32, dtype=torch.bfloat16)), torch.zeros(rows, 32, dtype=torch.bfloat16))
    wide = torch.randn(rows, 48).to(torch.bfloat16)
    assert torch.equal(packed(wide[:, 4:36]), packed(wide[:, 4:36].contiguous()))


def test_weights_can_be_changed() -> None:
    packed, other = PackedRMSNorm(norm(8, 1e-6, torch.bfloat16)), norm(8, 1e-6, torch.bfloat16)
    other.weight.data.mul_(2)
    packed.load(other.weight)
    for rows in (1, 4):
        x = torch.randn(rows, 8).to(torch.bfloat16)
        assert torch.equal(packed(x), PackedRMSNorm(other)(x))
    with pytest.raises(WeightsError, match=r"\[9\] cannot go into a norm of 8"):
        packed.load(torch.ones(9))
