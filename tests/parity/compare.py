"""Logits of a folder by transformers and by ours, in every way that a sequence can pass through the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from torch import Tensor

from freehold.model.attention import DenseAttend
from freehold.model.transformer import Transformer
from tests.support.plain_cache import PlainCache

__all__ = ["TOLERANCE", "cached_logits", "expected_logits", "largest_difference", "packed_logits", "texts"]

TOLERANCE = 1e-4


def texts(vocab_size: int, lengths: Sequence[int], seed: int = 0) -> list[Tensor]:
    """Random token ids, one tensor for each length."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, vocab_size, (length,), generator=generator) for length in lengths]


@torch.no_grad()
def expected_logits(folder: Path, sequences: Sequence[Tensor]) -> list[Tensor]:
    """What transformers gives for each sequence alone, in float32 with its plainest attention."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return [model(ids[None]).logits[0] for ids in sequences]


@torch.no_grad()
def packed_logits(model: Transformer, sequences: Sequence[Tensor]) -> list[Tensor]:
    """Ours for all sequences in one pass without a cache."""
    lengths = [len(ids) for ids in sequences]
    positions = torch.cat([torch.arange(length) for length in lengths])
    hidden = model(torch.cat(list(sequences)), positions, DenseAttend(lengths))
    return list(model.logits(hidden).split(lengths))


@torch.no_grad()
def cached_logits(model: Transformer, sequences: Sequence[Tensor], chunks: Sequence[int]) -> list[Tensor]:
    """Ours with a cache: every step takes the next chunk of each sequence that has tokens left, together.

    Args:
        model: The model.
        sequences: Their token ids.
        chunks: Most tokens of one sequence in each step; the last entry repeats. `[5, 1]`: 5 at once, then one by one.
    """
    cache = PlainCache()
    done = [0] * len(sequences)
    gathered: list[list[Tensor]] = [[] for _ in sequences]
    step = 0
    while any(count < len(ids) for count, ids in zip(done, sequences, strict=True)):
        most = chunks[min(step, len(chunks) - 1)]
        batch = [(index, min(most, len(ids) - done[index])) for index, ids in enumerate(sequences)]
        batch = [(index, count) for index, count in batch if count > 0]
        tokens = torch.cat([sequences[index][done[index] : done[index] + count] for index, count in batch])
        logits = model.logits(model(tokens, cache.step(batch), cache))
        for (index, count), part in zip(batch, logits.split([count for _, count in batch]), strict=True):
            gathered[index].append(part)
            done[index] += count
        step += 1
    return [torch.cat(parts) for parts in gathered]


def largest_difference(ours: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest absolute difference of any logit of any sequence."""
    return max(float((a - b).abs().max()) for a, b in zip(ours, expected, strict=True))
