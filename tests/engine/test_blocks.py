from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from freehold.engine.blocks import BlockPool, BlockTable

SIZE = 4
BLOCKS = 12


class PoolMachine(RuleBasedStateMachine):
    """Sequences of two users share blocks, grow and end; who holds what is compared with a plain count."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(BLOCKS, SIZE)
        self.living: list[tuple[str, list[int], BlockTable]] = []
        self.content: dict[int, tuple[str, tuple[int, ...]]] = {}

    def hashes(self, user: str, tokens: list[int]) -> list[bytes]:
        parent, chain = self.pool.root(user), []
        for start in range(0, len(tokens) - SIZE + 1, SIZE):
            parent = self.pool.chain(parent, tokens[start : start + SIZE])
            chain.append(parent)
        return chain

    def publish(self, user: str, tokens: list[int], table: BlockTable) -> None:
        for place, value in enumerate(self.hashes(user, tokens)):
            self.content[table.blocks[place]] = (user, tuple(tokens[: (place + 1) * SIZE]))
            self.pool.publish(table.blocks[place], value)

    @rule(user=st.sampled_from(["a", "b"]), blocks=st.integers(1, 5), twist=st.integers(0, 3), room=st.integers(0, 8))
    def start(self, user: str, blocks: int, twist: int, room: int) -> None:
        tokens = [7] * (blocks * SIZE)
        if twist:
            tokens[-twist] = twist
        matched = self.pool.match(self.hashes(user, tokens))
        for place, block in enumerate(matched):
            assert self.content[block] == (user, tuple(tokens[: (place + 1) * SIZE]))
        if self.pool.cost(matched, blocks) > self.pool.available:
            return
        before = self.pool.available
        cost = self.pool.cost(matched, blocks)
        table = BlockTable()
        self.pool.share(table, matched)
        assert self.pool.allocate(table, blocks - len(matched), room + blocks - len(matched))
        assert self.pool.available == before - cost
        self.publish(user, tokens, table)
        self.living.append((user, tokens, table))

    @rule(which=st.integers(0, 100), count=st.integers(1, 4), publish=st.booleans())
    def grow(self, which: int, count: int, publish: bool) -> None:
        if not self.living:
            return
        user, tokens, table = self.living[which % len(self.living)]
        held = list(table.blocks)
        if count > self.pool.available:
            assert not self.pool.allocate(table, count, count)
            assert table.blocks == held
            return
        assert self.pool.allocate(table, count, count)
        assert table.blocks[: len(held)] == held
        tokens.extend([which % 3] * (count * SIZE))
        if publish:
            self.publish(user, tokens, table)

    @rule(which=st.integers(0, 100))
    def release(self, which: int) -> None:
        if self.living:
            _, _, table = self.living.pop(which % len(self.living))
            self.pool.release(table)
            assert table.blocks == []

    @rule()
    def forget(self) -> None:
        self.pool.forget()
        assert self.pool.cached == 0
        for user, tokens, _ in self.living:
            assert self.pool.match(self.hashes(user, tokens)) == []

    @invariant()
    def counts_agree(self) -> None:
        held = [block for _, _, table in self.living for block in table.blocks]
        for block in range(BLOCKS):
            assert self.pool.references(block) == held.count(block)
        assert self.pool.held == len(set(held))
        assert self.pool.held + self.pool.available == BLOCKS

    @invariant()
    def contiguity_is_true(self) -> None:
        for _, _, table in self.living:
            blocks = table.blocks
            assert table.contiguous == (blocks == list(range(blocks[0], blocks[0] + len(blocks))))


PoolMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize=True, database=None
)
TestPool = PoolMachine.TestCase


def test_two_sequences_that_grow_in_turn_stay_contiguous_where_there_is_room() -> None:
    pool = BlockPool(64, SIZE)
    tables = [BlockTable(), BlockTable()]
    for count in (3, *[1] * 10):
        for table in tables:
            assert pool.allocate(table, count, 13)
    assert all(table.contiguous for table in tables)


def test_the_least_recently_released_content_is_evicted_first() -> None:
    pool = BlockPool(4, SIZE)
    old, new = BlockTable(), BlockTable()
    for table, token in ((old, 1), (new, 2)):
        pool.allocate(table, 2, 2)
        parent = pool.root("")
        for block in table.blocks:
            parent = pool.chain(parent, [token] * SIZE)
            pool.publish(block, parent)
    first = {token: pool.chain(pool.root(""), [token] * SIZE) for token in (1, 2)}
    pool.release(old)
    pool.release(new)
    taken = BlockTable()
    assert pool.allocate(taken, 2, 2)
    assert pool.match([first[1]]) == []
    assert len(pool.match([first[2]])) == 1


def test_without_a_prefix_cache_nothing_is_found_again() -> None:
    pool = BlockPool(4, SIZE, prefix_cache=False)
    table = BlockTable()
    pool.allocate(table, 1, 1)
    value = pool.chain(pool.root(""), [1] * SIZE)
    pool.publish(table.blocks[0], value)
    pool.release(table)
    assert pool.match([value]) == []
    assert pool.cached == 0


def test_users_and_processes_have_hashes_of_their_own() -> None:
    pool = BlockPool(4, SIZE)
    assert pool.root("a") != pool.root("b")
    assert pool.root("a") != BlockPool(4, SIZE).root("a")


@pytest.mark.parametrize("count", [5, 100])
def test_too_many_blocks_change_nothing(count: int) -> None:
    pool = BlockPool(4, SIZE)
    table = BlockTable()
    assert not pool.allocate(table, count, count)
    assert (pool.available, table.blocks) == (4, [])
