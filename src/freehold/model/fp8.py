"""FP8 weights with one scale per block, as DeepSeek publishes V3 and R1."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["dequantise_blocks", "scale_shape"]


def scale_shape(shape: tuple[int, ...], block: tuple[int, int]) -> tuple[int, ...]:
    """Shape of `weight_scale_inv` for a weight of this shape: a block cut off at an edge still has a scale."""
    return tuple(-(-side // size) for side, size in zip(shape, block, strict=True))


def dequantise_blocks(weight: Tensor, scale_inv: Tensor, block: tuple[int, int], out: Tensor) -> None:
    """Multiplies every block of an e4m3 matrix with its scale.

    Works in bands of one block's height, so that no float32 copy of the whole matrix comes to be.

    Args:
        weight: (rows, columns) in float8_e4m3fn.
        scale_inv: (ceil(rows / block rows), ceil(columns / block columns)); despite its name the factor itself.
        block: Rows and columns that share a scale; 128 and 128 as published.
        out: (rows, columns) of any type, written; the product is formed in float32 and rounded.

    Source: DeepSeek-V3 report, section 3.3.2; `README_WEIGHTS.md`, "Dequantization Method".
    """
    rows, columns = weight.shape
    scales = scale_inv.float().repeat_interleave(block[1], dim=1)[:, :columns]
    scratch = torch.empty(block[0], columns)
    for index, top in enumerate(range(0, rows, block[0])):
        band = weight[top : top + block[0]]
        out[top : top + block[0]] = scratch[: len(band)].copy_(band).mul_(scales[index])
