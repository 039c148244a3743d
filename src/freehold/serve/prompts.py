"""From a parsed request to a job for the engine. Encoding takes time: the server does it on worker threads."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from freehold.engine.request import Request
from freehold.errors import ContextLengthError, InvalidRequestError
from freehold.serve.messages import choose_tools, read_messages
from freehold.serve.registry import ModelRegistry, ServedModel
from freehold.serve.running import Job, new_id
from freehold.serve.sampling import cache_owner, chat_sampling, completion_sampling
from freehold.serve.schema import MAX_PROMPTS, ChatBody, CompletionBody
from freehold.serve.thinking import ThinkingChoice, choose_thinking
from freehold.types import Message, SamplingParams

__all__ = ["MAX_CHOICES", "chat_job", "completion_job"]

MAX_CHOICES = 128
"""Most answers of one call, over all its prompts."""


def chat_job(registry: ModelRegistry, body: ChatBody, *, principal: str, allow_prefix: bool) -> Job:
    """Makes the job of a chat completion.

    Args:
        registry: The served models.
        body: The request.
        principal: Who asks, which keys the prefix cache.
        allow_prefix: Whether a last assistant message may be continued.

    Raises:
        InvalidRequestError: The request cannot be honoured; `param` names why.
        ModelNotFoundError: No such model.
    """
    served = registry.resolve(body.model)
    model = served.model
    params = chat_sampling(model, body)
    choice = choose_thinking(served, body.thinking, body.reasoning_effort, params.max_tokens)
    tools = choose_tools(served, body.tools, body.tool_choice)
    messages = read_messages(
        body.messages,
        allow_prefix=allow_prefix,
        keep_reasoning=bool(body.tools),
        need_reasoning=bool(body.tools) and choice.thinks,
    )
    _check_continues(messages, choice)
    job_id = new_id("chatcmpl-")
    request = model.request(
        messages,
        params,
        thinking=choice.thinks if served.can_think else None,
        tools=tools,
        budget=choice.budget,
        user=cache_owner(principal, body),
        request_id=job_id,
    )
    _check_fits(model, request.prompt, params, "messages")
    if request.thinking is not None:
        room = model.context_length - len(request.prompt) if params.max_tokens is None else params.max_tokens
        reserve = choice.answer_reserve(room)
        request = dataclasses.replace(request, thinking=dataclasses.replace(request.thinking, answer_reserve=reserve))
    return Job(
        job_id,
        served,
        (request,),
        n=params.n,
        thinks=choice.thinks,
        tools=tools,
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
    )


def completion_job(registry: ModelRegistry, body: CompletionBody, *, principal: str) -> Job:
    """Makes the job of a plain completion; see `chat_job`.

    Raises:
        InvalidRequestError: The request cannot be honoured; `param` names why.
        ModelNotFoundError: No such model.
    """
    served = registry.resolve(body.model)
    model = served.model
    params = completion_sampling(model, body)
    prompts = [_token_ids(model, prompt) for prompt in _prompts(body.prompt)]
    if len(prompts) * params.n > MAX_CHOICES:
        raise InvalidRequestError(
            f"{len(prompts)} prompts times n={params.n} are {len(prompts) * params.n} answers; "
            f"at most {MAX_CHOICES} can be asked for at once.",
            param="n",
            code="invalid_value",
        )
    job_id = new_id("cmpl-")
    owner = cache_owner(principal, body)
    for prompt in prompts:
        _check_fits(model, prompt, params, "prompt")
    texts = _prompts(body.prompt)
    echo = (
        [text if isinstance(text, str) else model.tokenizer.decode(list(text)) for text in texts] if body.echo else []
    )
    return Job(
        job_id,
        served,
        tuple(Request(f"{job_id}-{i}", prompt, params, owner) for i, prompt in enumerate(prompts)),
        n=params.n,
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        echo=tuple(echo),
    )


def _check_continues(messages: Sequence[Message], choice: ThinkingChoice) -> None:
    last = messages[-1]
    if last.prefix and last.reasoning_content and not last.content and not choice.thinks:
        param = f"messages[{len(messages) - 1}].reasoning_content"
        raise InvalidRequestError(
            f"{param} is to be continued, but thinking is off; enable it, or give the content that follows.",
            param=param,
            code="invalid_value",
        )


def _prompts(prompt: str | Sequence[int] | Sequence[str] | Sequence[Sequence[int]]) -> list[str | Sequence[int]]:
    if isinstance(prompt, str):
        return [prompt]
    if prompt and isinstance(prompt[0], int):
        return [[token for token in prompt if isinstance(token, int)]]
    prompts = [part for part in prompt if not isinstance(part, int)]
    if not 1 <= len(prompts) <= MAX_PROMPTS:
        raise InvalidRequestError(
            f"prompt holds {len(prompts)} prompts; it must hold 1 to {MAX_PROMPTS}.",
            param="prompt",
            code="invalid_value",
        )
    return prompts


def _token_ids(model: ServedModel, prompt: str | Sequence[int]) -> tuple[int, ...]:
    tokenizer = model.tokenizer
    ids = (*tokenizer.start_ids, *tokenizer.encode(prompt)) if isinstance(prompt, str) else tuple(prompt)
    if not ids:
        raise InvalidRequestError(
            "prompt is empty, and this model has no token that begins a text; give at least one token.",
            param="prompt",
            code="invalid_value",
        )
    for token in ids:
        if not 0 <= token < tokenizer.vocab_size:
            raise InvalidRequestError(
                f"prompt holds the token id {token}; this model's run from 0 to {tokenizer.vocab_size - 1}.",
                param="prompt",
                code="invalid_value",
            )
    return ids


def _check_fits(model: ServedModel, prompt: Sequence[int], params: SamplingParams, param: str) -> None:
    room = model.context_length - len(prompt)
    wanted = 1 if params.max_tokens is None else params.max_tokens
    if wanted <= room:
        return
    asked = "at least 1 for the answer" if params.max_tokens is None else f"max_tokens {params.max_tokens}"
    raise ContextLengthError(
        f"The context of {model.name} holds {model.context_length} tokens, but the prompt has {len(prompt)} and "
        f"{asked} makes {len(prompt) + wanted}; shorten the {param} or lower max_tokens. Nothing is cut silently.",
        param=param if room < 1 else "max_tokens",
        code="context_length_exceeded",
    )
