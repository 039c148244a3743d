"""The book-keeping of cache blocks: who holds which, and whose content can be used again. Torch-free.

A block is free (its content means nothing), held (one or more sequences refer to it), or cached (nobody refers to it,
but its content is known by a hash and may be taken up again until the room is needed). Hashes are chained, so that a
block's hash stands for everything before it too, and begin with a secret of this process and the user's name: blocks of
two users never match.

Blocks of one sequence are laid side by side where there is room, because a contiguous sequence is read in place, while
a scattered one has to be gathered first. A sequence therefore claims room ahead of it; claims are wishes and give way
when nothing else is free.
"""

from __future__ import annotations

import hashlib
import secrets
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["BlockPool", "BlockTable", "Segment"]

_HASH_BYTES = 16


@dataclass(slots=True)
class BlockTable:
    """The blocks of one sequence in order, whether they lie side by side, and the room claimed behind them."""

    blocks: list[int] = field(default_factory=list)
    contiguous: bool = True
    claim: range = range(0)

    def append(self, block: int) -> None:
        """Adds a block at the end."""
        if self.blocks and block != self.blocks[-1] + 1:
            self.contiguous = False
        self.blocks.append(block)


@dataclass(frozen=True, slots=True)
class Segment:
    """The new tokens of one sequence in a step: `count` of them, after `start` that the cache holds."""

    table: BlockTable
    start: int
    count: int

    @property
    def length(self) -> int:
        """Tokens of the sequence when this step is done."""
        return self.start + self.count


