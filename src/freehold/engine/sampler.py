"""The next token of every sequence in a step, from the model's logits.

The order is that of `SamplingParams`: logit bias, repetition, presence and frequency penalties, temperature, then
top-k, top-p and min-p on the tempered distribution. Each cut keeps a number of the most probable tokens: top-k keeps
k, top-p the fewest whose probabilities, renormalised after top-k, reach p, min-p those with at least that share of the
most probable one's probability; the smallest number counts. Equally probable tokens rank by id, so that the numbers
are exact.

A token is drawn by inverting the cumulative distribution at one number in [0, 1), a hash of the request's seed, the
answer's index and the token's position. So the numbers of a seeded answer are the same whatever else is in the batch,
after a preemption too, and with equal logits the answer is.

Shapes: B rows of a step, V vocabulary, K candidates, N tokens that occurred or spans of the vocabulary, S tokens of a
span; R those rows of B that a function is about.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from freehold.errors import EngineError
from freehold.types import SEED_BITS, SamplingParams

__all__ = ["Sampled", "SamplerState", "sample", "uniform"]

_CANDIDATES = 256
"""Most probable tokens that are looked at first; more are taken where a cut reaches beyond them."""

_SPAN = 512
"""Neighbouring tokens whose weights are first summed when a whole distribution is cumulated."""

_BELOW_ONE = 1.0 - 2.0**-52


@dataclass(frozen=True, slots=True)
class Sampled:
    """A token chosen, its raw log-probability, and the most probable alternatives as (id, log-probability)."""

    token_id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class SamplerState:
    """What sampling remembers of one answer: its seed and, where penalties are on, which tokens have occurred.

    Args:
        params: How to sample.
        index: Which of the request's answers.
        prompt: The prompt's token ids, for the repetition penalty.
        device: Of the logits.
    """

    def __init__(self, params: SamplingParams, index: int, prompt: Sequence[int], device: torch.device) -> None:
        self.params = params
        self.index = index
        self.seed = secrets.randbits(SEED_BITS) if params.seed is None else params.seed % 2**SEED_BITS
        self.greedy = params.temperature == 0.0
        self.filtered = not self.greedy and (params.top_k > 0 or params.top_p < 1.0 or params.min_p > 0.0)
        self.adjusts = bool(
            params.logit_bias or params.repetition_penalty != 1.0 or params.presence_penalty or params.frequency_penalty
        )
        penalises = params.repetition_penalty != 1.0 or params.presence_penalty or params.frequency_penalty
        self._occurrences = _Occurrences(prompt, device) if penalises else None
        self._bias: tuple[Tensor, Tensor] | None = None
        if params.logit_bias:
            ids = torch.tensor(list(params.logit_bias), device=device)
            self._bias = (ids, torch.tensor(list(params.logit_bias.values()), dtype=torch.float32, device=device))

    def record(self, token_id: int) -> None:
        """Counts a token that was written."""
        if self._occurrences is not None:
            self._occurrences.add(token_id)

    def adjust_(self, logits_V: Tensor) -> None:
        """Applies bias and penalties to this answer's row of logits, in place."""
        params = self.params
        if self._bias is not None:
            logits_V.index_add_(0, *self._bias)
        if self._occurrences is not None:
            ids_N, written_N = self._occurrences.ids, self._occurrences.written
            values_N = logits_V.index_select(0, ids_N)
            penalty = params.repetition_penalty
            values_N = torch.where(values_N > 0, values_N / penalty, values_N * penalty)
            values_N -= (written_N > 0) * params.presence_penalty + written_N * params.frequency_penalty
            logits_V.index_copy_(0, ids_N, values_N)


class _Occurrences:
    """The different tokens of a prompt and its answer, and how often each was written in the answer."""

    def __init__(self, prompt: Sequence[int], device: torch.device) -> None:
        unique = list(dict.fromkeys(prompt))
        self._place = {token_id: place for place, token_id in enumerate(unique)}
        capacity = 2 * len(unique) + 64
        self._ids = torch.zeros(capacity, dtype=torch.long, device=device)
        self._ids[: len(unique)] = torch.tensor(unique, dtype=torch.long, device=device)
        self._written = torch.zeros(capacity, device=device)

    @property
    def ids(self) -> Tensor:
        """Each token once, (N,)."""
        return self._ids[: len(self._place)]

    @property
    def written(self) -> Tensor:
        """How often each was written, (N,); 0 for those of the prompt alone."""
        return self._written[: len(self._place)]

    def add(self, token_id: int) -> None:
        """Counts a token written."""
        place = self._place.setdefault(token_id, len(self._place))
        if place == len(self._ids):
            self._ids = torch.cat((self._ids, torch.zeros_like(self._ids)))
            self._written = torch.cat((self._written, torch.zeros_like(self._written)))
        self._ids[place] = token_id
        self._written[place] += 1.0


