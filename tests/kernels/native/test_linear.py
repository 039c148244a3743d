"""Native matrix products against PyTorch's: values, what follows them, many rows, refilling, batch invariance."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from freehold.kernels.native.linear import NativeLinear, takes

SHAPES = [(16, 32), (48, 64), (80, 160), (192, 1536)]
DTYPES = [torch.float32, torch.bfloat16]


def drawn(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def close(actual: Tensor, expected: Tensor, scale: float = 1.0) -> None:
    tolerance = (1e-5 if actual.dtype == torch.float32 else 2.0**-6) * scale
    torch.testing.assert_close(actual.float(), expected.float(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", [0, 1, 2, 15, 16, 17, 32, 33, 63, 128, 131, 300])
def test_products_are_pytorch_s(level: str, dtype: torch.dtype, shape: tuple[int, int], rows: int) -> None:
    del level
    outputs, inputs = shape
    weight = drawn(outputs, inputs, dtype=dtype) / inputs**0.5
    x, other = drawn(rows, inputs, dtype=dtype, seed=2), drawn(rows, outputs, dtype=dtype, seed=3)
    for bias in (None, drawn(outputs, dtype=dtype, seed=1)):
        layer = NativeLinear(weight, bias)
        expected = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
        close(layer(x), expected)
        close(layer.silu(x), F.silu(expected))
        close(layer.add(x, other), other.double() + expected, 2)
        close(layer.mul(x, other), other.double() * expected, 4)
        assert layer(x).dtype == dtype
        assert torch.equal(layer.weight, weight)


@pytest.mark.parametrize("dtype", DTYPES)
def test_wide_results_are_not_rounded(level: str, dtype: torch.dtype) -> None:
    del level
    weight, x = drawn(64, 96, dtype=dtype) / 10, drawn(5, 96, dtype=dtype, seed=1)
    out = NativeLinear(weight, None, wide=True)(x)
    assert out.dtype == torch.float32
    close(out, F.linear(x.double(), weight.double()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_row_has_the_same_bits_in_any_company(level: str, dtype: torch.dtype, threads: int) -> None:
    del level
    layer = NativeLinear(drawn(112, 352, dtype=dtype) / 20, drawn(112, dtype=dtype, seed=1))
    x = drawn(200, 352, dtype=dtype, seed=2)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = layer(x)
        for rows in (1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 48, 64, 127, 129, 199):
            assert torch.equal(layer(x[:rows]), together[:rows])
            assert torch.equal(layer(x[-rows:]), together[-rows:])
    finally:
        torch.set_num_threads(before)


def test_inputs_may_be_slices(level: str) -> None:
    del level
    layer = NativeLinear(drawn(32, 64, dtype=torch.float32), None)
    wide, other = drawn(5, 96, dtype=torch.float32), drawn(5, 40, dtype=torch.float32)
    assert torch.equal(layer(wide[:, 8:72]), layer(wide[:, 8:72].contiguous()))
    assert torch.equal(layer.add(wide[:, :64], other[:, 3:35]), layer.add(wide[:, :64].clone(), other[:, 3:35].clone()))


def test_what_does_not_fit_is_refused_not_read_beyond(level: str) -> None:
    del level
    layer = NativeLinear(drawn(32, 64, dtype=torch.bfloat16), None)
    with pytest.raises(ValueError, match=r"takes 64 inputs in torch\.bfloat16; got 32"):
        layer(torch.zeros(1, 32, dtype=torch.bfloat16))
    with pytest.raises(ValueError, match=r"got 64 in torch\.float32"):
        layer(torch.zeros(1, 64))
    with pytest.raises(ValueError, match=r"must be \[1, 32\] in torch\.bfloat16"):
        layer.add(torch.zeros(1, 64, dtype=torch.bfloat16), torch.zeros(1, 31, dtype=torch.bfloat16))


def test_new_weights_go_where_the_old_ones_lay(level: str) -> None:
    del level
    layer = NativeLinear(drawn(32, 64, dtype=torch.float32), drawn(32, dtype=torch.float32))
    before = (layer.struct.packed, layer.struct.bias)
    weight, bias = drawn(32, 64, dtype=torch.float32, seed=5), drawn(32, dtype=torch.float32, seed=6)
    layer.load(weight, bias)
    assert (layer.struct.packed, layer.struct.bias) == before
    x = drawn(3, 64, dtype=torch.float32, seed=7)
    close(layer(x), F.linear(x, weight, bias))


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_finite_stays_so(level: str, dtype: torch.dtype) -> None:
    del level
    weight = torch.eye(32, dtype=dtype)
    weight[0, 0], weight[1, 1] = float("nan"), float("inf")
    out = NativeLinear(weight, None)(torch.ones(3, 32, dtype=dtype))
    assert bool(out[:, 0].isnan().all())
    assert bool(out[:, 1].isinf().all())
    assert bool((out[:, 2:] == 1).all())


def test_only_whole_tiles_and_known_types_are_taken(level: str) -> None:
    del level
    assert takes(32, 16, torch.float32)
    assert takes(64, 48, torch.bfloat16)
    assert not takes(33, 16, torch.float32)
    assert not takes(32, 17, torch.float32)
    assert not takes(32, 0, torch.float32)
    assert not takes(32, 16, torch.float16)
