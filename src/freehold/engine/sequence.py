"""One answer in the making: its tokens, how far the cache has them, and how it will be sampled and shown."""

from __future__ import annotations

from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field

from freehold.engine.blocks import BlockPool, BlockTable
from freehold.engine.output import OutputStream
from freehold.engine.request import Request
from freehold.engine.sampler import SamplerState

__all__ = ["Sequence"]


@dataclass(eq=False, slots=True)
class Sequence:
    """The state of one answer. `Scheduler` moves it between waiting and running; `Engine` adds its tokens.

    Args:
        request: What it answers.
        index: Which of the request's answers.
        arrival: Its place in the order of arrival; smaller is older.
        max_tokens: Most tokens to write, the context's limit already applied.
        sampler: What sampling keeps from token to token.
        output: What becomes of its tokens.
        leader: The first answer to the same prompt; this one waits until the leader's prompt is in the cache, and
            shares it.
    """

    request: Request
    index: int
    arrival: int
    max_tokens: int
    sampler: SamplerState
    output: OutputStream
    leader: Sequence | None = None
    tokens: list[int] = field(default_factory=list)
    computed: int = 0
    cached_tokens: int | None = None
    preempted: bool = False
    table: BlockTable = field(default_factory=BlockTable)
    hashes: list[bytes] = field(default_factory=list)
    published: int = 0

    def __post_init__(self) -> None:
        self.tokens = list(self.request.prompt)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt."""
        return len(self.request.prompt)

    @property
    def written(self) -> int:
        """Tokens written so far, forced ones included."""
        return len(self.tokens) - self.prompt_tokens

    @property
    def pending(self) -> int:
        """Tokens that the cache does not hold yet."""
        return len(self.tokens) - self.computed

    @property
    def ready(self) -> bool:
        """Whether it may start: the answer that it shares its prompt with has that prompt in the cache, or is gone."""
        leader = self.leader
        return leader is None or leader.output.finish_reason is not None or leader.written > 0

    def extend_hashes(self, pool: BlockPool) -> list[bytes]:
        """Brings the chain of block hashes up to the whole blocks that there are, and gives it."""
        size = pool.block_size
        parent = self.hashes[-1] if self.hashes else pool.root(self.request.user)
        for block in range(len(self.hashes), len(self.tokens) // size):
            parent = pool.chain(parent, self._block(block, size))
            self.hashes.append(parent)
        return self.hashes

    def _block(self, block: int, size: int) -> Tokens[int]:
        return self.tokens[block * size : (block + 1) * size]
