"""The next token of every sequence in a step, from the model's logits.

The order is that of `SamplingParams`: logit bias, repetition, presence and frequency penalties, temperature, then
top-k, top-p and min-p on the tempered distribution. Each cut keeps a number of the most probable tokens: top-k keeps
k, top-p the fewest whose probabilities, renormalised after top-k, reach p, min-p those with at least that share of the
most probable one's probability; the smallest number counts. Equally probable tokens rank by id, so that the numbers
are exact.

A token is drawn by inverting the cumulative distribution at one number in [0, 1), a hash of the request's seed, the
answer's index and the token's position. So a seeded answer is the same whatever else is in the batch, after a
preemption too.

Shapes: B rows of a step, V vocabulary, K candidates.
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
        vocab: Width of the logits.
        device: Of the logits.
    """

    def __init__(
        self, params: SamplingParams, index: int, prompt: Sequence[int], vocab: int, device: torch.device
    ) -> None:
        self.params = params
        self.index = index
        self.seed = secrets.randbits(SEED_BITS) if params.seed is None else params.seed % 2**SEED_BITS
        self.greedy = params.temperature == 0.0
        self.filtered = not self.greedy and (params.top_k > 0 or params.top_p < 1.0 or params.min_p > 0.0)
        self.adjusts = bool(
            params.logit_bias or params.repetition_penalty != 1.0 or params.presence_penalty or params.frequency_penalty
        )
        self._counts_V: Tensor | None = None
        self._seen_V: Tensor | None = None
        self._bias: tuple[Tensor, Tensor] | None = None
        if params.presence_penalty or params.frequency_penalty:
            self._counts_V = torch.zeros(vocab, device=device)
        if params.repetition_penalty != 1.0:
            self._seen_V = torch.zeros(vocab, dtype=torch.bool, device=device)
            self._seen_V[torch.tensor(list(prompt), device=device)] = True
        if params.logit_bias:
            ids = torch.tensor(list(params.logit_bias), device=device)
            self._bias = (ids, torch.tensor(list(params.logit_bias.values()), dtype=torch.float32, device=device))

    def record(self, token_id: int) -> None:
        """Counts a token that was written."""
        if self._counts_V is not None:
            self._counts_V[token_id] += 1.0
        if self._seen_V is not None:
            self._seen_V[token_id] = True

    def adjust_(self, logits_V: Tensor) -> None:
        """Applies bias and penalties to this answer's row of logits, in place."""
        params = self.params
        if self._bias is not None:
            logits_V.index_add_(0, *self._bias)
        if self._seen_V is not None:
            penalty = params.repetition_penalty
            penalised_V = torch.where(logits_V > 0, logits_V / penalty, logits_V * penalty)
            logits_V.copy_(torch.where(self._seen_V, penalised_V, logits_V))
        if self._counts_V is not None:
            logits_V.sub_((self._counts_V > 0).to(logits_V.dtype), alpha=params.presence_penalty)
            logits_V.sub_(self._counts_V, alpha=params.frequency_penalty)


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
        chosen_B = adjusted_BV.argmax(-1)
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


def _tempered(logits_BV: Tensor, params: Sequence[SamplingParams]) -> Tensor:
    """Logits over temperature, the largest 0, so that no temperature overflows."""
    temperature_B1 = torch.tensor([[p.temperature] for p in params], dtype=torch.float64, device=logits_BV.device)
    # a temperature below float32's smallest number would divide 0 by 0
    temperature_B1 = temperature_B1.clamp_min(torch.finfo(torch.float32).tiny).float()
    return (logits_BV - logits_BV.amax(-1, keepdim=True)) / temperature_B1


def _draw_plain(logits_BV: Tensor, params: Sequence[SamplingParams], numbers: Sequence[float]) -> Tensor:
    """Draws from the whole tempered distribution, cumulated in the order of ids."""
    weights_BV = _tempered(logits_BV, params).exp_()
    return _invert(weights_BV.cumsum(-1, dtype=torch.float64), numbers)


