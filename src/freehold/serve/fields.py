"""Every field of a request, and what becomes of it: the one table that the server, its tests and its documents share.

A field is honoured; or it changes nothing here and is accepted only at the values that say so; or it is refused by
name. None is accepted and ignored. `null` means that a field is not given, as in OpenAI's API.
`python -m freehold.serve.fields` prints `docs/schema.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from freehold.errors import InvalidRequestError, UnsupportedError
from freehold.serve.misfits import must_be
from freehold.serve.problems import clean

__all__ = ["CHAT_FIELDS", "COMPLETION_FIELDS", "Field", "markdown", "select_fields"]


@dataclass(frozen=True, slots=True)
class Field:
    """What becomes of one field.

    Args:
        treatment: `honoured`; `at its default` (accepted only as one of `accepted`, where it changes nothing);
            `refused`.
        note: What it does, or why it is refused and what to do instead.
        accepted: The values that change nothing.
    """

    treatment: Literal["honoured", "at its default", "refused"]
    note: str
    accepted: tuple[Any, ...] = ()


def _honoured(note: str) -> Field:
    return Field("honoured", note)


def _default_only(note: str, *accepted: Any) -> Field:
    return Field("at its default", note, accepted)


def _refused(note: str) -> Field:
    return Field("refused", note)


_SAMPLING: dict[str, Field] = {
    "frequency_penalty": _honoured("-2 to 2."),
    "logit_bias": _honoured("Token ids of this model, as strings, each with -100 to 100; at most 1024."),
    "n": _honoured("1 to 16 independent answers."),
    "presence_penalty": _honoured("-2 to 2."),
    "seed": _honoured(
        "A 64-bit integer. Repeats the random numbers, and in float32 the answer; in bfloat16 rounding may part it."
    ),
    "stop": _honoured("A string, or up to 16 of them; none is ever emitted, not even in part."),
    "stream": _honoured("Server-sent events that end with `[DONE]`."),
    "stream_options": _honoured("`include_usage`; `include_obfuscation` only as false. Needs `stream: true`."),
    "temperature": _honoured("0 to 2; 0 is greedy. The model's recommended value where it is not given."),
    "top_p": _honoured("Over 0 up to 1. The model's recommended value where it is not given."),
    "user": _honoured("At most 512 characters; keeps this user's prefix cache apart from other users'."),
    "user_id": _honoured("DeepSeek's name for `user`."),
    "top_k": _honoured("Ours: keep the k most probable tokens, 0 keeps all."),
    "min_p": _honoured("Ours: drop tokens below this share of the most probable one's probability, 0 to 1."),
    "repetition_penalty": _honoured("Ours: over 0 to 10, 1 changes nothing."),
}

CHAT_FIELDS: Mapping[str, Field] = {
    "messages": _honoured(
        "Text messages of the roles system, developer (as system), user, assistant and tool. Images, audio and files "
        "are refused."
    ),
    "model": _honoured("A served model's name, an alias, `deepseek-chat` or `deepseek-reasoner`."),
    "audio": _refused("The models here write text."),
    "function_call": _refused("Deprecated; use `tool_choice`."),
    "functions": _refused("Deprecated; use `tools`."),
    "logprobs": _honoured("true reports the log-probability of each token."),
    "max_completion_tokens": _honoured(
        "Most tokens to write, thinking included; all that the context holds by default."
    ),
    "max_tokens": _honoured("The older name of `max_completion_tokens`."),
    "metadata": _default_only("Nothing is stored that it could label.", {}),
    "modalities": _default_only("The models here write text.", ["text"]),
    "moderation": _refused("No moderation model is served."),
    "parallel_tool_calls": _default_only("A model is not held to one call at a time.", True),
    "prediction": _refused("Predicted outputs are not offered."),
    "prompt_cache_key": _honoured("At most 512 characters; requests of different keys share no prefix cache."),
    "prompt_cache_options": _refused("The prefix cache needs no options; it is kept by user and dropped when full."),
    "prompt_cache_retention": _default_only("The prefix cache lives in memory.", "in_memory"),
    "reasoning_effort": _honoured(
        "`none` switches thinking off; `minimal` and `low` allow 1024 tokens of it, `medium`, `high` and `xhigh` 8192, "
        "`max` and `ultra` as many as the context holds; where there is a limit, a quarter of the room is kept for the "
        "answer. A model that cannot think answers 400 to all but `none`."
    ),
    "response_format": _default_only(
        "JSON output needs constrained decoding, which is not offered yet.", {"type": "text"}
    ),
    "safety_identifier": _refused("Users are not screened here; use `user` to keep them apart."),
    "service_tier": _default_only("There is one tier.", "auto", "default"),
    "store": _default_only("Completions are not stored.", False),
    "thinking": _honoured(
        '`{"type": "enabled"|"disabled"}`; with `budget_tokens` (ours, named as Anthropic\'s clients do) a hard limit: '
        "then the thinking is closed and the answer follows. It must be below `max_tokens`."
    ),
    "tool_choice": _honoured("`auto` or `none`. Forcing a call needs constrained decoding and is refused."),
    "tools": _honoured("Functions, at most 128, where the model's chat format has tools; `strict: true` is refused."),
    "top_logprobs": _honoured("0 to 20 alternatives per token; needs `logprobs: true`."),
    "verbosity": _default_only("The models here take no such hint.", "medium"),
    "web_search_options": _refused("Nothing here goes out to the web."),
    **_SAMPLING,
}

COMPLETION_FIELDS: Mapping[str, Field] = {
    "model": _honoured("A served model's name or an alias."),
    "prompt": _honoured("A string, token ids, or up to 64 of either."),
    "best_of": _default_only("Every answer is returned, so it must equal `n` (1 where `n` is not given)."),
    "echo": _honoured("true puts the prompt before the answer; not together with `logprobs`."),
    "logprobs": _honoured("0 to 20 alternatives per token."),
    "max_tokens": _honoured("Most tokens to write, 16 by default as in OpenAI's API."),
    "prompt_cache_key": _honoured("At most 512 characters; requests of different keys share no prefix cache."),
    "suffix": _refused("Filling in the middle needs a model that was trained to, and none is served."),
    **_SAMPLING,
}


def select_fields(body: Mapping[str, Any], table: Mapping[str, Field]) -> dict[str, Any]:
    """Gives the fields of a body that are honoured, after refusing what is not.

    Args:
        body: The JSON object of a request.
        table: `CHAT_FIELDS` or `COMPLETION_FIELDS`.

    Raises:
        UnsupportedError: A field that is known but not offered, or not with that value.
        InvalidRequestError: An unknown field.
    """
    chosen: dict[str, Any] = {}
    for name, value in body.items():
        field = table.get(name)
        if field is None:
            raise InvalidRequestError(
                f"Unknown field {clean(name, 80)!r}; remove it. docs/schema.md lists the fields of this path.",
                param=clean(name, 80),
                code="unknown_parameter",
            )
        if value is None:
            continue
        if field.treatment == "refused":
            raise UnsupportedError(f"{name} is not supported: {field.note}", param=name, code="unsupported_parameter")
        if field.treatment == "honoured":
            chosen[name] = value
        else:
            accepted = _accepted(name, field, body)
            if not any(type(value) is type(good) and value == good for good in accepted):
                why = field.note if field.note[:2].isupper() else field.note[:1].lower() + field.note[1:]
                raise UnsupportedError(f"{must_be(name, value, accepted)}: {why}", param=name, code="unsupported_value")
    return chosen


def _accepted(name: str, field: Field, body: Mapping[str, Any]) -> tuple[Any, ...]:
    if name == "best_of":
        n = body.get("n")
        return (1 if n is None else n,)
    return field.accepted


def markdown() -> str:
    """Writes the table as the page `docs/schema.md`."""
    import json

    lines = [
        "# The fields of the API",
        "",
        "Every field of OpenAI's and DeepSeek's requests, and what becomes of it. *honoured*: it does what it says.",
        "*at its default*: accepted only with the values shown, where it changes nothing. *refused*: answered with",
        "400, naming the field. A field that is not listed is answered with 422. `null` means that a field is not",
        "given.",
    ]
    pages = {
        "Chat completions: `POST /v1/chat/completions`": CHAT_FIELDS,
        "Completions: `POST /v1/completions`": COMPLETION_FIELDS,
    }
    for title, table in pages.items():
        lines += ["", f"## {title}", "", "| Field | Treatment | |", "|---|---|---|"]
        for name in sorted(table):
            field = table[name]
            values = ", ".join(f"`{json.dumps(value)}`" for value in field.accepted)
            note = f"{values}: {field.note}" if values else field.note
            lines.append(f"| `{name}` | {field.treatment} | {note.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
