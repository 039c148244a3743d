"""The engine: requests in, updates out, one step per call.

    engine = Engine(model, tokenizer, EngineConfig())
    engine.submit(Request("a", prompt=tuple(tokenizer.encode("Once upon a time"))))
    while not engine.idle:
        for update in engine.step():
            print(update.text, end="")

A step runs the model once over one new token of every answer being written and a chunk of the prompts being read,
samples, and gives what can be shown. Not safe for threads; `EngineRunner` owns a thread that steps it.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import torch

from freehold.engine.blocks import Segment
from freehold.engine.cache import KVCache
from freehold.engine.config import INVARIANT_ROWS, EngineConfig
from freehold.engine.output import OutputStream
from freehold.engine.request import Request, Update
from freehold.engine.sampler import SamplerState, sample
from freehold.engine.scheduler import Scheduled, Scheduler
from freehold.engine.sequence import Sequence
from freehold.engine.stats import EngineStats
from freehold.engine.step import Forward, Part
from freehold.errors import ConfigError, ContextLengthError, InvalidRequestError, OverloadedError
from freehold.kernels import pack
from freehold.model.transformer import Transformer
from freehold.text.tokenizer import Tokenizer

__all__ = ["Engine"]


class Engine:
    """Continuous batching over a block-paged cache.

    Args:
        model: On its device, in its dtype. On a CPU its weights are packed in place unless `config.pack` is False.
        tokenizer: Of the model.
        config: Sizes and switches.

    Raises:
        ConfigError: The context asked for exceeds the model's, or there is no memory for a cache.
    """

    def __init__(self, model: Transformer, tokenizer: Tokenizer, config: EngineConfig | None = None) -> None:
        self.config = config or EngineConfig()
        self.tokenizer = tokenizer
        if self.config.threads is not None:
            torch.set_num_threads(self.config.threads)
        weight = model.model.embed_tokens.weight
        device, dtype = weight.device, weight.dtype
        self.max_context = self.config.max_context or model.config.context_length
        if self.max_context > model.config.context_length:
            raise ConfigError(
                f"A context of {self.max_context:,} tokens is asked for; the model's is "
                f"{model.config.context_length:,}. Ask for no more than that, or leave it out."
            )
        exact = self.config.batch_invariant
        exact = dtype == torch.float32 if exact is None else exact
        if device.type == "cpu" and self.config.pack:
            pack(model)
        self._vocab_size, self._device = model.config.vocab_size, device
        self._cache = KVCache(model.config, self.config, max_context=self.max_context, dtype=dtype, device=device)
        self._scheduler = Scheduler(
            self._cache.pool,
            max_batch=self.config.max_batch,
            prefill_chunk=max(self.config.prefill_chunk, INVARIANT_ROWS) if exact else self.config.prefill_chunk,
            align=INVARIANT_ROWS if exact else 1,
        )
        self._forward = Forward(model, self._cache, device, exact=exact)
        self._requests: dict[str, list[Sequence]] = {}
        self._arrivals = itertools.count()
        self._last_words: list[Update] = []
        self._stats = EngineStats(cache_tokens=self._cache.num_tokens)

    @property
    def context_length(self) -> int:
        """Most tokens of prompt and answer together, as context and cache allow."""
        return min(self.max_context, self._cache.num_tokens)

    @property
    def idle(self) -> bool:
        """Whether a step would have nothing to do and nothing to tell."""
        return not self._requests and not self._last_words

    @property
    def waiting(self) -> int:
        """Answers in the queue."""
        return len(self._scheduler.waiting)

    @property
    def stats(self) -> EngineStats:
        """A copy of the counters and gauges, as of now."""
        scheduler, pool, size = self._scheduler, self._cache.pool, self._cache.block_size
        return replace(
            self._stats,
            running=len(scheduler.running),
            waiting=len(scheduler.waiting),
            cache_used_tokens=pool.held * size,
            cache_reusable_tokens=pool.cached * size,
            preemptions=scheduler.preemptions,
        )

    def check(self, request: Request) -> int:
        """Checks that a request can be honoured, and gives how many tokens each answer may have. Safe for threads.

        Raises:
            InvalidRequestError: A token id that the model does not have, or an empty prompt.
            ContextLengthError: The prompt and `max_tokens` exceed the context or the cache; the message gives the
                counts.
        """
        params, prompt = request.params, request.prompt
        self.check_tokens(prompt)
        for param, ids in (("logit_bias", params.logit_bias), ("stop_token_ids", params.stop_token_ids)):
            for token_id in ids:
                if not 0 <= token_id < self._vocab_size:
                    raise self._unknown(param, token_id)
        limit, what = self.max_context, "the model's context"
        if self._cache.num_tokens < limit:
            limit, what = self._cache.num_tokens, "the cache (--cache-tokens, in Python cache_tokens, makes it larger)"
        least = params.max_tokens or 1
        if len(prompt) + least > limit:
            raise ContextLengthError(
                f"The prompt has {len(prompt):,} tokens and {least:,} are to be written, {len(prompt) + least:,} "
                f"in all; {what} holds {limit:,}. Shorten the prompt or lower max_tokens.",
                param="max_tokens" if len(prompt) < limit else "messages",
                code="context_length_exceeded",
            )
        return params.max_tokens or limit - len(prompt)

    def check_tokens(self, prompt: tuple[int, ...]) -> None:
        """Checks that there are tokens, and that the model has them. Safe for threads.

        Raises:
            InvalidRequestError: There are none, or one is unknown.
        """
        if not prompt:
            raise InvalidRequestError("The prompt is empty; it must have at least one token.", param="prompt")
        if not 0 <= min(prompt) <= max(prompt) < self._vocab_size:
            outside = next(token_id for token_id in prompt if not 0 <= token_id < self._vocab_size)
            raise self._unknown("prompt", outside)

    def submit(self, request: Request) -> None:
        """Puts a request in the queue.

        Raises:
            InvalidRequestError, ContextLengthError: As `check`; also where the id is in use.
            OverloadedError: The queue is full.
        """
        max_tokens = self.check(request)
        if request.request_id in self._requests:
            raise InvalidRequestError(f"A request {request.request_id!r} is alive already; ids must be unique.")
        if self.waiting + request.params.n > self.config.max_waiting:
            raise OverloadedError(
                f"{self.waiting} answers are waiting and at most {self.config.max_waiting} may; try again later."
            )
        sequences: list[Sequence] = []
        for index in range(request.params.n):
            sequences.append(
                Sequence(
                    request=request,
                    index=index,
                    arrival=next(self._arrivals),
                    max_tokens=max_tokens,
                    sampler=SamplerState(request.params, index, request.prompt, self._device),
                    output=OutputStream(request, index, max_tokens, self.tokenizer),
                    leader=sequences[0] if index and self.config.prefix_cache else None,
                )
            )
        self._requests[request.request_id] = sequences
        for sequence in sequences:
            self._scheduler.add(sequence)
        self._stats.requests += 1

    def abort(self, request_id: str) -> None:
        """Ends all answers to a request now; their blocks are free at once. An unknown id is no error.

        The next step gives their last updates, with `finish_reason="abort"`.
        """
        for sequence in self._requests.pop(request_id, []):
            if sequence.output.finish_reason is None:
                sequence.output.finish("abort")
                self._scheduler.remove(sequence)
                self._stats.aborted += 1
                self._tell(sequence, self._last_words)

    def reset(self) -> None:
        """Drops every request without a word and the whole prefix cache; for use after a step has failed."""
        for sequence in [*self._scheduler.running, *self._scheduler.waiting]:
            self._scheduler.remove(sequence)
        self._requests.clear()
        self._last_words.clear()
        self._cache.pool.forget()
        self._stats.failures += 1

    def step(self) -> list[Update]:
        """Does one step. Gives updates of the answers that have something to tell, at most one each.

        Raises:
            EngineError: The model gave numbers that are not finite. Call `reset` after this or any other error.
        """
        began = time.perf_counter()
        updates, self._last_words = self._last_words, []
        plan = self._scheduler.schedule()
        if not plan:
            return updates
        for copy in self._scheduler.copies:
            self._cache.copy(copy.sources, copy.targets)
        logits_RV = self._forward.run([_part(scheduled) for scheduled in plan])
        sampling = [scheduled.sequence for scheduled in plan if scheduled.samples]
        for scheduled in plan:
            self._note_computed(scheduled)
        if sampling:
            sampled = sample(
                logits_RV,
                [sequence.sampler for sequence in sampling],
                [sequence.written for sequence in sampling],
                [sequence.output.forced for sequence in sampling],
            )
            for sequence, token in zip(sampling, sampled, strict=True):
                sequence.tokens.append(token.token_id)
                sequence.sampler.record(token.token_id)
                sequence.output.push(token)
                self._stats.completion_tokens += 1
                if sequence.output.finish_reason is not None:
                    self._retire(sequence)
                self._tell(sequence, updates)
        seconds = time.perf_counter() - began
        self._stats.steps += 1
        self._stats.step_seconds += seconds
        self._stats.last_step_seconds = seconds
        return updates

    def _note_computed(self, scheduled: Scheduled) -> None:
        sequence, pool = scheduled.sequence, self._cache.pool
        if sequence.written == 0 and sequence.computed == (sequence.cached_tokens or 0) and not sequence.preempted:
            self._stats.prompt_tokens += sequence.prompt_tokens
            self._stats.cached_tokens += sequence.cached_tokens or 0
        self._stats.computed_prompt_tokens += max(0, min(scheduled.count, sequence.prompt_tokens - sequence.computed))
        sequence.computed += scheduled.count
        if pool.prefix_cache:
            whole = sequence.computed // pool.block_size
            if whole > sequence.published:
                hashes = sequence.extend_hashes(pool)
                for block in range(sequence.published, whole):
                    pool.publish(sequence.table.blocks[block], hashes[block])
                sequence.published = whole

    def _retire(self, sequence: Sequence) -> None:
        self._scheduler.remove(sequence)
        self._stats.finished += 1
        siblings = self._requests.get(sequence.request.request_id, [])
        if all(sibling.output.finish_reason is not None for sibling in siblings):
            self._requests.pop(sequence.request.request_id, None)

    def _tell(self, sequence: Sequence, updates: list[Update]) -> None:
        update = sequence.output.take(sequence.cached_tokens or 0)
        if update is not None:
            updates.append(update)

    def _unknown(self, param: str, token_id: int) -> InvalidRequestError:
        return InvalidRequestError(
            f"{param} has token id {token_id}; the model's ids run from 0 to {self._vocab_size - 1}.",
            param=param,
            code="invalid_value",
        )


def _part(scheduled: Scheduled) -> Part:
    sequence = scheduled.sequence
    token_ids = sequence.tokens[sequence.computed : sequence.computed + scheduled.count]
    return Part(token_ids, Segment(sequence.table, sequence.computed, scheduled.count), scheduled.samples)
