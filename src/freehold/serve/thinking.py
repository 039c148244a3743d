"""Whether a request thinks, and for how long at most: the model's nature, its id, and the request's own fields.

The field decides over the id: `deepseek-chat` with `thinking: enabled` thinks, as at DeepSeek.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from freehold.errors import InvalidRequestError, UnsupportedError
from freehold.serve.registry import Served
from freehold.serve.schema import ThinkingIn

__all__ = ["EFFORT_BUDGET_TOKENS", "EFFORT_LEVELS", "ThinkingChoice", "choose_thinking"]

EFFORT_LEVELS: Mapping[str, str] = {
    "none": "none",
    "minimal": "low",
    "low": "low",
    "medium": "high",
    "high": "high",
    "xhigh": "high",
    "max": "max",
    "ultra": "max",
}
"""DeepSeek's mapping of OpenAI's and others' names to the levels that it knows."""

EFFORT_BUDGET_TOKENS: Mapping[str, int | None] = {"low": 1024, "high": 8192, "max": None}
"""What a level means here: the most tokens of thinking, None for no limit."""

ANSWER_SHARE = 4
"""Where an effort limits the thinking, this part (a quarter) of the room for both is kept for the answer."""


@dataclass(frozen=True, slots=True)
class ThinkingChoice:
    """What was decided.

    Args:
        thinks: Whether the model thinks in this request.
        budget: Most tokens of thinking, None for no limit.
        exact: The request gave the budget in tokens, so that no less is to be allowed where there is room.
    """

    thinks: bool
    budget: int | None = None
    exact: bool = False

    def answer_reserve(self, room: int) -> int:
        """Gives how many of the `room` tokens, for thinking and answer together, are kept for the answer."""
        if self.budget is None:
            return 0
        if self.exact and self.budget < room:
            return 1
        return max(1, room // ANSWER_SHARE)


def choose_thinking(
    served: Served, thinking: ThinkingIn | None, effort: str | None, max_tokens: int | None
) -> ThinkingChoice:
    """Decides over a request's thinking.

    Args:
        served: The model, and what its id asks for.
        thinking: The request's switch and budget.
        effort: The request's `reasoning_effort`.
        max_tokens: Most tokens of the whole answer.

    Raises:
        UnsupportedError: The model cannot think, and the request asks it to.
        InvalidRequestError: The fields contradict each other.
    """
    level = None if effort is None else EFFORT_LEVELS[effort]
    switch = None if thinking is None else thinking.type == "enabled"
    budget = None if thinking is None else thinking.budget_tokens
    if switch is False and level not in (None, "none"):
        _contradiction("reasoning_effort", f"reasoning_effort is {effort}, but thinking is disabled; drop one of them.")
    if switch is True and level == "none":
        _contradiction("reasoning_effort", "reasoning_effort is none, but thinking is enabled; drop one of them.")
    if switch is False and budget is not None:
        _contradiction("thinking.budget_tokens", "thinking.budget_tokens is given, but thinking is disabled; drop it.")
    param = "thinking" if switch is not None else "reasoning_effort" if level is not None else "model"
    asked = switch if switch is not None else None if level is None else level != "none"
    asked = served.thinking if asked is None else asked
    thinks = _settle(served, asked, param)
    if not thinks:
        return ThinkingChoice(False)
    if budget is not None:
        if max_tokens is not None and budget >= max_tokens:
            raise InvalidRequestError(
                f"thinking.budget_tokens is {budget} and max_tokens is {max_tokens}; the budget must be lower, "
                "so that tokens are left for the answer.",
                param="thinking.budget_tokens",
                code="invalid_value",
            )
        return ThinkingChoice(True, budget, exact=True)
    return ThinkingChoice(True, None if level is None else EFFORT_BUDGET_TOKENS[level])


def _settle(served: Served, asked: bool | None, param: str) -> bool:
    name, nature = served.model.name, served.model.chat_format.thinking
    if nature == "never":
        if asked:
            raise UnsupportedError(
                f"The model {name} cannot think; leave {param} out"
                + (", or ask for deepseek-chat." if param == "model" else ", or disable thinking."),
                param=param,
                code="thinking_not_supported",
            )
        return False
    return True if asked is None else asked


def _contradiction(param: str, message: str) -> None:
    raise InvalidRequestError(message, param=param, code="invalid_value")
