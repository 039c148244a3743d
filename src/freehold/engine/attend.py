"""Attention over the paged cache, for one step of many sequences.

Each sequence takes part in a step as one segment: some new tokens behind those already in the cache. The plan of a step
(where rows go, what is read how) is made once and serves all layers. Ways of reading (`reading.py`):

- in place: the blocks of the sequence lie side by side, and keys and values are a view of the cache;
- gathered: they do not, and the rows are copied together first;
- padded: many short sequences with one new token each are gathered to one length and attended in one call, masked;
- in lockstep: sequences of one length that lie at equal distances in the cache, as those of a batch that was submitted
  together do, are one strided view of it, attended in one call without copying.

The first two attend each sequence by itself, with shapes that depend on nothing else in the batch, so that their
results do not either; batch-invariant mode uses these alone. The others save calls.

Shapes as in `freehold.model.attention`; S cached tokens read, B sequences decoded together, L width of a latent row.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from freehold.engine.blocks import Segment
from freehold.engine.cache import KVCache
from freehold.engine.reading import PADDED_TOKENS, PaddedReading, Reading, SingleReading, lockstep, slots

__all__ = ["PagedAttend"]


class PagedAttend:
    """The `Attend` of one step. It writes the step's rows into the cache, then attends over whole sequences.

    Args:
        cache: Written in the segments' slots, read in their sequences'.
        segments: In the order of the step's tokens; those with one token first make padded reading possible.
        rows: Tokens of the forward pass; those beyond the segments' are padding: not written, attended to zeros.
        exact: Attend every sequence by itself (batch-invariant).
    """

    def __init__(self, cache: KVCache, segments: Sequence[Segment], *, rows: int, exact: bool) -> None:
        self._cache = cache
        self._rows = rows
        self._used = sum(segment.count for segment in segments)
        self._parts: list[Reading] = []
        single = 0
        view: Tensor | None = None
        if not exact:
            while single < len(segments) and segments[single].count == 1:
                single += 1
            view = lockstep(cache, segments[:single])
            if view is None:
                short = itertools.takewhile(lambda s: s.length <= PADDED_TOKENS, segments[:single])
                single = sum(1 for _ in short)
            if single >= 2:
                self._parts.append(PaddedReading(cache, segments[:single], view))
            else:
                single = 0
        # in lockstep the new rows lie equally far apart: copying them in takes less than indexing them
        self._new: tuple[tuple[Tensor, ...], ...] = ()
        if view is not None and single == len(segments) and view.dim() == 6:
            keys, values = view[:, :, -1].unbind(2)
            self._new = (keys.unbind(0), values.unbind(0))
        row = single
        for segment in segments[single:]:
            self._parts.append(SingleReading(cache, segment, row))
            row += segment.count
        self._slots_T = torch.cat([slots(cache, s.table, s.start, s.length) for s in segments])
        self._slot = int(self._slots_T[0]) if self._used == 1 else None
        self._slots_T = self._slots_T.to(cache.tensor.device)

    def gqa(self, layer: int, q_THd: Tensor, k_TGd: Tensor, v_TGd: Tensor, scale: float) -> Tensor:
        """Writes keys and values and attends; see `Attend.gqa`."""
        rows = self._cache.layers[layer]
        used = self._used
        if self._slot is not None:
            torch.stack((k_TGd[0], v_TGd[0]), out=rows[self._slot])
        elif self._new:
            self._new[0][layer].copy_(k_TGd)
            self._new[1][layer].copy_(v_TGd)
        else:
            rows.index_copy_(0, self._slots_T, torch.stack((k_TGd[:used], v_TGd[:used]), 1))
        outs = [part.gqa(layer, q_THd, scale) for part in self._parts]
        return self._together(outs, q_THd.shape[1:])

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
        """Writes latents and attends, in the form that takes fewer products; see `Attend.mla`."""
        self._cache.layers[layer].index_copy_(0, self._slots_T, latent_TL[: self._used])
        outs = [part.mla(layer, q_nope_THn, q_rope_THr, w_uk_HnC, w_uv_HvC, scale) for part in self._parts]
        return self._together(outs, w_uv_HvC.shape[:2])

    def _together(self, outs: list[Tensor], shape: torch.Size) -> Tensor:
        if self._used < self._rows:
            outs.append(outs[0].new_zeros(self._rows - self._used, *shape))
        return outs[0] if len(outs) == 1 else torch.cat(outs)
