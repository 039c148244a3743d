"""Packed matrix products against their plain twins: values, epilogues, odd shapes, refilling, batch invariance."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from freehold.errors import WeightsError
from freehold.kernels import forms
from freehold.kernels.forms import fused_linear
from freehold.kernels.linear import FusedLinear, PackedLinear, PlainLinear, packs

SHAPES = [(1, 8), (8, 1), (5, 7), (100, 48), (64, 64), (96, 576), (192, 1536)]
DTYPES = [dtype for dtype in (torch.float32, torch.bfloat16) if packs(dtype)]


def drawn(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def close(actual: Tensor, expected: Tensor, scale: float) -> None:
    tolerance = (1e-5 if actual.dtype == torch.float32 else 2.0**-6) * scale
    torch.testing.assert_close(actual.float(), expected.float(), rtol=tolerance, atol=tolerance)


def test_float32_is_packed_wherever_onednn_is() -> None:
    assert packs(torch.float32) == torch.backends.mkldnn.is_available()
    assert not packs(torch.float16)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", [0, 1, 2, 17])
@pytest.mark.parametrize("biased", [False, True])
def test_packed_equals_plain(dtype: torch.dtype, shape: tuple[int, int], rows: int, biased: bool) -> None:
    outputs, inputs = shape
    weight = drawn(outputs, inputs, dtype=dtype) / inputs**0.5
    bias = drawn(outputs, dtype=dtype, seed=1) if biased else None
    packed, plain = PackedLinear(weight, bias), PlainLinear(weight, bias)
    x, other = drawn(rows, inputs, dtype=dtype, seed=2), drawn(rows, outputs, dtype=dtype, seed=3)
    # the reference keeps float32 throughout, as the packed form does until its one rounding
    wide = F.linear(x.float(), weight.float(), None if bias is None else bias.float())
    for layer in (packed, plain):
        close(layer(x), wide, 1)
        close(layer.silu(x), F.silu(wide), 1)
        close(layer.add(x, other), other.float() + wide, 2)
        close(layer.mul(x, other), other.float() * wide, 4)
    assert torch.equal(packed.weight, weight)
    assert torch.equal(plain.weight, weight)
    assert packed.nbytes == plain.nbytes == (outputs * inputs + (outputs if biased else 0)) * dtype.itemsize


@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_may_be_slices(dtype: torch.dtype) -> None:
    packed = PackedLinear(drawn(24, 32, dtype=dtype), None)
    wide, other = drawn(5, 48, dtype=dtype), drawn(5, 30, dtype=dtype)
    assert torch.equal(packed(wide[:, 8:40]), packed(wide[:, 8:40].contiguous()))
    assert torch.equal(
        packed.add(wide[:, :32], other[:, 3:27]), packed.add(wide[:, :32].clone(), other[:, 3:27].clone())
    )


@pytest.mark.parametrize("form", [PackedLinear, PlainLinear])
def test_weights_are_copied_and_can_be_changed(form: type[FusedLinear]) -> None:
    weight, bias = drawn(6, 4, dtype=torch.float32), drawn(6, dtype=torch.float32)
    layer, x = form(weight, bias), drawn(3, 4, dtype=torch.float32, seed=1)
    before = layer(x)
    expected = F.linear(x, weight, bias)
    weight.zero_()
    bias.zero_()
    close(layer(x), expected, 1)
    assert torch.equal(layer(x), before)
    fresh, fresh_bias = drawn(6, 4, dtype=torch.float64, seed=2), drawn(6, dtype=torch.float64, seed=3)
    layer.load(fresh, fresh_bias)
    close(layer(x), F.linear(x, fresh.float(), fresh_bias.float()), 1)


@pytest.mark.parametrize("form", [PackedLinear, PlainLinear])
def test_a_weight_that_does_not_fit_is_refused(form: type[FusedLinear]) -> None:
    layer = form(torch.zeros(6, 4), None)
    with pytest.raises(WeightsError, match=r"\[6, 5\] cannot go .* \[6, 4\]"):
        layer.load(torch.zeros(6, 5))
    with pytest.raises(WeightsError, match="has no bias"):
        layer.load(torch.zeros(6, 4), torch.zeros(6))
    with pytest.raises(WeightsError, match="has bias of 6 numbers; got none"):
        form(torch.zeros(6, 4), torch.zeros(6)).load(torch.zeros(6, 4))


@pytest.mark.parametrize("biased", [False, True])
def test_layers_of_one_input_become_one(biased: bool) -> None:
    parts = [nn.Linear(12, width, bias=biased) for width in (8, 3, 5)]
    x = drawn(4, 12, dtype=torch.float32)
    close(fused_linear(*parts)(x), torch.cat([part(x) for part in parts], 1), 1)


def test_without_a_packed_form_the_twin_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "packs", lambda _: False)
    assert isinstance(fused_linear(nn.Linear(4, 4)), PlainLinear)


@pytest.mark.parametrize("shape", [(96, 576), (64, 1536), (40, 4096), (7, 33)])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_float32_row_does_not_depend_on_the_others(shape: tuple[int, int], threads: int) -> None:
    outputs, inputs = shape
    layer = PackedLinear(drawn(outputs, inputs, dtype=torch.float32) / inputs**0.5, None)
    x, other = drawn(64, inputs, dtype=torch.float32, seed=1), drawn(64, outputs, dtype=torch.float32, seed=2)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = layer(x), layer.silu(x), layer.add(x, other), layer.mul(x, other)
        for count in (1, 2, 3, 8, 15, 16, 17, 31, 32, 33, 63):
            few, beside = x[:count], other[:count]
            alone = layer(few), layer.silu(few), layer.add(few, beside), layer.mul(few, beside)
            for one, all_ in zip(alone, together, strict=True):
                torch.testing.assert_close(one, all_[:count], rtol=1e-5, atol=1e-5)
                if "AVX512" in torch.backends.cpu.get_cpu_capability():
                    assert torch.equal(one, all_[:count])
    finally:
        torch.set_num_threads(before)