def uniform(seed: int, index: int, position: int) -> float:
    """A number in [0, 1) with 52 bits, the same for the same seed, answer and position."""
    digest = hashlib.blake2b(struct.pack("<QQQ", seed, index, position), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 12) / 2.0**52


def sample(
    logits_BV: Tensor, states: Sequence[SamplerState], positions: Sequence[int], forced: Sequence[int | None]
) -> list[Sampled]:
    """Chooses each row's next token.

    Args:
        logits_BV: The model's logits, float32. Not changed.
        states: One a row. Not changed; call `record` with what was chosen.
        positions: How many tokens each answer has already.
        forced: A token that is taken whatever the logits, or None. Its log-probability is reported truly.

    Raises:
        EngineError: Logits that are not finite.
    """
    best_B, chosen_B = logits_BV.max(-1)
    if not bool(torch.isfinite(best_B).all()):
        raise EngineError("The model gave logits that are not finite: its weights are damaged, or overflow here.")
    adjusting = [row for row, state in enumerate(states) if state.adjusts]
    adjusted_BV = logits_BV
    if adjusting:
        adjusted_BV = logits_BV.clone()
        for row in adjusting:
            states[row].adjust_(adjusted_BV[row])
        chosen_B = adjusted_BV.max(-1).indices
    drawn = [row for row, state in enumerate(states) if not state.greedy and forced[row] is None]
    for rows, draw in (
        ([row for row in drawn if not states[row].filtered], _draw_plain),
        ([row for row in drawn if states[row].filtered], _draw_filtered),
    ):
        if rows:
            whole = len(rows) == len(states)
            index = torch.tensor(rows, device=logits_BV.device)
            picked = draw(
                adjusted_BV if whole else adjusted_BV[index],
                [states[row].params for row in rows],
                [uniform(states[row].seed, states[row].index, positions[row]) for row in rows],
            )
            chosen_B[index] = picked
    ids = [token if override is None else override for token, override in zip(chosen_B.tolist(), forced, strict=True)]
    return _with_logprobs(logits_BV, states, ids)


def _with_logprobs(logits_BV: Tensor, states: Sequence[SamplerState], ids: list[int]) -> list[Sampled]:
    wanted = [row for row, state in enumerate(states) if state.params.logprobs is not None]
    result = [Sampled(token_id) for token_id in ids]
    if not wanted:
        return result
    logits_RV = logits_BV[torch.tensor(wanted, device=logits_BV.device)]
    log_total_R1 = logits_RV.logsumexp(-1, keepdim=True)
    chosen_R1 = torch.tensor([[ids[row]] for row in wanted], device=logits_BV.device)
    logprobs = (logits_RV.gather(1, chosen_R1) - log_total_R1)[:, 0].tolist()
    most = min(max(states[row].params.logprobs or 0 for row in wanted), logits_BV.shape[1])
    top_RK, top_ids_RK = logits_RV.topk(most, -1)
    top, top_ids = (top_RK - log_total_R1).tolist(), top_ids_RK.tolist()
    for place, row in enumerate(wanted):
        count = states[row].params.logprobs or 0
        pairs = tuple(zip(top_ids[place][:count], top[place][:count], strict=True))
        result[row] = Sampled(ids[row], logprobs[place], pairs)
    return result


def _temperatures(params: Sequence[SamplingParams], device: torch.device) -> Tensor:
    """Temperatures (B, 1); one below float32's smallest number would divide 0 by 0, and is that instead."""
    tiny = torch.finfo(torch.float32).tiny
    return torch.tensor([[max(p.temperature, tiny)] for p in params], device=device)


