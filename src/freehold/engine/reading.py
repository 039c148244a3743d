"""How a step's attention reads the cache: one sequence by itself, or many of one new token each in one call.

Shapes as in `freehold.model.attention`; S cached tokens read, B sequences decoded together.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from freehold.engine.blocks import BlockTable, Segment
from freehold.engine.cache import KVCache
from freehold.model.mla import mla_absorbed, mla_naive

__all__ = ["PADDED_TOKENS", "PaddedReading", "Reading", "SingleReading", "lockstep", "slots"]

PADDED_TOKENS = 160
"""Longest sequence read in the padded way: beyond, copying costs more than a call per sequence saves."""


class Reading(Protocol):
    """Some rows of the step that are attended in one call; the cache's rows of the layer are written already."""

    def gqa(self, layer: int, q_THd: Tensor, scale: float) -> Tensor:
        """Attends with this reading's rows of the step's queries; gives (rows, H, d). See `Attend.gqa`."""
        ...

    def mla(
        self,
        layer: int,
        q_nope_THn: Tensor,
        q_rope_THr: Tensor,
        w_uk_HnC: Tensor,
        w_uv_HvC: Tensor,
        scale: float,
    ) -> Tensor:
        """As `gqa`, over latents; gives (rows, H, v). See `Attend.mla`."""
        ...


class SingleReading:
    """One sequence: read in place where its blocks lie side by side, else gathered.

    Args:
        cache: Read, in every layer's turn.
        segment: Of the sequence.
        row: Of the step's rows, the segment's first.
    """

    def __init__(self, cache: KVCache, segment: Segment, row: int) -> None:
        self._layers, self._count, self._length = cache.layers, segment.count, segment.length
        self._first, self._last = row, row + segment.count
        self._read: Tensor | None = None
        self._views: tuple[tuple[Tensor, ...], ...] = ()
        if segment.table.contiguous:
            start = segment.table.blocks[0] * cache.block_size
            view = cache.tensor[:, start : start + segment.length].unsqueeze(1)
            if cache.tensor.dim() == 5:
                keys, values = view.permute(3, 0, 1, 4, 2, 5).unbind(0)
                self._views = (keys.unbind(0), values.unbind(0))
            else:
                self._views = (view.unbind(0),)
        else:
            self._read = slots(cache, segment.table, 0, segment.length).to(cache.tensor.device)
        self._causal = segment.start == 0 and segment.count > 1
        self._mask_TS: Tensor | None = None
        self._allowed_1TS: Tensor | None = None
        mla = cache.tensor.dim() == 3
        if mla or (segment.count > 1 and segment.start > 0):
            allowed = torch.ones(segment.count, segment.length, dtype=torch.bool, device=cache.tensor.device)
            allowed = allowed.tril_(segment.start)
            if mla:
                self._allowed_1TS = allowed[None]
            else:
                self._mask_TS = _additive(allowed, cache.tensor.dtype)

    def gqa(self, layer: int, q_THd: Tensor, scale: float) -> Tensor:
        if self._read is None:
            k_1GSd, v_1GSd = self._views[0][layer], self._views[1][layer]
        else:
            k_1GSd, v_1GSd = self._layers[layer].index_select(0, self._read).permute(1, 2, 0, 3).unsqueeze(1).unbind(0)
        if self._count == 1:
            return _one_token(q_THd[self._first : self._last], k_1GSd, v_1GSd, None, scale)
        out_1HTd = F.scaled_dot_product_attention(
            q_THd[self._first : self._last].transpose(0, 1).unsqueeze(0),
            k_1GSd,
            v_1GSd,
            attn_mask=self._mask_TS,
            is_causal=self._causal,
            scale=scale,
            enable_gqa=True,
        )
        return out_1HTd[0].transpose(0, 1)

    def mla(
        self,
        layer: int,
        q_nope_THn: Tensor,
        q_rope_THr: Tensor,
        w_uk_HnC: Tensor,
        w_uv_HvC: Tensor,
        scale: float,
    ) -> Tensor:
        if self._read is None:
            latent_1SL = self._views[0][layer]
        else:
            latent_1SL = self._layers[layer].index_select(0, self._read)[None]
        attend = (
            mla_naive if _naive_is_cheaper(self._count, self._length, q_rope_THr, w_uk_HnC, w_uv_HvC) else mla_absorbed
        )
        return attend(
            q_nope_THn[None, self._first : self._last],
            q_rope_THr[None, self._first : self._last],
            latent_1SL,
            self._allowed_1TS,
            w_uk_HnC,
            w_uv_HvC,
            scale,
        )[0]


