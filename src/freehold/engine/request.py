"""What goes into the engine and what comes out of it, a step at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

from freehold.types import FinishReason, SamplingParams, TokenLogprob, Usage

__all__ = ["Request", "Thinking", "Update"]


@dataclass(frozen=True, slots=True)
class Thinking:
    """How one request's thinking is told from its answer, and limited.

    Args:
        start: The tag that opens the thinking, as text (`<think>`).
        end: The tag that closes it, as text (`</think>`).
        opened: The prompt already ends inside the thinking, so that the first token belongs to it.
        budget: Most tokens of thinking; then the closing tag is forced and the answer follows. None leaves it to the
            model.
        answer_reserve: Tokens of `max_tokens` kept back for the answer: the thinking is closed when only these are
            left.
    """

    start: str
    end: str
    opened: bool
    budget: int | None = None
    answer_reserve: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to continue, in `params.n` independent ways.

    Args:
        request_id: Unique among the requests alive in the engine.
        prompt: Token ids, at least one.
        params: How to sample and when to end.
        user: Whose prefix cache this may read and extend; sequences of different users share nothing.
        thinking: None where the model does not think in this request: all its text is answer.
        visible_special_ids: Special tokens that belong in the text all the same (the markers of tool calls).
    """

    request_id: str
    prompt: tuple[int, ...]
    params: SamplingParams = field(default_factory=SamplingParams)
    user: str = ""
    thinking: Thinking | None = None
    visible_special_ids: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Update:
    """What one step gave one answer of one request.

    `text` and `reasoning` are increments that are safe to show: whole characters only, no part of a stop string, no
    thinking tags. `token_ids` and `logprobs` are those of the tokens whose text is settled; they lag behind while a
    stop string may have begun, and the tokens of a stop string that did end the answer are left out, as the end token
    is. `usage` is given with the last update of each answer (and counts that answer alone), `finish_reason` likewise.
    `cached_tokens` is known from the first update on.
    """

    request_id: str
    index: int
    text: str = ""
    reasoning: str = ""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    cached_tokens: int = 0
