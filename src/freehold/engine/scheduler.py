"""Which sequences take part in a step, and with how many tokens.

Every running sequence whose tokens are in the cache but for the last gets one row (decode). What is left of the step
goes to prompts, in chunks: shared out evenly among those being read, so that a short prompt is not held up behind a
long one. Sequences are let in first come, first served, except that of two users the one with fewer sequences running
goes first, and that a preempted one goes before all. When the cache is full the youngest sequence gives way: its
blocks are released and it is computed again later (its whole blocks often still lie in the prefix cache by then). The
oldest always goes on, so that everything ends.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from freehold.engine.blocks import BlockPool, BlockTable
from freehold.engine.sequence import Sequence

__all__ = ["Copy", "Scheduled", "Scheduler"]

_ROOM_AHEAD_TOKENS = 1024
"""How far ahead a sequence claims contiguous room, at most."""

_PLENTY = 4
"""Matched blocks are copied, and not shared, where the whole sequence takes at most this part of what is available."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Blocks whose content is to be copied before the step, in the order in which copies are listed."""

    sources: tuple[int, ...]
    targets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A sequence's part in a step: its next `count` tokens are run through the model."""

    sequence: Sequence
    count: int

    @property
    def samples(self) -> bool:
        """Whether the step reaches the sequence's last token, so that the next one can be sampled."""
        return self.count == self.sequence.pending


class Scheduler:
    """Decides each step. Holds every living sequence, and their blocks.

    Args:
        pool: The cache's blocks.
        max_batch: Most sequences running at a time.
        prefill_chunk: Most prompt tokens in a step.
        align: Chunks end, and prefix hits count, at multiples of this position only (batch-invariant mode); 1 anywhere.
    """

    def __init__(self, pool: BlockPool, *, max_batch: int, prefill_chunk: int, align: int = 1) -> None:
        self.pool = pool
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self.preemptions = 0
        self.copies: list[Copy] = []
        self._max_batch = max_batch
        self._prefill_chunk = prefill_chunk
        self._align = align

    def add(self, sequence: Sequence) -> None:
        """Puts a sequence in the queue. It must fit the cache when it has that to itself."""
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Takes a sequence out, finished or aborted, and releases its blocks at once."""
        (self.running if sequence in self.running else self.waiting).remove(sequence)
        self._release(sequence)

    def schedule(self) -> list[Scheduled]:
        """Decides the next step, sequences with one token first; empty when nobody is left. Allocates blocks."""
        before = self.preemptions
        self.copies.clear()
        decodes = self._decodes()
        if self.preemptions == before:
            self._admit()
        prefills = [sequence for sequence in self.running if sequence.pending > 1]
        chunks = self._chunks(prefills)
        # a sequence just admitted may have all but its last token from the prefix cache
        fresh = [s for s in self.running if s.pending == 1 and s not in decodes]
        return [Scheduled(s, 1) for s in decodes + fresh] + chunks

    def _decodes(self) -> list[Sequence]:
        chosen: list[Sequence] = []
        for sequence in list(self.running):
            if sequence.pending != 1 or sequence not in self.running:
                continue
            if self._grow(sequence):
                chosen.append(sequence)
        return chosen

    def _grow(self, sequence: Sequence) -> bool:
        """Makes sure that all of a sequence's tokens have a slot, at younger ones' cost; False if it gave way
        itself.
        """
        while not self._allocate(sequence):
            youngest = max(self.running, key=lambda other: other.arrival)
            self._preempt(youngest)
            if youngest is sequence:
                return False
        return True

    def _allocate(self, sequence: Sequence) -> bool:
        size = self.pool.block_size
        missing = -(-len(sequence.tokens) // size) - len(sequence.table.blocks)
        if missing <= 0:
            return True
        ahead = min(sequence.max_tokens - sequence.written, _ROOM_AHEAD_TOKENS)
        return self.pool.allocate(sequence.table, missing, missing + -(-ahead // size))

    def _preempt(self, sequence: Sequence) -> None:
        self.preemptions += 1
        self.running.remove(sequence)
        self._release(sequence)
        sequence.preempted = True
        self.waiting.append(sequence)

    def _release(self, sequence: Sequence) -> None:
        self.pool.release(sequence.table)
        sequence.computed = sequence.published = 0

    def _admit(self) -> None:
        running = Counter(sequence.request.user for sequence in self.running)
        while len(self.running) < self._max_batch:
            ready = [sequence for sequence in self.waiting if sequence.ready]
            if not ready:
                return
            chosen = min(ready, key=lambda s: (not s.preempted, running[s.request.user], s.arrival))
            if not self._start(chosen):
                return
            running[chosen.request.user] += 1

    def _start(self, sequence: Sequence) -> bool:
        pool = self.pool
        hashes = sequence.extend_hashes(pool) if pool.prefix_cache else []
        matched = pool.match(hashes)
        # the last token is always computed, because its logits are wanted
        hit = min(len(matched) * pool.block_size, len(sequence.tokens) - 1)
        hit -= hit % math.lcm(self._align, pool.block_size)
        matched = matched[: hit // pool.block_size]
        total = -(-len(sequence.tokens) // pool.block_size)
        spare = len(self.running)  # one block of growth for each that runs, lest it is thrown out again at once
        if pool.cost(matched, total) + spare > pool.available:
            return False
        self.waiting.remove(sequence)
        self.running.append(sequence)
        self.running.sort(key=lambda s: s.arrival)
        if matched and not pool.can_follow(matched[-1]) and total <= pool.available // _PLENTY:
            self._copy(sequence, matched)
        else:
            pool.share(sequence.table, matched)
        sequence.computed = hit
        sequence.published = len(matched)
        if sequence.cached_tokens is None:
            sequence.cached_tokens = hit
        self._allocate(sequence)
        return True

    def _copy(self, sequence: Sequence, matched: list[int]) -> None:
        """Gives a sequence copies of matched blocks, side by side with what it will need.

        Shared, they would stand apart from the rest, and everything would have to be gathered at every step.
        """
        held = BlockTable()
        self.pool.share(held, matched)  # lest allocation evicts them
        ahead = len(sequence.tokens) + min(sequence.max_tokens - sequence.written, _ROOM_AHEAD_TOKENS)
        self.pool.allocate(sequence.table, len(matched), -(-ahead // self.pool.block_size))
        self.copies.append(Copy(tuple(matched), tuple(sequence.table.blocks)))
        self.pool.release(held)

    def _chunks(self, prefills: list[Sequence]) -> list[Scheduled]:
        """Shares the step's prompt tokens out: evenly, and what the short ones leave goes to the long ones."""
        counts: dict[int, int] = {}
        left = self._prefill_chunk
        level = left
        by_need = sorted(prefills, key=lambda s: s.pending)
        for position, sequence in enumerate(by_need):
            level = left // (len(by_need) - position)
            if sequence.pending > level:
                break
            left -= sequence.pending
            counts[sequence.arrival] = sequence.pending
        for sequence in by_need[len(counts) :]:
            share = self._aligned(sequence, level)
            left -= share
            counts[sequence.arrival] = share
        for sequence in prefills:  # rounding leaves a rest; the oldest has it
            more = self._aligned(sequence, min(sequence.pending, counts[sequence.arrival] + left))
            left -= more - counts[sequence.arrival]
            counts[sequence.arrival] = more
        return [Scheduled(s, counts[s.arrival]) for s in prefills if counts[s.arrival] > 0]

    def _aligned(self, sequence: Sequence, count: int) -> int:
        if count == sequence.pending:
            return count
        end = sequence.computed + count
        return max(0, end - end % self._align - sequence.computed)
