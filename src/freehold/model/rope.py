"""Rotary position embedding: the tables, and the rotation in both published layouts.

Shapes: P positions, T tokens, r numbers of a head that rotate.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from freehold.model.config import ModelConfig
from freehold.model.rope_config import RopeConfig

__all__ = ["Rope", "inverse_frequencies", "rotate_half_split", "rotate_interleaved"]


class Rope(nn.Module):
    """Cosines and sines of every position, computed once in float32 and picked per step.

    A table rather than a formula, so that a token's rotation does not depend on how many others are in the step.

    Source: RoFormer (arXiv 2104.09864), section 3.4.2; the scalings at `inverse_frequencies`.
    """

    table: Tensor  # (P, r): cosines, then sines

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        frequencies = inverse_frequencies(config.rope, config.rotary_dim)
        angles = torch.arange(config.context_length, dtype=torch.float32, device="cpu")[:, None] * frequencies
        table = torch.cat((angles.cos(), angles.sin()), dim=-1) * config.rope.cos_sin_scale
        self.register_buffer("table", table, persistent=False)

    def forward(self, positions_T: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines for heads, each (T, 1, r/2) in float32.

        Args:
            positions_T: Positions in each token's own sequence, from 0 and under the context length.
        """
        cos, sin = self.table[positions_T].unsqueeze(1).chunk(2, dim=-1)
        return cos, sin


def rotate_half_split(x_THr: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates pairs (i, i + r/2), as Llama's and Qwen's published projections lay them out."""
    first, second = x_THr.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x_THr.dtype)


def rotate_interleaved(x_THr: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates pairs (2i, 2i + 1), as DeepSeek lays them out; the result is half-split, in queries and keys alike."""
    first, second = x_THr[..., 0::2], x_THr[..., 1::2]
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x_THr.dtype)


def inverse_frequencies(rope: RopeConfig, dim: int) -> Tensor:
    """Radians per position of each of the dim/2 pairs, in float32.

    Args:
        rope: Base and scaling. `dynamic` stretches only sequences beyond the model's length, which are refused.
        dim: Numbers of a head that rotate.

    Source: RoFormer, Eq 15; `linear`: position interpolation (arXiv 2306.15595), Eq 4; `yarn`: YaRN (arXiv 2309.00071),
        section 3.2, and `precompute_freqs_cis` of DeepSeek-V3's `inference/model.py`; `llama3`: `apply_scaling` of
        Llama 3.1's `models/llama3/model.py`.
    """
    frequencies = 1.0 / (rope.rope_theta ** (torch.arange(0, dim, 2, dtype=torch.float32, device="cpu") / dim))
    match rope.rope_type:
        case "default" | "dynamic":
            return frequencies
        case "linear":
            return frequencies / rope.factor
        case "yarn":
            return _yarn(frequencies, rope, dim)
        case "llama3":
            return _llama3(frequencies, rope)


def _yarn(frequencies: Tensor, rope: RopeConfig, dim: int) -> Tensor:
    low, high = _dimension_turning(rope.beta_fast, rope, dim), _dimension_turning(rope.beta_slow, rope, dim)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001
    interpolated = ((torch.arange(dim // 2, dtype=torch.float32, device="cpu") - low) / (high - low)).clamp(0, 1)
    return frequencies / rope.factor * interpolated + frequencies * (1 - interpolated)


def _dimension_turning(rotations: float, rope: RopeConfig, dim: int) -> float:
    """Which dimension turns so many times over the original length."""
    wavelength = rope.original_max_position_embeddings / (rotations * 2 * math.pi)
    return dim * math.log(wavelength) / (2 * math.log(rope.rope_theta))


def _llama3(frequencies: Tensor, rope: RopeConfig) -> Tensor:
    original = rope.original_max_position_embeddings
    turns = original * frequencies / (2 * math.pi)
    kept = ((turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)).clamp(0, 1)
    return frequencies / rope.factor * (1 - kept) + frequencies * kept
