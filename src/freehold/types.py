"""The plain data that crosses layers: messages, sampling parameters, completions, usage.

Nothing here imports torch. All types are frozen; `__post_init__` refuses values out of bounds with an
error that names the field, so that every entrance (HTTP, Python, terminal) shares one set of limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from freehold.errors import InvalidRequestError

__all__ = [
    "Completion",
    "FinishReason",
    "Message",
    "Role",
    "SamplingParams",
    "TokenLogprob",
    "ToolCall",
    "Usage",
]

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "abort", "insufficient_system_resource"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a function that the model asked for; `arguments` is the JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    Args:
        role: Who speaks. A `developer` message of OpenAI's API is a `system` message here.
        content: The text, without the thinking.
        reasoning_content: An assistant's thinking, without its tags.
        name: An optional participant's name.
        tool_calls: What an assistant asked to have called.
        tool_call_id: Which call a `tool` message answers.
        prefix: On a last assistant message: continue this text instead of starting a new turn.
    """

    role: Role
    content: str = ""
    reasoning_content: str | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    prefix: bool = False


_BOUNDS: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
}
_WHOLE: dict[str, bool] = {
    "max_tokens": True,
    "top_k": False,
    "seed": True,
    "logprobs": True,
    "n": False,
}
"""Fields that are whole numbers, and whether they may be None."""
MAX_STOPS = 16
MAX_STOP_CHARS = 512
MAX_N = 16
MAX_LOGPROBS = 20
MAX_LOGIT_BIAS = 1024
SEED_BITS = 64


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is chosen, and when to end.

    The order is: logit bias, repetition, presence and frequency penalties, then temperature, then top-k,
    top-p and min-p on the tempered distribution. `temperature=0` is greedy. `logprobs` are of the model's own
    distribution, before any of these.

    Args:
        max_tokens: Most tokens to write, thinking included; None means as many as the context holds.
        temperature: 0 to 2.
        top_p: Keep the smallest set of tokens whose probabilities reach this, over 0 up to 1.
        top_k: Keep the k most probable tokens; 0 keeps all.
        min_p: Drop tokens below this share of the most probable one's probability, 0 to 1.
        presence_penalty: Subtracted once from each token already written, -2 to 2.
        frequency_penalty: Subtracted per occurrence of each token already written, -2 to 2.
        repetition_penalty: Divides positive and multiplies negative logits of tokens in prompt and answer, over 0
            to 10.
        logit_bias: Added to the logits of single token ids, -100 to 100 each.
        seed: Draws the same random numbers again, whatever else is in the batch. In float32 that repeats the answer on
            the same machine; in bfloat16 the logits are rounded otherwise where the batch or the cached part of the
            prompt differs, so that a close choice may fall otherwise.
        stop: The answer ends before any of these strings; none of them is ever emitted, not even in part.
        stop_token_ids: Further tokens that end the answer, beside the model's own end tokens.
        ignore_eos: Write on past the model's end tokens (benchmarks).
        logprobs: How many alternatives to report per token beside the chosen one; None reports nothing, 0 the chosen
            only.
        n: How many independent answers to one prompt.

    Raises:
        InvalidRequestError: A value of a wrong type or out of bounds; `param` names the field.
    """

    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None
    n: int = 1

    def __post_init__(self) -> None:
        self._check_types()
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise _out_of_bounds(name, value, f"from {low:g} to {high:g}")
        if self.top_p == 0.0:
            raise _out_of_bounds("top_p", self.top_p, "over 0 and at most 1; use temperature 0 for greedy decoding")
        if not 0.0 < self.repetition_penalty <= 10.0:
            raise _out_of_bounds("repetition_penalty", self.repetition_penalty, "over 0 and at most 10")
        if self.max_tokens is not None and not 1 <= self.max_tokens < 2**31:
            raise _out_of_bounds("max_tokens", self.max_tokens, "at least 1")
        if not 0 <= self.top_k < 2**31:
            raise _out_of_bounds("top_k", self.top_k, "0 (off) or more")
        if not 1 <= self.n <= MAX_N:
            raise _out_of_bounds("n", self.n, f"from 1 to {MAX_N}")
        if self.logprobs is not None and not 0 <= self.logprobs <= MAX_LOGPROBS:
            raise _out_of_bounds("logprobs", self.logprobs, f"from 0 to {MAX_LOGPROBS}")
        if self.seed is not None and not -(2 ** (SEED_BITS - 1)) <= self.seed < 2**SEED_BITS:
            raise _out_of_bounds("seed", self.seed, "a 64-bit integer")
        if len(self.stop) > MAX_STOPS:
            raise _out_of_bounds("stop", f"{len(self.stop)} strings", f"at most {MAX_STOPS}")
        for stop in self.stop:
            if not 1 <= len(stop) <= MAX_STOP_CHARS:
                raise _out_of_bounds("stop", f"a string of {len(stop)} characters", f"1 to {MAX_STOP_CHARS} characters")
        if len(self.logit_bias) > MAX_LOGIT_BIAS:
            raise _out_of_bounds("logit_bias", f"{len(self.logit_bias)} entries", f"at most {MAX_LOGIT_BIAS}")
        for token_id, bias in self.logit_bias.items():
            if token_id < 0 or not -100.0 <= bias <= 100.0:
                raise _out_of_bounds("logit_bias", f"{token_id}: {bias}", "a token id and a bias from -100 to 100")

    def _check_types(self) -> None:
        """A wrong type would otherwise come to light in the middle of a step that many answers share."""
        for name in (*_BOUNDS, "repetition_penalty"):
            if not _is_number(getattr(self, name)):
                raise _out_of_bounds(name, repr(getattr(self, name)), "a number")
        for name, optional in _WHOLE.items():
            value = getattr(self, name)
            if not (_is_whole(value) or (optional and value is None)):
                raise _out_of_bounds(name, repr(value), "a whole number" + (" or None" if optional else ""))
        if not isinstance(self.stop, tuple) or not all(isinstance(stop, str) for stop in self.stop):
            raise _out_of_bounds("stop", repr(self.stop), "a tuple of strings")
        if not isinstance(self.stop_token_ids, tuple) or not all(map(_is_whole, self.stop_token_ids)):
            raise _out_of_bounds("stop_token_ids", repr(self.stop_token_ids), "a tuple of token ids")
        biases = self.logit_bias
        if not isinstance(biases, Mapping) or not all(_is_whole(t) and _is_number(b) for t, b in biases.items()):
            raise _out_of_bounds("logit_bias", repr(biases), "a mapping from token ids to numbers")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _out_of_bounds(param: str, value: Any, bound: str) -> InvalidRequestError:
    return InvalidRequestError(f"{param} is {value}; it must be {bound}.", param=param, code="invalid_value")


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token, its natural-log probability under the model, and the alternatives asked for, most probable first."""

    token_id: int
    text: str
    utf8: bytes
    logprob: float
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request.

    `cached_tokens` of the prompt came from the prefix cache; reasoning tokens are part of the completion.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Completion:
    """One finished answer.

    Args:
        text: The answer, without the thinking.
        reasoning: The thinking without its tags; None where the model did not think.
        token_ids: Every token written, the thinking included, the end token left out.
        finish_reason: Why it ended.
        usage: What it took.
        logprobs: One entry a token, where asked for.
        tool_calls: What the model asked to have called.
    """

    text: str
    reasoning: str | None
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    usage: Usage
    logprobs: tuple[TokenLogprob, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
