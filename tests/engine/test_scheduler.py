from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from freehold.engine.blocks import BlockPool
from freehold.engine.request import Request
from freehold.engine.scheduler import Scheduled, Scheduler
from freehold.engine.sequence import Sequence

SIZE = 4
BLOCKS = 10
CHUNK = 8
MAX_BATCH = 3


class Driver:
    """Does to sequences what the engine does, without a model: a token is its position."""

    def __init__(self, align: int = 1, prefix_cache: bool = True, blocks: int = BLOCKS) -> None:
        self.pool = BlockPool(blocks, SIZE, prefix_cache=prefix_cache)
        self.scheduler = Scheduler(self.pool, max_batch=MAX_BATCH, prefill_chunk=CHUNK, align=align)
        self.arrival = 0
        self.finished: list[Sequence] = []

    def add(self, prompt: int, max_tokens: int, user: str = "", leader: Sequence | None = None) -> Sequence:
        output: Any = SimpleNamespace(finish_reason=None)
        sampler: Any = None
        request = Request(str(self.arrival), tuple(range(prompt)), user=user)
        sequence = Sequence(request, 0, self.arrival, max_tokens, sampler, output, leader)
        self.arrival += 1
        self.scheduler.add(sequence)
        return sequence

    def step(self) -> list[Scheduled]:
        plan = self.scheduler.schedule()
        for copy in self.scheduler.copies:
            assert len(copy.sources) == len(copy.targets)
            assert all(self.pool.references(target) == 1 for target in copy.targets)
        assert len({scheduled.sequence.arrival for scheduled in plan}) == len(plan)
        assert len(self.scheduler.running) <= MAX_BATCH
        assert sum(s.count for s in plan if s.count > 1) <= CHUNK
        counts = [scheduled.count for scheduled in plan]
        assert counts[: counts.count(1)].count(1) == counts.count(1) or 1 not in counts
        for scheduled in plan:
            sequence = scheduled.sequence
            end = sequence.computed + scheduled.count
            assert 0 < end <= len(sequence.tokens) <= len(sequence.table.blocks) * SIZE
        for scheduled in plan:
            sequence, samples = scheduled.sequence, scheduled.samples
            sequence.computed += scheduled.count
            hashes = sequence.extend_hashes(self.pool)
            for block in range(sequence.published, sequence.computed // SIZE):
                self.pool.publish(sequence.table.blocks[block], hashes[block])
            sequence.published = sequence.computed // SIZE
            if samples:
                sequence.tokens.append(len(sequence.tokens))
                if sequence.written >= sequence.max_tokens:
                    self.end(sequence)
        return plan

    def end(self, sequence: Sequence) -> None:
        sequence.output.finish_reason = "length"
        self.scheduler.remove(sequence)
        self.finished.append(sequence)

    @property
    def living(self) -> list[Sequence]:
        return [*self.scheduler.running, *self.scheduler.waiting]

    def run(self, limit: int = 2000) -> None:
        for _ in range(limit):
            if not self.living:
                return
            assert self.step(), "nothing was scheduled though sequences live"
        raise AssertionError("does not come to an end")


class SchedulerMachine(RuleBasedStateMachine):
    """Whatever comes and goes: no block is lost or held by a stranger, and in the end everything has ended."""

    @rule(align=st.sampled_from([1, 8]), prefix_cache=st.booleans())
    @precondition(lambda self: not hasattr(self, "driver"))
    def begin(self, align: int, prefix_cache: bool) -> None:
        self.driver = Driver(align, prefix_cache)
        self.submitted = self.aborted = 0

    @rule(prompt=st.integers(1, 30), wish=st.integers(1, 30), user=st.sampled_from("ab"), follow=st.booleans())
    @precondition(lambda self: hasattr(self, "driver"))
    def submit(self, prompt: int, wish: int, user: str, follow: bool) -> None:
        leader = self.driver.living[-1] if follow and self.driver.living else None
        self.driver.add(prompt, min(wish, BLOCKS * SIZE - prompt), user, leader)
        self.submitted += 1

    @rule(count=st.integers(1, 6))
    @precondition(lambda self: hasattr(self, "driver"))
    def run(self, count: int) -> None:
        for _ in range(count):
            if self.driver.living:
                assert self.driver.step()

    @rule(which=st.integers(0, 50))
    @precondition(lambda self: hasattr(self, "driver") and self.driver.living)
    def abort(self, which: int) -> None:
        living = self.driver.living
        self.driver.end(living[which % len(living)])
        self.aborted += 1

    @invariant()
    @precondition(lambda self: hasattr(self, "driver"))
    def blocks_have_owners(self) -> None:
        pool = self.driver.pool
        held = [block for sequence in self.driver.living for block in sequence.table.blocks]
        assert [pool.references(block) for block in range(BLOCKS)] == [held.count(block) for block in range(BLOCKS)]
        assert all(not sequence.table.blocks for sequence in self.driver.scheduler.waiting)

    def teardown(self) -> None:
        if hasattr(self, "driver"):
            self.driver.run()
            assert self.driver.pool.held == 0
            assert len(self.driver.finished) == self.submitted


SchedulerMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, derandomize=True, database=None
)
TestScheduler = SchedulerMachine.TestCase


