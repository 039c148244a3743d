"""Rotary embedding against complex multiplication and against transformers' frequencies."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from freehold.model.config import ModelConfig
from freehold.model.rope import Rope, inverse_frequencies, rotate_half_split, rotate_interleaved
from freehold.model.rope_config import rope_config

SCALINGS: list[dict[str, Any]] = [
    {"rope_type": "linear", "factor": 4.0},
    {"rope_type": "dynamic", "factor": 2.0},
    {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768, "truncate": False},
    {
        "rope_type": "yarn",
        "factor": 40.0,
        "original_max_position_embeddings": 4096,
        "mscale": 1.0,
        "mscale_all_dim": 0.5,
        "beta_fast": 16,
        "beta_slow": 2,
    },
    {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
]


@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda scaling: str(scaling["rope_type"]))
@pytest.mark.parametrize("theta", [10000.0, 500000.0])
def test_frequencies_and_correction_are_transformers(scaling: dict[str, Any], theta: float):
    parameters = scaling | {"rope_theta": theta}
    theirs, factor = ROPE_INIT_FUNCTIONS[scaling["rope_type"]](
        LlamaConfig(hidden_size=128, num_attention_heads=2, max_position_embeddings=32768, rope_parameters=parameters)
    )
    rope = rope_config({"rope_parameters": parameters}, 32768)
    torch.testing.assert_close(inverse_frequencies(rope, 64), theirs, rtol=1e-6, atol=0)
    assert rope.cos_sin_scale == pytest.approx(factor)


def config(head_dim: int = 16) -> ModelConfig:
    return ModelConfig(
        architecture="LlamaForCausalLM",
        vocab_size=8,
        hidden_size=head_dim,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=head_dim,
        max_position_embeddings=100,
    )


def turned(pairs: torch.Tensor, positions: list[int], dim: int) -> torch.Tensor:
    """Complex numbers (T, H, dim/2) turned by position * 10000^(-2i/dim), in float64."""
    frequencies = 10000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angles = torch.tensor(positions, dtype=torch.float64)[:, None] * frequencies
    return pairs * torch.polar(torch.ones_like(angles), angles)[:, None]


def test_half_split_layout_is_complex_multiplication():
    x = torch.randn(3, 2, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    positions = [0, 7, 99]
    expected = turned(torch.complex(x[..., :8], x[..., 8:]), positions, 16)
    ours = rotate_half_split(x, *Rope(config())(torch.tensor(positions)))
    torch.testing.assert_close(ours, torch.cat((expected.real, expected.imag), -1), rtol=1e-5, atol=1e-5)


def test_interleaved_layout_is_complex_multiplication_written_half_split():
    x = torch.randn(3, 2, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    positions = [1, 50, 98]
    expected = turned(torch.view_as_complex(x.view(3, 2, 8, 2)), positions, 16)
    ours = rotate_interleaved(x, *Rope(config())(torch.tensor(positions)))
    torch.testing.assert_close(ours, torch.cat((expected.real, expected.imag), -1), rtol=1e-5, atol=1e-5)


def test_a_rotation_does_not_depend_on_what_else_is_in_the_step():
    rope = Rope(config())
    together = rope(torch.arange(100))
    for position in (0, 3, 99):
        alone = rope(torch.tensor([position]))
        assert torch.equal(alone[0][0], together[0][position])
        assert torch.equal(alone[1][0], together[1][position])


def test_rotation_keeps_the_type_of_its_input():
    cos_sin = Rope(config())(torch.arange(4))
    assert rotate_half_split(torch.ones(4, 1, 16, dtype=torch.bfloat16), *cos_sin).dtype == torch.bfloat16
    assert rotate_interleaved(torch.ones(4, 1, 16, dtype=torch.bfloat16), *cos_sin).dtype == torch.bfloat16


def test_a_position_beyond_the_context_is_an_error():
    with pytest.raises(IndexError):
        Rope(config())(torch.tensor([100]))
