from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.engine.sampler import Sampled, SamplerState, sample, uniform
from freehold.errors import EngineError
from freehold.types import SamplingParams

CPU = torch.device("cpu")


def state(params: SamplingParams, prompt: tuple[int, ...] = (0,), index: int = 0) -> SamplerState:
    return SamplerState(params, index, prompt, CPU)


def one(logits: Any, params: SamplingParams, position: int = 0, **more: Any) -> Sampled:
    row = torch.tensor(np.asarray(logits, dtype=np.float32))[None]
    return sample(row, [state(params, **more)], [position], [None])[0]


def brute_force(
    logits: np.ndarray, params: SamplingParams, prompt: tuple[int, ...], written: tuple[int, ...]
) -> np.ndarray:
    """The distribution that `SamplingParams` documents, step by step in float64."""
    scores = logits.astype(np.float64).copy()
    for token, bias in params.logit_bias.items():
        scores[token] += bias
    for token in {*prompt, *written}:
        scores[token] *= 1 / params.repetition_penalty if scores[token] > 0 else params.repetition_penalty
    for token in set(written):
        scores[token] -= params.presence_penalty + params.frequency_penalty * written.count(token)
    if params.temperature == 0:
        result = np.zeros_like(scores)
        result[int(np.argmax(scores))] = 1
        return result
    weights = np.exp((scores - scores.max()) / params.temperature)
    ranked = sorted(range(len(scores)), key=lambda token: (-weights[token], token))
    kept = ranked[: params.top_k] if params.top_k else ranked
    mass = sum(weights[token] for token in kept)
    if params.top_p < 1:
        reached, count = 0.0, 0
        for token in kept:
            reached += weights[token]
            count += 1
            if reached >= params.top_p * mass:
                break
        nucleus = kept[:count]
    else:
        nucleus = kept
    final = [token for token in nucleus if weights[token] >= params.min_p] or ranked[:1]
    result = np.zeros_like(scores)
    result[final] = weights[final]
    return result / result.sum()


VOCAB = 12
logit = st.integers(-8, 8).map(lambda n: n / 2)  # a coarse grid, so that equals are common


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    logits=st.lists(logit, min_size=VOCAB, max_size=VOCAB),
    temperature=st.sampled_from([0.0, 0.3, 0.7, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 2, 5, 11, 12, 40]),
    top_p=st.sampled_from([1.0, 0.93, 0.61, 0.37, 0.001]),
    min_p=st.sampled_from([0.0, 0.021, 0.31, 1.0]),
    # exact in float32 too, so that equals stay equal
    presence=st.sampled_from([0.0, 1.25, -0.75]),
    frequency=st.sampled_from([0.0, 0.5, -0.625]),
    repetition=st.sampled_from([1.0, 2.0, 0.5]),
    bias=st.dictionaries(st.integers(0, VOCAB - 1), st.sampled_from([-100.0, -1.25, 2.5]), max_size=3),
    prompt=st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=4).map(tuple),
    written=st.lists(st.integers(0, VOCAB - 1), max_size=6).map(tuple),
)
def test_what_is_drawn_follows_the_documented_distribution(
    logits: list[float],
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    presence: float,
    frequency: float,
    repetition: float,
    bias: dict[int, float],
    prompt: tuple[int, ...],
    written: tuple[int, ...],
) -> None:
    params = SamplingParams(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        presence_penalty=presence,
        frequency_penalty=frequency,
        repetition_penalty=repetition,
        logit_bias=bias,
        seed=5,
    )
    values = np.array(logits, dtype=np.float32)
    wanted = brute_force(values, params, prompt, written)
    row = torch.tensor(values)[None]
    sampler = state(params, prompt)
    for token in written:
        sampler.record(token)
    draws = 400
    many = row.repeat(draws, 1)
    counts = np.zeros(VOCAB)
    for sampled in sample(many, [sampler] * draws, list(range(draws)), [None] * draws):
        counts[sampled.token_id] += 1
    # a cut that falls within rounding of a boundary may go either way; elsewhere nothing outside it is ever drawn
    borderline = brute_force(values, _nudged(params), prompt, written) + wanted
    assert counts[borderline == 0].sum() == 0
    sure = np.minimum(wanted, brute_force(values, _nudged(params), prompt, written))
    spread = 5 * np.sqrt(draws * np.maximum(sure * (1 - sure), 1e-9)) + 2
    if ((borderline > 0) == (wanted > 0)).all():
        assert (np.abs(counts - draws * wanted) <= spread).all()