def test_first_come_first_served() -> None:
    driver = Driver(blocks=100)
    for _ in range(6):
        driver.add(prompt=3, max_tokens=4)
    driver.run()
    assert [sequence.arrival for sequence in driver.finished] == list(range(6))


def test_a_user_with_many_requests_does_not_hold_up_another() -> None:
    driver = Driver(blocks=100)
    for _ in range(8):
        driver.add(prompt=4, max_tokens=5, user="many")
    alone = driver.add(prompt=4, max_tokens=5, user="one")
    driver.run()
    assert driver.finished.index(alone) < MAX_BATCH + 1


def test_a_short_prompt_is_not_held_up_behind_a_long_one() -> None:
    driver = Driver(blocks=100)
    driver.add(prompt=200, max_tokens=1)
    short = driver.add(prompt=8, max_tokens=1)
    for _ in range(3):
        driver.step()
    assert driver.finished == [short]


def test_the_youngest_gives_way_and_the_oldest_goes_on() -> None:
    driver = Driver()
    sequences = [driver.add(prompt=8, max_tokens=24) for _ in range(3)]
    driver.run()
    assert driver.scheduler.preemptions > 0
    assert not sequences[0].preempted
    assert driver.finished[0] is sequences[0]


def test_answers_to_one_prompt_share_its_blocks() -> None:
    driver = Driver(blocks=20)
    leader = driver.add(prompt=17, max_tokens=10)
    followers = [driver.add(prompt=17, max_tokens=10, leader=leader) for _ in range(2)]
    while not leader.written:
        driver.step()
    driver.step()
    for follower in followers:
        assert follower.table.blocks[:4] == leader.table.blocks[:4]
        assert follower.cached_tokens == 16


def test_where_there_is_plenty_shared_blocks_are_copied_to_lie_side_by_side() -> None:
    driver = Driver(blocks=100)
    first = driver.add(prompt=17, max_tokens=30)
    driver.step()
    driver.step()
    driver.step()
    second = driver.add(prompt=17, max_tokens=30)
    driver.step()
    (copy,) = driver.scheduler.copies
    assert copy.sources == tuple(first.table.blocks[:4])
    assert copy.targets == tuple(second.table.blocks[:4])
    assert second.cached_tokens == 16
    driver.run()
    assert not set(copy.sources) & set(copy.targets)


def test_a_conversation_goes_on_behind_its_own_blocks() -> None:
    driver = Driver(blocks=100)
    driver.add(prompt=17, max_tokens=8)
    driver.run()
    further = driver.add(prompt=30, max_tokens=4)
    driver.step()
    assert further.cached_tokens == 24
    assert driver.scheduler.copies == []
    assert further.table.contiguous


def test_the_last_token_is_computed_even_when_all_are_cached() -> None:
    driver = Driver(blocks=100)
    driver.add(prompt=16, max_tokens=1)
    driver.run()
    again = driver.add(prompt=16, max_tokens=1)
    driver.run()
    assert again.cached_tokens == 12