class PaddedReading:
    """The first B rows of the step, one token of a sequence each, attended in one call.

    Args:
        cache: Read, in every layer's turn.
        segments: Of the sequences, one new token each.
        view: (layers, B, S, ...) from `lockstep`; None where they are to be gathered to one length and masked.
    """

    def __init__(self, cache: KVCache, segments: Sequence[Segment], view: Tensor | None) -> None:
        self._count = len(segments)
        self._views: tuple[Tensor, ...] | None = None
        self._mask_B11S: Tensor | None = None
        if view is None:
            self._plan_gathering(cache, segments)
        else:
            self._views = view.unbind(0)
            self._allowed_B1S = torch.ones(view.shape[1], 1, view.shape[2], dtype=torch.bool, device=view.device)

    def _plan_gathering(self, cache: KVCache, segments: Sequence[Segment]) -> None:
        lengths = [segment.length for segment in segments]
        blocks = -(-max(lengths) // cache.block_size)
        # padding reads the sequence's own first block again, so that nothing of another's is ever touched
        table = [s.table.blocks[:blocks] + s.table.blocks[:1] * (blocks - len(s.table.blocks)) for s in segments]
        device = cache.tensor.device
        self._padded = blocks * cache.block_size
        self._blocks = torch.tensor(table).view(-1).to(device)
        self._layers, self._block_size = cache.layers, cache.block_size
        # one buffer for all layers: fresh memory in each would cost more in page faults than the copying does
        self._gathered = cache.tensor.new_empty((self._count * blocks, cache.block_size, *cache.tensor.shape[2:]))
        length_B1 = torch.tensor(lengths)[:, None]
        allowed_BS = torch.arange(self._padded)[None] < length_B1
        self._allowed_B1S = allowed_BS[:, None].to(device)
        self._mask_B11S = _additive(allowed_BS[:, None, None], cache.tensor.dtype).to(device)

    def _read(self, layer: int) -> Tensor:
        if self._views is not None:
            return self._views[layer]
        rows = self._layers[layer]
        by_block = rows.view(-1, self._block_size, *rows.shape[1:])
        torch.index_select(by_block, 0, self._blocks, out=self._gathered)
        return self._gathered.view(self._count, self._padded, *rows.shape[1:])

    def gqa(self, layer: int, q_THd: Tensor, scale: float) -> Tensor:
        k_BGSd, v_BGSd = self._read(layer).permute(2, 0, 3, 1, 4).unbind(0)
        return _one_token(q_THd[: self._count], k_BGSd, v_BGSd, self._mask_B11S, scale)

    def mla(
        self,
        layer: int,
        q_nope_THn: Tensor,
        q_rope_THr: Tensor,
        w_uk_HnC: Tensor,
        w_uv_HvC: Tensor,
        scale: float,
    ) -> Tensor:
        return mla_absorbed(
            q_nope_THn[: self._count, None],
            q_rope_THr[: self._count, None],
            self._read(layer),
            self._allowed_B1S,
            w_uk_HnC,
            w_uv_HvC,
            scale,
        )[:, 0]


def lockstep(cache: KVCache, segments: Sequence[Segment]) -> Tensor | None:
    """One view (layers, B, S, ...) of sequences equally long and equally far apart; None where they are not."""
    if len(segments) < 2 or any(not s.table.contiguous or s.length != segments[0].length for s in segments):
        return None
    starts = [s.table.blocks[0] for s in segments]
    gap = starts[1] - starts[0]
    if gap <= 0 or any(b - a != gap for a, b in itertools.pairwise(starts)):
        return None
    tensor, size = cache.tensor, cache.block_size
    layers, slot, *rest = tensor.stride()
    shape = (tensor.shape[0], len(segments), segments[0].length, *tensor.shape[2:])
    first = tensor.storage_offset() + starts[0] * size * slot
    return tensor.as_strided(shape, (layers, gap * size * slot, slot, *rest), first)


def _one_token(q_BHd: Tensor, k_BGSd: Tensor, v_BGSd: Tensor, mask_B11S: Tensor | None, scale: float) -> Tensor:
    """Attends with one query a sequence, (B, H, d): the heads of a group are rows against the same keys."""
    batch, heads, size = q_BHd.shape
    groups = k_BGSd.shape[1]
    q_BGRd = q_BHd.view(batch, groups, heads // groups, size)
    out = F.scaled_dot_product_attention(q_BGRd, k_BGSd, v_BGSd, attn_mask=mask_B11S, scale=scale)
    return out.reshape(batch, heads, size)


def _naive_is_cheaper(queries: int, keys: int, q_rope_THr: Tensor, w_uk_HnC: Tensor, w_uv_HvC: Tensor) -> bool:
    """Compares the products per head of MLA's two forms."""
    nope, latent = w_uk_HnC.shape[1:]
    rope, value = q_rope_THr.shape[-1], w_uv_HvC.shape[1]
    naive = keys * latent * (nope + value) + queries * keys * (nope + rope + value)
    absorbed = queries * latent * (nope + value) + queries * keys * (2 * latent + rope)
    return naive < absorbed


def slots(cache: KVCache, table: BlockTable, start: int, end: int) -> Tensor:
    """The slots of a sequence's tokens from `start` to `end`, on the CPU."""
    size = cache.block_size
    if table.contiguous:
        first = table.blocks[0] * size
        return torch.arange(first + start, first + end)
    blocks = torch.tensor(table.blocks[start // size : -(-end // size)])
    slots = (blocks[:, None] * size + torch.arange(size)).view(-1)
    return slots[start % size : start % size + end - start]


def _additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """The mask as numbers to add; a boolean one would be turned into these again in every layer."""
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, float("-inf"))
