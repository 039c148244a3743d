"""What becomes of an answer's tokens: text in whole characters, thinking apart from the answer, and the end.

Stop strings count in the whole output, the thinking included, as on DeepSeek's API: one that occurs in the thinking
ends the answer there, before any of it is shown. They are looked for in the text as the model writes it, tags and all.

Tokens and log-probabilities are given out with their text: while a stop string may have begun they wait, and those
that overlap one that did end the answer are left out, as the end token is. `Usage` counts them all the same, because
they were computed (the end token is not counted).

A thinking budget works by force: when it is used up, or when `max_tokens` leaves only the answer's reserve, the tokens
of the closing tag are taken as if they had been sampled. They go through the model like any others, and count as
written, but not as thinking.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from freehold.engine.request import Request, Update
from freehold.engine.sampler import Sampled
from freehold.engine.stops import StopFilter
from freehold.text.reasoning import ReasoningParser, ThinkTags
from freehold.text.stream import StreamDecoder
from freehold.text.tokenizer import Tokenizer
from freehold.types import FinishReason, TokenLogprob, Usage

__all__ = ["OutputStream"]


@dataclass(slots=True)
class _Held:
    """A token that waits for its text; `end` is where that ends in the output, None while a character is incomplete."""

    sampled: Sampled
    end: int | None


class OutputStream:
    """Turns one answer's tokens into updates, and knows when it is over.

    Args:
        request: What is answered.
        index: Which of its answers.
        max_tokens: Most tokens to write.
        tokenizer: Of the model.
    """

    def __init__(self, request: Request, index: int, max_tokens: int, tokenizer: Tokenizer) -> None:
        params, thinking = request.params, request.thinking
        self.finish_reason: FinishReason | None = None
        self.reasoning_tokens = 0
        self._request, self._index, self._max_tokens, self._tokenizer = request, index, max_tokens, tokenizer
        self._end_ids = frozenset(params.stop_token_ids) | (frozenset() if params.ignore_eos else tokenizer.eos_ids)
        keep = request.visible_special_ids
        tags: ThinkTags | None = None
        self._close_ids: tuple[int, ...] = ()
        if thinking is not None:
            tags = ThinkTags(thinking.start, thinking.end)
            ids = {tokenizer.special_id(thinking.start), tokenizer.special_id(thinking.end)}
            keep |= {token_id for token_id in ids if token_id is not None}
            self._close_ids = tuple(tokenizer.encode(thinking.end, allow_special=True))
        opened = thinking is not None and thinking.opened
        self._decoder = StreamDecoder(tokenizer, keep=keep, continued=True)
        self._stops = StopFilter(params.stop)
        self._parser = ReasoningParser(tags, opened)
        self._ahead = ReasoningParser(tags, opened)  # sees text that the stop filter still holds
        self._forced: deque[int] = deque()
        self._closed_by_force = False
        self._written = 0
        self._decoded = 0
        self._held: deque[_Held] = deque()
        self._text, self._reasoning = "", ""
        self._told = False
        self._force_if_due()

    @property
    def forced(self) -> int | None:
        """The token that must come next, whatever the logits; None leaves it to sampling."""
        return self._forced[0] if self._forced else None

    def push(self, sampled: Sampled) -> None:
        """Takes the next token; sets `finish_reason` where it ends the answer."""
        if self._forced:
            self._forced.popleft()
        elif sampled.token_id in self._end_ids:
            self.finish("stop")
            return
        self._written += 1
        was_inside = self._ahead.inside
        piece = self._decoder.push(sampled.token_id)
        self._hold(sampled, piece)
        self._ahead.push(piece)
        self._count(was_inside)
        self._show(piece)
        if self._stops.stopped:
            self._end("stop")
        elif self._written >= self._max_tokens:
            self.finish("length")
        else:
            self._force_if_due()

    def finish(self, reason: FinishReason) -> None:
        """Ends the answer: what was held back can be shown, unless it completes a stop string."""
        if self.finish_reason is not None:
            return
        last = self._decoder.flush()
        self._settle(last)
        for held in self._held:
            held.end = self._decoded if held.end is None else held.end
        self._show(last)
        if not self._stops.stopped:
            self._split(self._stops.flush())
        self._end("stop" if self._stops.stopped and reason != "abort" else reason)

    def take(self, cached_tokens: int) -> Update | None:
        """Gives what has come together since the last call; None where there is nothing to tell (any more)."""
        if self._told:
            return None
        tokens = []
        while self._held and self._held[0].end is not None and self._held[0].end <= self._stops.released:
            tokens.append(self._held.popleft().sampled)
        if self._stops.stopped:
            self._held.clear()
        text, reasoning = self._text, self._reasoning
        if not (tokens or text or reasoning or self.finish_reason):
            return None
        self._text = self._reasoning = ""
        usage = None
        self._told = self.finish_reason is not None
        if self.finish_reason is not None:
            usage = Usage(
                prompt_tokens=len(self._request.prompt),
                completion_tokens=self._written,
                cached_tokens=cached_tokens,
                reasoning_tokens=self.reasoning_tokens,
            )
        return Update(
            request_id=self._request.request_id,
            index=self._index,
            text=text,
            reasoning=reasoning,
            token_ids=tuple(sampled.token_id for sampled in tokens),
            logprobs=tuple(self._logprob(s) for s in tokens if s.logprob is not None),
            finish_reason=self.finish_reason,
            usage=usage,
            cached_tokens=cached_tokens,
        )

    def _end(self, reason: FinishReason) -> None:
        self.finish_reason = reason
        self._forced.clear()
        reasoning, text = self._parser.flush()
        self._reasoning += reasoning
        self._text += text

    def _hold(self, sampled: Sampled, piece: str) -> None:
        self._settle(piece)
        silent = not piece and not self._tokenizer.token_bytes(sampled.token_id)
        skipped = not piece and sampled.token_id in self._tokenizer.special_ids
        settled = bool(piece) or silent or skipped
        self._held.append(_Held(sampled, self._decoded if settled else None))

    def _settle(self, piece: str) -> None:
        """Notes where the text of the tokens ends whose last character this piece completes."""
        self._decoded += len(piece)
        if piece:
            for held in reversed(self._held):
                if held.end is not None:
                    break
                held.end = self._decoded

    def _show(self, piece: str) -> None:
        self._split(self._stops.push(piece))

    def _split(self, text: str) -> None:
        reasoning, answer = self._parser.push(text)
        self._reasoning += reasoning
        self._text += answer

    def _count(self, was_inside: bool) -> None:
        if self._ahead.inside:
            self.reasoning_tokens += was_inside and not self._closed_by_force
        elif was_inside and not self._closed_by_force:
            # the tag is complete now: its earlier tokens were taken for thinking
            self.reasoning_tokens = max(0, self.reasoning_tokens - (len(self._close_ids) - 1))

    def _force_if_due(self) -> None:
        thinking = self._request.thinking
        if thinking is None or self._closed_by_force or not self._ahead.inside:
            return
        used_up = thinking.budget is not None and self.reasoning_tokens >= thinking.budget
        left = self._max_tokens - self._written - len(self._close_ids)
        if used_up or (thinking.answer_reserve > 0 and left <= thinking.answer_reserve):
            self._forced.extend(self._close_ids)
            self._closed_by_force = True

    def _logprob(self, sampled: Sampled) -> TokenLogprob:
        top = tuple(self._named(token_id, logprob) for token_id, logprob in sampled.top)
        return self._named(sampled.token_id, sampled.logprob or 0.0, top)

    def _named(self, token_id: int, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        text = self._tokenizer.decode([token_id], skip_special=False, continued=True)
        return TokenLogprob(token_id, text, self._tokenizer.token_bytes(token_id), logprob, top)
