"""From a request's fields to how its tokens are chosen."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from freehold.errors import InvalidRequestError, UnsupportedError
from freehold.serve.problems import clean
from freehold.serve.registry import ServedModel
from freehold.serve.schema import ChatBody, CompletionBody, SamplingBody
from freehold.types import MAX_LOGPROBS, SamplingParams

__all__ = ["DEFAULT_COMPLETION_TOKENS", "cache_owner", "chat_sampling", "completion_sampling"]

DEFAULT_COMPLETION_TOKENS = 16
"""`max_tokens` of plain completions where it is not given, as in OpenAI's API."""

_TOKEN_ID = re.compile(r"0|[1-9][0-9]{0,9}")
"""One spelling for each id, so that no two entries of a bias mean the same token."""

_DIRECT = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "seed",
    "n",
)


def chat_sampling(model: ServedModel, body: ChatBody) -> SamplingParams:
    """Reads the sampling fields of a chat completion.

    Raises:
        InvalidRequestError: A value out of bounds, or fields that contradict each other.
    """
    if None not in (body.max_tokens, body.max_completion_tokens) and body.max_tokens != body.max_completion_tokens:
        raise InvalidRequestError(
            f"max_tokens is {body.max_tokens} and max_completion_tokens {body.max_completion_tokens}; give one.",
            param="max_tokens",
            code="invalid_value",
        )
    alternatives = None
    if body.logprobs:
        alternatives = body.top_logprobs or 0
    elif body.top_logprobs:
        raise InvalidRequestError("top_logprobs needs logprobs: true.", param="top_logprobs", code="invalid_value")
    if body.top_logprobs is not None and not 0 <= body.top_logprobs <= MAX_LOGPROBS:
        raise InvalidRequestError(
            f"top_logprobs is {body.top_logprobs}; it must be from 0 to {MAX_LOGPROBS}.",
            param="top_logprobs",
            code="invalid_value",
        )
    max_tokens = body.max_completion_tokens if body.max_tokens is None else body.max_tokens
    return _params(model, body, max_tokens=max_tokens, logprobs=alternatives)


def completion_sampling(model: ServedModel, body: CompletionBody) -> SamplingParams:
    """Reads the sampling fields of a plain completion.

    Raises:
        InvalidRequestError: A value out of bounds, or fields that contradict each other.
    """
    if body.echo and body.logprobs is not None:
        raise UnsupportedError(
            "echo together with logprobs needs the prompt's log-probabilities, which are not offered; drop one.",
            param="echo",
            code="unsupported_value",
        )
    max_tokens = DEFAULT_COMPLETION_TOKENS if body.max_tokens is None else body.max_tokens
    return _params(model, body, max_tokens=max_tokens, logprobs=body.logprobs)


def _params(model: ServedModel, body: SamplingBody, *, max_tokens: int | None, logprobs: int | None) -> SamplingParams:
    if body.stream_options is not None:
        if not body.stream:
            raise InvalidRequestError(
                "stream_options needs stream: true.", param="stream_options", code="invalid_value"
            )
        if body.stream_options.include_obfuscation:
            raise UnsupportedError(
                "stream_options.include_obfuscation is not offered; leave it out or set it to false.",
                param="stream_options.include_obfuscation",
                code="unsupported_value",
            )
    chosen: dict[str, Any] = dict(recommended(model))
    chosen.update({name: value for name in _DIRECT if (value := getattr(body, name)) is not None})
    return SamplingParams(
        **chosen,
        max_tokens=max_tokens,
        logprobs=logprobs,
        stop=() if body.stop is None else (body.stop,) if isinstance(body.stop, str) else tuple(body.stop),
        logit_bias=_logit_bias(body.logit_bias or {}, model.tokenizer.vocab_size),
    )


def recommended(model: ServedModel) -> Mapping[str, Any]:
    """Gives the sampling values that the model's makers recommend, by field name."""
    defaults = model.defaults
    return {name: getattr(defaults, name) for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")}


def _logit_bias(biases: Mapping[str, float], vocab_size: int) -> dict[int, float]:
    result = {}
    for token, bias in biases.items():
        if not (_TOKEN_ID.fullmatch(token) and int(token) < vocab_size):
            raise InvalidRequestError(
                f"logit_bias names {clean(token, 40)!r}, which is no token id of this model; "
                f"ids run from 0 to {vocab_size - 1}.",
                param="logit_bias",
                code="invalid_value",
            )
        result[int(token)] = bias
    return result


def cache_owner(principal: str, body: SamplingBody) -> str:
    """Gives the name under which the request's prefixes are cached; different names share nothing.

    Args:
        principal: Who asks, as the server knows them.
        body: The request, with its `user`, `user_id` and `prompt_cache_key`.

    Raises:
        InvalidRequestError: `user` and `user_id` differ.
    """
    if body.user is not None and body.user_id is not None and body.user != body.user_id:
        raise InvalidRequestError("user and user_id differ; give one of them.", param="user_id", code="invalid_value")
    user = body.user if body.user_id is None else body.user_id
    digest = hashlib.sha256()
    for part in (principal, user, body.prompt_cache_key):
        encoded = b"" if part is None else b"=" + part.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()
