"""Each family as published, against transformers: prefill, step by step, alone and batched with different lengths."""

from __future__ import annotations

import pytest
import torch

from freehold.model.transformer import Transformer
from freehold.model.weights import load_model
from tests.parity.compare import (
    TOLERANCE,
    cached_logits,
    expected_logits,
    largest_difference,
    packed_logits,
    texts,
)
from tests.support.tiny_models import KINDS, tiny_folder

LENGTHS = (200, 1, 37, 16)


@pytest.fixture(scope="module", params=KINDS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """(our model, four sequences, what transformers gives for each alone)."""
    folder = tiny_folder(request.param, tmp_path_factory.mktemp(request.param))
    model = load_model(folder, torch.float32)
    sequences = texts(model.config.vocab_size, LENGTHS)
    return model, sequences, expected_logits(folder, sequences)


def test_logits_are_worth_comparing(case):
    _, _, expected = case
    assert expected[0].std() > 0.5


def test_prefill_alone(case):
    model, sequences, expected = case
    ours = [packed_logits(model, [ids])[0] for ids in sequences]
    assert largest_difference(ours, expected) < TOLERANCE


def test_prefill_batched_with_different_lengths(case):
    model, sequences, expected = case
    assert largest_difference(packed_logits(model, sequences), expected) < TOLERANCE


def test_step_by_step_alone(case):
    model, sequences, expected = case
    ours = [cached_logits(model, [ids[:48]], [1])[0] for ids in sequences]
    assert largest_difference(ours, [logits[:48] for logits in expected]) < TOLERANCE


@pytest.mark.parametrize("chunks", [[20, 1], [64], [7, 30, 1, 5]], ids=["prefill-then-steps", "chunks", "uneven"])
def test_batched_with_a_cache(case, chunks: list[int]):
    model, sequences, expected = case
    assert largest_difference(cached_logits(model, sequences, chunks), expected) < TOLERANCE


def test_bfloat16_stays_close_to_float32(case):
    model, sequences, expected = case
    lowered = Transformer.random(model.config, seed=0)
    lowered.load_state_dict(model.state_dict())
    lowered.cast(torch.bfloat16)
    ours = packed_logits(lowered, sequences)
    assert all(logits.dtype == torch.float32 for logits in ours)
    # Half the tokens at least keep their best successor; a wrong formula keeps next to none of 512.
    agreement = torch.cat([a.argmax(-1) == b.argmax(-1) for a, b in zip(ours, expected, strict=True)]).float().mean()
    assert agreement > 0.5
