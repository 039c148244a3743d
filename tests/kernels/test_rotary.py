"""The three-operation rotation against the model's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from freehold.kernels.rotary import PackedRope, rotate_packed
from freehold.model.config import ModelConfig
from freehold.model.rope import Rope, rotate_half_split
from tests.support.tiny_models import tiny_folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_rotates_as_the_plain_form_does(dtype: torch.dtype, tmp_path: Path) -> None:
    rope = Rope(ModelConfig.from_folder(tiny_folder("llama", tmp_path / "tiny")))
    positions = torch.tensor([0, 1, 7, 300])
    size = rope.table.shape[-1]
    x = torch.randn(4, 6, size, generator=torch.Generator().manual_seed(0)).to(dtype)
    actual = rotate_packed(x, *PackedRope(rope, dtype)(positions))
    expected = rotate_half_split(x, *rope(positions))
    assert actual.dtype == dtype
    tolerance = 1e-6 if dtype == torch.float32 else 2.0**-6
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)
    assert torch.equal(actual[0], x[0])
