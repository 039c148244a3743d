"""One forward pass over everything that a step holds: the seam where faster kernels go.

`Forward.run` takes the step's parts and gives the logits of those rows alone that will be sampled.

Where the model has a native form, the native decoder takes the whole step, in which a row never depends on others; only
long prompts in bfloat16 go to PyTorch. Elsewhere batch-invariant mode cuts the step into passes of at most
`INVARIANT_ROWS` rows: decodes side by side, prompts at fixed positions. They are filled up to exactly that many with
padding, unless the model's products give a row the same bits in any number of rows. A row's result then depends on its
own sequence only, bit by bit in a dense model; the experts of a mixture see different numbers of rows, and agree to
rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from freehold.engine.attend import PagedAttend
from freehold.engine.blocks import Segment
from freehold.engine.cache import KVCache
from freehold.engine.config import INVARIANT_ROWS
from freehold.kernels import NativeDecoder, Rows, native_decoder, rows_are_independent
from freehold.model.transformer import Transformer

__all__ = ["Forward", "Part"]

_FEW_KEYS = 2**15
"""In bfloat16, prompts go to the native decoder while their tokens see so many keys in all; beyond, the attention of
PyTorch, which multiplies in tiles, is faster."""


@dataclass(frozen=True, slots=True)
class Part:
    """One sequence's rows in a step.

    Args:
        token_ids: The segment's tokens.
        segment: Where they stand.
        samples: Whether the logits after the last of them are wanted.
    """

    token_ids: Sequence[int]
    segment: Segment
    samples: bool


class Forward:
    """Runs steps of one model over one cache.

    Args:
        model: In evaluation, on `device`.
        cache: Extended by every step.
        device: Of the model.
        exact: Batch-invariant mode.
    """

    def __init__(self, model: Transformer, cache: KVCache, device: torch.device, *, exact: bool) -> None:
        self._model, self._cache, self._device, self._exact = model, cache, device, exact
        self._pads = exact and not rows_are_independent(model)
        self._native = native_decoder(model)

    @torch.inference_mode()
    def run(self, parts: Sequence[Part]) -> Tensor:
        """Computes a step.

        Args:
            parts: At least one; those with one token first.

        Returns:
            Logits (R, V) float32 of the parts that sample, in their order. The cache holds all the parts' tokens then.
        """
        if self._native is not None and (self._exact or _is_little([part.segment for part in parts])):
            return self._native_pass(self._native, parts)
        if not self._exact:
            return self._pass(parts)
        logits = [self._pass(group) for group in _passes(parts)]
        return logits[0] if len(logits) == 1 else torch.cat(logits)

    def _native_pass(self, native: NativeDecoder, parts: Sequence[Part]) -> Tensor:
        token_ids, _, wanted = _inputs(parts)
        x_TD = self._model.model.embed_tokens(self._tensor(token_ids))
        size = self._cache.block_size
        hidden_TD = native.run(x_TD, _rows([part.segment for part in parts], size), self._cache.tensor, size)
        return self._logits(hidden_TD, wanted)

    def _pass(self, parts: Sequence[Part]) -> Tensor:
        token_ids, positions, wanted = _inputs(parts)
        rows = INVARIANT_ROWS if self._pads else len(token_ids)
        padding = rows - len(token_ids)
        token_ids.extend([0] * padding)
        positions.extend([0] * padding)
        attend = PagedAttend(self._cache, [part.segment for part in parts], rows=rows, exact=self._exact)
        return self._logits(self._model(self._tensor(token_ids), self._tensor(positions), attend), wanted)

    def _logits(self, hidden_TD: Tensor, wanted: list[int]) -> Tensor:
        if not wanted:
            return hidden_TD.new_empty((0, self._model.config.vocab_size), dtype=torch.float32)
        if not self._pads:
            return self._model.logits(hidden_TD if len(wanted) == len(hidden_TD) else hidden_TD[self._tensor(wanted)])
        logits = []
        for first in range(0, len(wanted), INVARIANT_ROWS):
            asked = wanted[first : first + INVARIANT_ROWS]
            filled = asked + [0] * (INVARIANT_ROWS - len(asked))
            logits.append(self._model.logits(hidden_TD[self._tensor(filled)])[: len(asked)])
        return logits[0] if len(logits) == 1 else torch.cat(logits)

    def _tensor(self, values: list[int]) -> Tensor:
        return torch.tensor(values, device=self._device)


def _is_little(segments: Sequence[Segment]) -> bool:
    """Whether a step is mostly answers being written, which the native decoder is best at."""
    read = [segment for segment in segments if segment.count > 1]
    return sum(segment.count * (segment.start + segment.length + 1) // 2 for segment in read) <= _FEW_KEYS


def _inputs(parts: Sequence[Part]) -> tuple[list[int], list[int], list[int]]:
    """Token ids and positions of all rows, and which rows are to be sampled."""
    token_ids: list[int] = []
    positions: list[int] = []
    wanted: list[int] = []
    for part in parts:
        token_ids.extend(part.token_ids)
        positions.extend(range(part.segment.start, part.segment.length))
        if part.samples:
            wanted.append(len(token_ids) - 1)
    return token_ids, positions, wanted


def _rows(segments: Sequence[Segment], block_size: int) -> Rows:
    positions: list[int] = []
    slots: list[int] = []
    table: list[int] = []
    starts: list[int] = []
    for segment in segments:
        blocks = segment.table.blocks
        starts.extend([len(table)] * segment.count)
        for place in range(segment.start, segment.length):
            positions.append(place)
            slots.append(blocks[place // block_size] * block_size + place % block_size)
        table.extend(blocks[: -(-segment.length // block_size)])
    return Rows(positions, slots, [place + 1 for place in positions], table, starts)


def _passes(parts: Sequence[Part]) -> list[list[Part]]:
    """Cuts prompts at multiples of `INVARIANT_ROWS` and fills passes with the pieces, in order."""
    passes: list[list[Part]] = [[]]
    room = INVARIANT_ROWS
    for part in parts:
        for piece in _pieces(part):
            if piece.segment.count > room:
                passes.append([])
                room = INVARIANT_ROWS
            passes[-1].append(piece)
            room -= piece.segment.count
    return passes


def _pieces(part: Part) -> list[Part]:
    pieces = []
    start, end = part.segment.start, part.segment.length
    while start < end:
        stop = min(end, (start // INVARIANT_ROWS + 1) * INVARIANT_ROWS)
        token_ids = part.token_ids[start - part.segment.start : stop - part.segment.start]
        segment = Segment(part.segment.table, start, stop - start)
        pieces.append(Part(token_ids, segment, part.samples and stop == end))
        start = stop
    return pieces