def _nudged(params: SamplingParams) -> SamplingParams:
    return replace(params, top_p=min(1.0, params.top_p * (1 + 1e-5)), min_p=params.min_p * (1 - 1e-5))


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([0.0, 0.2, 3.0]),
    params=st.sampled_from(
        [
            SamplingParams(seed=1),
            SamplingParams(top_p=0.999, seed=1),
            SamplingParams(top_p=0.5, seed=1),
            SamplingParams(top_k=700, seed=1),
            SamplingParams(top_k=300, top_p=0.9, seed=1),
            SamplingParams(min_p=0.001, seed=1),
            SamplingParams(min_p=0.2, temperature=0.5, seed=1),
        ]
    ),
)
def test_cuts_that_reach_beyond_the_first_candidates_are_exact(
    seed: int, spread: float, params: SamplingParams
) -> None:
    """Over a vocabulary larger than the candidates first looked at, each draw inverts the brute-force distribution."""
    values = (np.random.default_rng(seed).standard_normal(5000) * spread).astype(np.float32)
    wanted = brute_force(values, params, (), ())
    ranked = list(range(len(values)))
    if params != SamplingParams(
        seed=1
    ):  # cumulated from the most probable on; a whole distribution, in the order of ids
        ranked.sort(key=lambda token: (-wanted[token], token))
    cumulated = np.cumsum(wanted[ranked])
    for position in range(4):
        number = uniform(1, 0, position)
        token = one(values, params, position).token_id
        place = ranked.index(token)
        assert cumulated[place] >= number - 1e-5
        assert (cumulated[place - 1] if place else 0.0) <= number + 1e-5


def test_a_seeded_row_is_the_same_alone_and_among_others() -> None:
    torch.manual_seed(0)
    logits_BV = torch.randn(6, 300) * 2
    kinds = [
        SamplingParams(seed=3),
        SamplingParams(temperature=0),
        SamplingParams(seed=4, top_p=0.8),
        SamplingParams(seed=4, top_k=5, temperature=0.3),
        SamplingParams(seed=-9, min_p=0.1, frequency_penalty=1.0),
        SamplingParams(seed=2**64 - 1, repetition_penalty=1.2, logit_bias={3: 9.0}),
    ]
    states = [state(params) for params in kinds]
    together = sample(logits_BV, states, [7] * 6, [None] * 6)
    for row in range(6):
        assert sample(logits_BV[row : row + 1], [states[row]], [7], [None])[0] == together[row]


def test_answers_positions_and_seeds_draw_different_numbers() -> None:
    numbers = [uniform(seed, index, position) for seed in (0, 1) for index in (0, 1) for position in range(50)]
    assert len(set(numbers)) == len(numbers)
    assert all(0 <= number < 1 for number in numbers)
    assert abs(np.mean([uniform(9, 0, position) for position in range(4000)]) - 0.5) < 0.02


def test_requests_without_a_seed_differ() -> None:
    assert state(SamplingParams()).seed != state(SamplingParams()).seed


@pytest.mark.parametrize("temperature", [1e-300, 1e-30, 1e-6])
def test_a_tiny_temperature_is_greedy_and_not_nan(temperature: float) -> None:
    assert one([1.0, 5.0, 4.0, -1e4], SamplingParams(temperature=temperature, seed=0)).token_id == 1


def test_log_probabilities_are_the_models_own() -> None:
    logits = [0.5, 2.0, 1.0, -3.0]
    params = SamplingParams(temperature=0.1, logit_bias={3: 100.0}, presence_penalty=2.0, top_k=1, logprobs=2, seed=0)
    sampled = one(logits, params)
    exact = np.array(logits) - math.log(sum(math.exp(x) for x in logits))
    assert sampled.token_id == 3
    assert sampled.logprob == pytest.approx(exact[3], abs=1e-5)
    assert [token for token, _ in sampled.top] == [1, 2]
    assert [value for _, value in sampled.top] == pytest.approx([exact[1], exact[2]], abs=1e-5)


def test_zero_alternatives_report_the_chosen_token_alone() -> None:
    sampled = one([0.0, 1.0], SamplingParams(temperature=0, logprobs=0))
    assert sampled.top == ()
    assert sampled.logprob == pytest.approx(-math.log(1 + math.exp(-1)), abs=1e-6)


def test_a_forced_token_is_taken_and_its_log_probability_is_true() -> None:
    logits_BV = torch.tensor([[0.0, 3.0, 1.0]])
    sampled = sample(logits_BV, [state(SamplingParams(logprobs=1, seed=0))], [0], [2])[0]
    assert sampled.token_id == 2
    assert sampled.logprob == pytest.approx(float(logits_BV.log_softmax(-1)[0, 2]), abs=1e-6)


def test_sampling_leaves_the_logits_alone() -> None:
    logits_BV = torch.randn(2, 50)
    before = logits_BV.clone()
    params = SamplingParams(repetition_penalty=2.0, logit_bias={1: 5.0}, top_p=0.5)
    sample(logits_BV, [state(params), state(SamplingParams())], [0, 0], [None, None])
    assert torch.equal(logits_BV, before)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_an_error(bad: float) -> None:
    with pytest.raises(EngineError, match="not finite"):
        one([0.0, bad, 1.0], SamplingParams())


def test_a_forbidden_token_is_never_drawn() -> None:
    logits_BV = torch.full((200, 3), -math.inf)
    logits_BV[:, 1:] = 0.0
    states = [state(SamplingParams(seed=seed)) for seed in range(200)]
    drawn = {sampled.token_id for sampled in sample(logits_BV, states, [0] * 200, [None] * 200)}
    assert drawn == {1, 2}