def _draw_plain(logits_BV: Tensor, params: Sequence[SamplingParams], numbers: Sequence[float]) -> Tensor:
    """Draws from the whole tempered distribution, cumulated in the order of ids: first over spans of it, then inside
    one.

    The largest logit is made 0, so that no temperature overflows. Large tensors are made once: fresh memory costs more
    than the arithmetic.
    """
    rows, vocab = logits_BV.shape
    spans = -(-vocab // _SPAN)
    weights_BV = logits_BV.new_zeros(rows, spans * _SPAN)
    inner_BV = weights_BV[:, :vocab]
    torch.sub(logits_BV, logits_BV.amax(-1, keepdim=True), out=inner_BV)
    inner_BV.div_(_temperatures(params, logits_BV.device)).exp_()
    weights_BNS = weights_BV.view(rows, spans, _SPAN)
    mass_BN = weights_BNS.sum(-1, dtype=torch.float64)
    span_B, share_B = _invert(mass_BN, torch.tensor(numbers, dtype=torch.float64, device=logits_BV.device))
    inside_BS = weights_BNS[torch.arange(rows, device=logits_BV.device), span_B].double()
    return span_B * _SPAN + _invert(inside_BS, share_B)[0]


def _draw_filtered(logits_BV: Tensor, params: Sequence[SamplingParams], numbers: Sequence[float]) -> Tensor:
    """Draws from what top-k, top-p and min-p leave, cumulated from the most probable token on."""
    vocab, device = logits_BV.shape[1], logits_BV.device
    temperature_B1 = _temperatures(params, device)
    best_B1 = logits_BV.amax(-1, keepdim=True)
    total_B = torch.ones(len(params), dtype=torch.float64, device=device)
    if any(p.top_p < 1.0 and p.top_k == 0 for p in params):
        total_B = (logits_BV - best_B1).div_(temperature_B1).exp_().sum(-1, dtype=torch.float64)
    number_B = torch.tensor(numbers, dtype=torch.float64, device=device)
    picked_B = torch.empty(len(params), dtype=torch.long, device=device)
    rows = list(range(len(params)))
    width = min(vocab, max(_CANDIDATES, *(p.top_k + 1 for p in params)))
    while rows:
        whole = len(rows) == len(params)
        index = torch.tensor(rows, device=device)
        values_RK, ids_RK = _candidates(logits_BV if whole else logits_BV[index], width)
        weights_RK = ((values_RK - best_B1[index]) / temperature_B1[index]).double().exp_()
        keep_R = _kept([params[row] for row in rows], weights_RK, total_B[index])
        last_R1 = (keep_R - 1)[:, None]
        # an end among equals of which some may lie beyond the candidates is not settled yet
        settled_R = torch.ones_like(keep_R, dtype=torch.bool)
        if width < vocab:
            settled_R = values_RK.gather(1, last_R1)[:, 0] > values_RK[:, -1]
        weights_RK.masked_fill_(torch.arange(width, device=device)[None] > last_R1, 0.0)
        place_R = _invert(weights_RK, number_B[index])[0]
        picked_B[index] = ids_RK.gather(1, place_R[:, None])[:, 0]
        rows = [row for row, settled in zip(rows, settled_R.tolist(), strict=True) if not settled]
        width = min(vocab, width * 8)
    return picked_B


def _candidates(logits_RV: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The `width` most probable tokens, best first, equals by id."""
    if width == logits_RV.shape[1]:
        values_RK, ids_RK = logits_RV.sort(stable=True, dim=-1, descending=True)
        return values_RK, ids_RK
    ids_RK = logits_RV.topk(width, -1, sorted=False).indices.sort(-1).values
    values_RK, order_RK = logits_RV.gather(1, ids_RK).sort(stable=True, dim=-1, descending=True)
    return values_RK, ids_RK.gather(1, order_RK)


def _kept(params: Sequence[SamplingParams], weights_RK: Tensor, total_R: Tensor) -> Tensor:
    """How many candidates the cuts leave in each row, at least 1."""
    width = weights_RK.shape[1]

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=weights_RK.device)

    cumulated_RK = weights_RK.cumsum(-1)
    by_k_R = column([float(p.top_k or width) for p in params]).clamp_max(width).long()
    whole_R = torch.tensor([p.top_k == 0 for p in params], device=weights_RK.device)
    mass_R = torch.where(whole_R, total_R, cumulated_RK.gather(1, (by_k_R - 1)[:, None])[:, 0])
    top_p_R = column([p.top_p for p in params])
    by_p_R = (cumulated_RK < (top_p_R * mass_R)[:, None]).sum(-1) + 1
    by_p_R = torch.where(top_p_R < 1.0, by_p_R, width)
    by_min_R = (weights_RK >= column([p.min_p for p in params])[:, None]).sum(-1)
    return torch.minimum(torch.minimum(by_k_R, by_p_R), by_min_R).clamp(1, width)


def _invert(weights_BK: Tensor, number_B: Tensor) -> tuple[Tensor, Tensor]:
    """Finds the first place where the cumulated weight passes a number's share of the whole.

    Returns:
        The places, never of weight 0, and how far into the place's own weight the number falls, in [0, 1).
    """
    cumulated_BK = weights_BK.cumsum(-1)
    reach_B1 = (number_B * cumulated_BK[:, -1])[:, None]
    place_B1 = torch.searchsorted(cumulated_BK, reach_B1, right=True)
    weight_B1 = weights_BK.gather(1, place_B1)
    into_B1 = reach_B1 - (cumulated_BK.gather(1, place_B1) - weight_B1)
    return place_B1[:, 0], (into_B1 / weight_B1)[:, 0].clamp(0.0, _BELOW_ONE)
