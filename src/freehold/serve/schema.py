"""The shapes of the requests: types and counts; what the values mean is checked where they are used.

Only honoured fields appear here: `fields.py` has answered for all others before. Types are strict, so that `"1"` is no
number and `true` is no integer. A list is read up to its first wrong item: a list of every error in a body of millions
of wrong items would take gigabytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from freehold.errors import InvalidRequestError
from freehold.serve.fields import CHAT_FIELDS, COMPLETION_FIELDS, select_fields
from freehold.serve.misfits import misfit
from freehold.serve.problems import clean

__all__ = [
    "ChatBody",
    "CompletionBody",
    "MessageIn",
    "SamplingBody",
    "ThinkingIn",
    "ToolIn",
    "parse",
    "parse_chat",
    "parse_completion",
]

MAX_MESSAGES = 10_000
MAX_TOOLS = 128
MAX_PROMPTS = 64

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra"]
UserId = Annotated[str, Field(min_length=1, max_length=512)]
Item = TypeVar("Item")


class _FirstError(FailFast):
    """pydantic's mark, with the hash that a union of types asks for in Python 3.11."""

    __hash__ = object.__hash__


Items = Annotated[list[Item], _FirstError()]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


class FunctionCallIn(_Strict):
    """What an assistant asked to have called; the arguments are JSON text."""

    name: str = Field(min_length=1, max_length=64)
    arguments: str


class ToolCallIn(_Strict):
    """One call in an assistant message of the history."""

    id: str = Field(min_length=1, max_length=512)
    type: Literal["function"] = "function"
    function: FunctionCallIn
    index: int | None = None


class MessageIn(_Strict):
    """A message as clients send it; `messages.py` reads the content."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Items[dict[str, Any]] | None = None
    name: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: Items[ToolCallIn] | None = None
    tool_call_id: str | None = None
    prefix: bool | None = None
    refusal: None = None
    audio: None = None
    function_call: None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None


class ThinkingIn(_Strict):
    """DeepSeek's switch, with our budget."""

    type: Literal["enabled", "disabled"]
    budget_tokens: int | None = Field(default=None, ge=1, lt=2**31)


class FunctionIn(_Strict):
    """A function that the model may ask to have called."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolIn(_Strict):
    """A tool; only functions are offered."""

    type: Literal["function"]
    function: FunctionIn


class StreamOptionsIn(_Strict):
    """How a stream is written."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class SamplingBody(_Strict):
    """The fields that every kind of completion shares."""

    model: str = Field(min_length=1, max_length=512)
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    max_tokens: int | None = None
    n: int | None = None
    presence_penalty: float | None = None
    prompt_cache_key: UserId | None = None
    seed: int | None = None
    stop: str | Items[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptionsIn | None = None
    temperature: float | None = None
    top_p: float | None = None
    user: UserId | None = None
    user_id: UserId | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None


class ChatBody(SamplingBody):
    """The honoured fields of a chat completion."""

    messages: Items[MessageIn] = Field(min_length=1, max_length=MAX_MESSAGES)
    logprobs: bool | None = None
    max_completion_tokens: int | None = None
    reasoning_effort: Effort | None = None
    thinking: ThinkingIn | None = None
    tool_choice: str | dict[str, Any] | None = None
    tools: Items[ToolIn] | None = Field(default=None, max_length=MAX_TOOLS)
    top_logprobs: int | None = None


class CompletionBody(SamplingBody):
    """The honoured fields of a plain completion."""

    prompt: str | Items[int] | Items[str] | Items[Items[int]]
    echo: bool | None = None
    logprobs: int | None = None


Body = TypeVar("Body", bound=BaseModel)


def parse_chat(body: Mapping[str, Any]) -> ChatBody:
    """Reads a chat completion's body.

    Raises:
        InvalidRequestError: A field is unknown, not offered, or of the wrong shape; `param` names it.
    """
    return parse(ChatBody, select_fields(body, CHAT_FIELDS))


def parse_completion(body: Mapping[str, Any]) -> CompletionBody:
    """Reads a plain completion's body.

    Raises:
        InvalidRequestError: A field is unknown, not offered, or of the wrong shape; `param` names it.
    """
    return parse(CompletionBody, select_fields(body, COMPLETION_FIELDS))


def parse(shape: type[Body], fields: Mapping[str, Any]) -> Body:
    """Fits fields to a shape.

    Raises:
        InvalidRequestError: They do not fit; `param` is the path of the first one that does not.
    """
    try:
        return shape.model_validate(fields)
    except ValidationError as error:
        found = [
            (_place(each["loc"], fields, each["type"] == "missing"), each)
            for each in error.errors(include_url=False, include_input=False)
        ]
        (path, value), first = found[0]
        # Where a value has the type of one branch of a union, what does not fit stands further inside it.
        inside = [entry for entry in found if entry[0][0].startswith((f"{path}.", f"{path}["))]
        if inside:
            (path, value), first = inside[0]
        param = clean(path, 200)
        if first["type"] == "missing":
            raise InvalidRequestError(f"{param} is missing.", param=param, code="missing_parameter") from None
        if first["type"] == "extra_forbidden":
            raise InvalidRequestError(
                f"Unknown field {param!r}; remove it.", param=param, code="unknown_parameter"
            ) from None
        here = [each for (where, _), each in found if where == path]
        raise InvalidRequestError(misfit(param, value, here), param=param, code="invalid_type") from None


def _place(loc: tuple[int | str, ...], fields: Any, missing: bool) -> tuple[str, Any]:
    """Gives the path of a location, without what names a branch of a union, and the value that stands there."""
    path = ""
    here = fields
    for number, step in enumerate(loc):
        last = number == len(loc) - 1
        if isinstance(step, int) and isinstance(here, list) and step < len(here):
            path += f"[{step}]"
            here = here[step]
        elif isinstance(step, str) and isinstance(here, dict) and step in here:
            path += f".{step}"
            here = here[step]
        elif missing and last:
            path += f".{step}"
    return path.removeprefix("."), here
