"""A cache as plain as can be, for tests: keys and values (or latents) of each sequence and layer, grown one by one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from freehold.model.gqa import gqa
from freehold.model.mla import mla_absorbed

__all__ = ["PlainCache"]


class PlainCache:
    """An `Attend` that remembers. Before each step, `step` names its sequences and their numbers of new tokens."""

    def __init__(self) -> None:
        self._held: dict[tuple[int, int, str], Tensor] = {}
        self._lengths: dict[int, int] = {}
        self._now: list[tuple[int, int]] = []

    def step(self, sequences: Sequence[tuple[int, int]]) -> Tensor:
        """Takes (sequence, new tokens) pairs in the order of the step; returns the positions of the new tokens."""
        self._now = list(sequences)
        positions = []
        for sequence, count in sequences:
            start = self._lengths.get(sequence, 0)
            positions.append(torch.arange(start, start + count))
            self._lengths[sequence] = start + count
        return torch.cat(positions)

    def gqa(self, layer: int, q_THd: Tensor, k_TGd: Tensor, v_TGd: Tensor, scale: float) -> Tensor:
        outs, start = [], 0
        for sequence, count in self._now:
            rows = slice(start, start + count)
            k_SGd = self._append(sequence, layer, "k", k_TGd[rows])
            v_SGd = self._append(sequence, layer, "v", v_TGd[rows])
            mask = _causal(count, len(k_SGd))
            outs.append(gqa(q_THd[rows][None], k_SGd[None], v_SGd[None], mask, scale)[0])
            start += count
        return torch.cat(outs)

    def mla(
        self,
        layer: int,
        q_nope_THn: Tensor,
        q_rope_THr: Tensor,
        latent_TL: Tensor,
        w_uk_HnC: Tensor,
        w_uv_HvC: Tensor,
        scale: float,
    ) -> Tensor:
        outs, start = [], 0
        for sequence, count in self._now:
            rows = slice(start, start + count)
            latent_SL = self._append(sequence, layer, "latent", latent_TL[rows])
            q_nope, q_rope, mask = q_nope_THn[rows][None], q_rope_THr[rows][None], _causal(count, len(latent_SL))
            outs.append(mla_absorbed(q_nope, q_rope, latent_SL[None], mask, w_uk_HnC, w_uv_HvC, scale)[0])
            start += count
        return torch.cat(outs)

    def _append(self, sequence: int, layer: int, what: str, new: Tensor) -> Tensor:
        key = (sequence, layer, what)
        self._held[key] = torch.cat((self._held[key], new)) if key in self._held else new
        return self._held[key]


def _causal(queries: int, keys: int) -> Tensor:
    return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)[None]