def _draw_filtered(logits_BV: Tensor, params: Sequence[SamplingParams], numbers: Sequence[float]) -> Tensor:
    """Draws from what top-k, top-p and min-p leave, cumulated from the most probable token on."""
    vocab = logits_BV.shape[1]
    tempered_BV = _tempered(logits_BV, params)
    total_B = tempered_BV.exp().sum(-1, dtype=torch.float64)
    picked_B = torch.empty(len(params), dtype=torch.long, device=logits_BV.device)
    rows = list(range(len(params)))
    width = min(vocab, max(_CANDIDATES, *(p.top_k + 1 for p in params)))
    while rows:
        index = torch.tensor(rows, device=logits_BV.device)
        values_RK, ids_RK = _candidates(tempered_BV[index], width)
        weights_RK = values_RK.double().exp()
        cumulated_RK = weights_RK.cumsum(-1)
        keep_R = _kept([params[row] for row in rows], weights_RK, cumulated_RK, total_B[index])
        last_R = (keep_R - 1)[:, None]
        # an end among equals of which some may lie beyond the candidates is not settled yet
        settled_R = torch.ones_like(keep_R, dtype=torch.bool)
        if width < vocab:
            settled_R = values_RK.gather(1, last_R)[:, 0] > values_RK[:, -1]
        inside_RK = torch.arange(width, device=logits_BV.device)[None] <= last_R
        cut_RK = torch.where(inside_RK, cumulated_RK, cumulated_RK.gather(1, last_R))
        place_R = _invert(cut_RK, [numbers[row] for row in rows])
        picked_B[index] = ids_RK.gather(1, place_R[:, None])[:, 0]
        rows = [row for row, settled in zip(rows, settled_R.tolist(), strict=True) if not settled]
        width = min(vocab, width * 8)
    return picked_B


def _candidates(tempered_RV: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The `width` most probable tokens, best first, equals by id."""
    if width == tempered_RV.shape[1]:
        values_RK, ids_RK = tempered_RV.sort(stable=True, dim=-1, descending=True)
        return values_RK, ids_RK
    ids_RK = tempered_RV.topk(width, -1, sorted=False).indices.sort(-1).values
    values_RK, order_RK = tempered_RV.gather(1, ids_RK).sort(stable=True, dim=-1, descending=True)
    return values_RK, ids_RK.gather(1, order_RK)


def _kept(params: Sequence[SamplingParams], weights_RK: Tensor, cumulated_RK: Tensor, total_R: Tensor) -> Tensor:
    """How many candidates the cuts leave in each row, at least 1."""
    width = weights_RK.shape[1]

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=weights_RK.device)

    by_k_R = column([float(p.top_k or width) for p in params]).clamp_max(width).long()
    whole_R = torch.tensor([p.top_k == 0 for p in params], device=weights_RK.device)
    mass_R = torch.where(whole_R, total_R, cumulated_RK.gather(1, (by_k_R - 1)[:, None])[:, 0])
    reach_R = column([p.top_p for p in params]) * mass_R
    by_p_R = (cumulated_RK < reach_R[:, None]).sum(-1) + 1
    by_p_R = torch.where(column([p.top_p for p in params]) < 1.0, by_p_R, width)
    by_min_R = (weights_RK >= column([p.min_p for p in params])[:, None]).sum(-1)
    return torch.minimum(torch.minimum(by_k_R, by_p_R), by_min_R).clamp(1, width)


def _invert(cumulated_BK: Tensor, numbers: Sequence[float]) -> Tensor:
    """The first place where the cumulated weight passes a number's share of the whole."""
    numbers_B1 = torch.tensor(numbers, dtype=torch.float64, device=cumulated_BK.device)[:, None]
    return torch.searchsorted(cumulated_BK, numbers_B1 * cumulated_BK[:, -1:], right=True)[:, 0]