class BlockPool:
    """A fixed number of blocks with reference counts, and a prefix cache with least-recently-used eviction.

    Not safe for threads: the engine's thread alone calls it.

    Args:
        num_blocks: Blocks in all.
        block_size: Tokens of a block.
        prefix_cache: False forgets a block's content when it is released.
    """

    def __init__(self, num_blocks: int, block_size: int, *, prefix_cache: bool = True) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.prefix_cache = prefix_cache
        self._salt = secrets.token_bytes(_HASH_BYTES)
        self._references = [0] * num_blocks
        self._is_free = np.ones(num_blocks, dtype=np.bool_)
        self._is_claimed = np.zeros(num_blocks, dtype=np.bool_)
        self._num_free = num_blocks
        self._hash_of: list[bytes | None] = [None] * num_blocks
        self._block_of: dict[bytes, int] = {}
        self._unreferenced: OrderedDict[int, None] = OrderedDict()

    @property
    def available(self) -> int:
        """Blocks that can be allocated now: the free ones and those cached for nobody in particular."""
        return self._num_free + len(self._unreferenced)

    @property
    def held(self) -> int:
        """Blocks that sequences refer to."""
        return self.num_blocks - self.available

    @property
    def cached(self) -> int:
        """Blocks that nobody refers to and whose content can be used again."""
        return len(self._unreferenced)

    def references(self, block: int) -> int:
        """How many tables hold the block."""
        return self._references[block]

    def root(self, user: str) -> bytes:
        """The hash that a user's chains begin with."""
        return hashlib.blake2b(self._salt + user.encode("utf-8", "surrogatepass"), digest_size=_HASH_BYTES).digest()

    def chain(self, parent: bytes, token_ids: Sequence[int]) -> bytes:
        """The hash of a whole block of tokens that follows `parent`."""
        return hashlib.blake2b(parent + array("q", token_ids).tobytes(), digest_size=_HASH_BYTES).digest()

    def match(self, hashes: Sequence[bytes]) -> list[int]:
        """Gives the blocks whose content is known for the longest leading part of a chain. Changes nothing."""
        blocks: list[int] = []
        for value in hashes:
            block = self._block_of.get(value)
            if block is None:
                break
            blocks.append(block)
        return blocks

    def cost(self, matched: Sequence[int], total: int) -> int:
        """How much `available` falls when a sequence takes `matched` blocks and allocates the rest of `total`."""
        return total - len(matched) + sum(1 for block in matched if self._references[block] == 0)

    def share(self, table: BlockTable, blocks: Sequence[int]) -> None:
        """Puts matched blocks at the end of a table and counts a reference to each."""
        for block in blocks:
            if self._references[block] == 0:
                del self._unreferenced[block]
            self._references[block] += 1
            table.append(block)

    def allocate(self, table: BlockTable, count: int, room: int) -> bool:
        """Puts `count` new blocks at the end of a table, or none at all.

        Args:
            table: Grows in place.
            count: Blocks needed now.
            room: Blocks that the sequence may come to need from here on, `count` included; a wish.

        Returns:
            False where fewer than `count` blocks are available; nothing has changed then.
        """
        if count > self.available:
            return False
        if count > self._num_free:
            self._evict(max(count - self._num_free, min(room, self.num_blocks // 16)))
        for taken in range(count):
            block = self._next(table)
            if block is None:
                block = self._start(table, room - taken)
            self._is_free[block] = False
            self._num_free -= 1
            self._references[block] = 1
            table.append(block)
        return True

    def can_follow(self, block: int) -> bool:
        """Whether the block behind this one is free, so that a sequence can go on there."""
        return block + 1 < self.num_blocks and bool(self._is_free[block + 1]) and not self._is_claimed[block + 1]

    def publish(self, block: int, value: bytes) -> None:
        """Makes a whole, computed block findable by its hash; the first of equal blocks stays the one that is found."""
        if self.prefix_cache and value not in self._block_of and self._hash_of[block] is None:
            self._block_of[value] = block
            self._hash_of[block] = value

    def release(self, table: BlockTable) -> None:
        """Gives all of a table's blocks back. The end of a sequence is evicted before its beginning."""
        for block in reversed(table.blocks):
            self._references[block] -= 1
            if self._references[block] > 0:
                continue
            if self._hash_of[block] is None:
                self._free(block)
            else:
                self._unreferenced[block] = None
        table.blocks.clear()
        table.contiguous = True
        self._unclaim(table)

    def forget(self) -> None:
        """Drops every cached content that no sequence holds (new weights, a changed adapter)."""
        self._evict(len(self._unreferenced))
        for block, value in enumerate(self._hash_of):
            if value is not None:
                del self._block_of[value]
                self._hash_of[block] = None

    def _next(self, table: BlockTable) -> int | None:
        if not table.blocks:
            return None
        block = table.blocks[-1] + 1
        if block >= self.num_blocks or not self._is_free[block]:
            return None
        return block if block in table.claim or not self._is_claimed[block] else None

    def _start(self, table: BlockTable, room: int) -> int:
        """Finds where a sequence begins or goes on: the tightest run that has the room, else the longest there is."""
        self._unclaim(table)
        starts, ends = _runs(self._is_free & ~self._is_claimed)
        if len(starts) == 0:
            starts, ends = _runs(self._is_free)
            longest = int(np.argmax(ends - starts))
            return int(ends[longest]) - 1
        lengths = ends - starts
        fitting = np.flatnonzero(lengths >= room)
        chosen = int(fitting[np.argmin(lengths[fitting])]) if len(fitting) else int(np.argmax(lengths))
        start = int(starts[chosen])
        table.claim = range(start, start + min(max(room, 1), int(lengths[chosen])))
        self._is_claimed[table.claim.start : table.claim.stop] = True
        return start

    def _unclaim(self, table: BlockTable) -> None:
        self._is_claimed[table.claim.start : table.claim.stop] = False
        table.claim = range(0)

    def _evict(self, count: int) -> None:
        for _ in range(min(count, len(self._unreferenced))):
            block, _ = self._unreferenced.popitem(last=False)
            value = self._hash_of[block]
            if value is not None:
                del self._block_of[value]
                self._hash_of[block] = None
            self._free(block)

    def _free(self, block: int) -> None:
        self._is_free[block] = True
        self._num_free += 1


def _runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Starts and ends of the runs of True."""
    edges = np.diff(np.concatenate(([0], mask.view(np.int8), [0])))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
