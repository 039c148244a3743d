"""No field of a request is accepted and ignored: it has an effect that shows, is a no-op at its default, or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openai.types import completion_create_params
from openai.types.chat import completion_create_params as chat_create_params

from freehold.errors import InvalidRequestError, UnsupportedError
from freehold.serve.fields import CHAT_FIELDS, COMPLETION_FIELDS, markdown
from freehold.serve.prompts import chat_job, completion_job
from freehold.serve.registry import ModelRegistry
from freehold.serve.running import Job
from freehold.serve.schema import ChatBody, CompletionBody, parse_chat, parse_completion
from tests.support.fake_model import FakeModel

MESSAGES = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}}


def chat(**fields: Any) -> Job:
    registry = ModelRegistry([FakeModel(thinking="optional", tools=True)])
    body = parse_chat({"model": "fake", "messages": MESSAGES, **fields})
    return chat_job(registry, body, principal="me", allow_prefix=False)


def completion(**fields: Any) -> Job:
    body = parse_completion({"model": "fake", "prompt": "Hello", **fields})
    return completion_job(ModelRegistry([FakeModel()]), body, principal="me")


def param(name: str) -> Callable[[Job], Any]:
    return lambda job: getattr(job.requests[0].params, name)


def owner(job: Job) -> str:
    return job.requests[0].user


SAMPLING: dict[str, tuple[Any, Callable[[Job], Any], Any]] = {
    "frequency_penalty": (0.5, param("frequency_penalty"), 0.5),
    "logit_bias": ({"65": -7}, param("logit_bias"), {65: -7}),
    "n": (3, param("n"), 3),
    "presence_penalty": (-1.5, param("presence_penalty"), -1.5),
    "seed": (11, param("seed"), 11),
    "stop": (["a", "b"], param("stop"), ("a", "b")),
    "temperature": (1.7, param("temperature"), 1.7),
    "top_p": (0.25, param("top_p"), 0.25),
    "top_k": (7, param("top_k"), 7),
    "min_p": (0.1, param("min_p"), 0.1),
    "repetition_penalty": (1.25, param("repetition_penalty"), 1.25),
    "max_tokens": (9, param("max_tokens"), 9),
}
"""Honoured fields: a value, where in the job it shows, and as what."""

CHAT_EFFECTS = {
    **SAMPLING,
    "max_completion_tokens": (9, param("max_tokens"), 9),
    "logprobs": (True, param("logprobs"), 0),
    "reasoning_effort": ("low", lambda job: job.requests[0].thinking.budget, 1024),
    "thinking": ({"type": "disabled"}, lambda job: job.requests[0].thinking, None),
    "tools": ([TOOL], lambda job: job.tools[0]["function"]["name"], "look"),
}
COMPLETION_EFFECTS = {
    **SAMPLING,
    "logprobs": (2, param("logprobs"), 2),
    "echo": (True, lambda job: job.echo, ("Hello",)),
}

IN_OTHER_TESTS = {
    "messages", "prompt", "model", "user", "user_id", "prompt_cache_key", "stream", "stream_options", "top_logprobs",
    "tool_choice",
}  # fmt: skip
"""Honoured fields whose effect takes more than one line to show: below, and in test_chat.py."""


@pytest.mark.parametrize("name", CHAT_EFFECTS)
def test_an_honoured_chat_field_has_its_effect(name: str) -> None:
    value, look, expected = CHAT_EFFECTS[name]
    assert look(chat(**{name: value})) == expected
    if name != "tools":
        assert look(chat()) != expected


@pytest.mark.parametrize("name", COMPLETION_EFFECTS)
def test_an_honoured_completion_field_has_its_effect(name: str) -> None:
    value, look, expected = COMPLETION_EFFECTS[name]
    assert look(completion(**{name: value})) == expected
    assert look(completion()) != expected


@pytest.mark.parametrize("name", ["user", "user_id", "prompt_cache_key"])
def test_users_and_cache_keys_keep_the_prefix_cache_apart(name: str) -> None:
    for make in (chat, completion):
        assert len({owner(make()), owner(make(**{name: "a"})), owner(make(**{name: "b"}))}) == 3
        assert owner(make(**{name: "a"})) == owner(make(**{name: "a"}))


def test_user_and_user_id_are_one_field_and_no_value_can_pose_as_another() -> None:
    assert owner(chat(user="a")) == owner(chat(user_id="a")) == owner(chat(user="a", user_id="a"))
    assert owner(chat(user="a", prompt_cache_key="b")) != owner(chat(user="ab"))
    assert owner(chat(user="a")) != owner(chat(prompt_cache_key="a"))
    with pytest.raises(InvalidRequestError, match="differ"):
        chat(user="a", user_id="b")
    with pytest.raises(InvalidRequestError, match="512"):
        chat(user_id="u" * 513)


def test_top_logprobs_and_tool_choice() -> None:
    assert chat(logprobs=True, top_logprobs=4).requests[0].params.logprobs == 4
    with pytest.raises(InvalidRequestError, match="needs logprobs"):
        chat(top_logprobs=4)
    for value in (-1, 21):
        with pytest.raises(InvalidRequestError, match="from 0 to 20"):
            chat(logprobs=True, top_logprobs=value)
    assert chat(tools=[TOOL], tool_choice="auto").tools
    assert chat(tools=[TOOL], tool_choice="none").tools is None
    for forced in ("required", {"type": "function", "function": {"name": "look"}}):
        with pytest.raises(UnsupportedError, match="tool_choice"):
            chat(tools=[TOOL], tool_choice=forced)


# What is refused, with a value that OpenAI's API would take.
REFUSED: dict[str, Any] = {
    "audio": {"format": "wav", "voice": "alloy"},
    "function_call": "none",
    "functions": [{"name": "f"}],
    "moderation": {"model": "m"},
    "prediction": {"type": "content", "content": "x"},
    "prompt_cache_options": {"mode": "implicit"},
    "safety_identifier": "x",
    "web_search_options": {},
}
# What is accepted at its default alone, with another value of OpenAI's.
NOT_DEFAULT: dict[str, Any] = {
    "metadata": {"a": "b"},
    "modalities": ["text", "audio"],
    "parallel_tool_calls": False,
    "prompt_cache_retention": "24h",
    "response_format": {"type": "json_object"},
    "service_tier": "priority",
    "store": True,
    "verbosity": "low",
}


def treated(table: Any, treatment: str) -> set[str]:
    return {name for name, field in table.items() if field.treatment == treatment}


@pytest.mark.parametrize("name", sorted(treated(CHAT_FIELDS, "refused")))
def test_a_refused_field_is_named(name: str) -> None:
    with pytest.raises(UnsupportedError, match=name) as caught:
        chat(**{name: REFUSED[name]})
    assert caught.value.param == name


@pytest.mark.parametrize("name", sorted(treated(CHAT_FIELDS, "at its default")))
def test_a_field_at_its_default_changes_nothing_and_is_refused_otherwise(name: str) -> None:
    plain = chat().requests[0]
    for value in CHAT_FIELDS[name].accepted:
        same = chat(**{name: value}).requests[0]
        assert (same.prompt, same.params, same.thinking, same.user) == (
            plain.prompt, plain.params, plain.thinking, plain.user,
        )  # fmt: skip
    with pytest.raises(UnsupportedError, match=name) as caught:
        chat(**{name: NOT_DEFAULT[name]})
    assert caught.value.param == name


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"store": True}, "store is true; it must be false or left out: completions are not stored."),
        ({"service_tier": "flex"},
         'service_tier is "flex"; it must be "auto", "default" or left out: there is one tier.'),
        ({"metadata": {"a": "b"}}, 'metadata is {"a": "b"}; it must be {} or left out: nothing is stored that it could '
         "label."),
        ({"response_format": {"type": "json_object"}}, 'response_format is {"type": "json_object"}; it must be '
         '{"type": "text"} or left out: JSON output needs constrained decoding, which is not offered yet.'),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format is an object of 2 items; "
         'it must be {"type": "text"} or left out: JSON output needs constrained decoding, which is not offered yet.'),
    ],
)  # fmt: skip
def test_a_refused_value_is_named_with_what_is_taken(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        chat(**fields)
    assert str(caught.value) == message


def test_json_schema_and_a_suffix_are_refused_by_name() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    with pytest.raises(UnsupportedError, match="response_format"):
        chat(response_format=schema)
    with pytest.raises(UnsupportedError, match="suffix"):
        completion(suffix=" end")


def test_best_of_must_equal_n() -> None:
    assert completion(best_of=2, n=2).n == 2
    assert completion(best_of=1).n == 1
    with pytest.raises(UnsupportedError, match="best_of is 3; it must be 2 or left out: every answer is returned"):
        completion(best_of=3, n=2)


def test_numbers_and_booleans_do_not_pass_for_each_other() -> None:
    for name, value in (("store", 0), ("parallel_tool_calls", 1), ("n", True), ("temperature", "1"), ("stream", 1)):
        with pytest.raises(InvalidRequestError) as caught:
            chat(**{name: value})
        assert caught.value.param == name


def test_an_unknown_field_is_refused_at_every_depth() -> None:
    for fields, where in (
        ({"chat_template_kwargs": {}}, "chat_template_kwargs"),
        ({"messages": [{"role": "user", "content": "x", "colour": "red"}]}, "messages[0].colour"),
        ({"thinking": {"type": "enabled", "depth": 3}}, "thinking.depth"),
        ({"stream": True, "stream_options": {"fast": True}}, "stream_options.fast"),
        ({"tools": [{**TOOL, "colour": "red"}]}, "tools[0].colour"),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            chat(**fields)
        assert caught.value.param == where
        assert caught.value.code == "unknown_parameter"


def test_null_means_not_given() -> None:
    nulls = {name: None for name in CHAT_FIELDS if name not in ("messages", "model")}
    assert chat(**nulls).requests[0].params == chat().requests[0].params


def test_every_field_of_openais_client_is_in_the_table_and_in_these_tests() -> None:
    theirs = set(chat_create_params.CompletionCreateParamsBase.__annotations__) | {"stream"}
    assert theirs <= set(CHAT_FIELDS)
    theirs = set(completion_create_params.CompletionCreateParamsBase.__annotations__) | {"stream"}
    assert theirs <= set(COMPLETION_FIELDS)
    assert treated(CHAT_FIELDS, "honoured") == (set(CHAT_EFFECTS) | IN_OTHER_TESTS) - {"prompt"}
    assert treated(COMPLETION_FIELDS, "honoured") == (set(COMPLETION_EFFECTS) | IN_OTHER_TESTS) - {
        "messages", "top_logprobs", "tool_choice",
    }  # fmt: skip
    assert set(REFUSED) == treated(CHAT_FIELDS, "refused")
    assert set(NOT_DEFAULT) == treated(CHAT_FIELDS, "at its default")
    assert treated(COMPLETION_FIELDS, "refused") == {"suffix"}
    assert treated(COMPLETION_FIELDS, "at its default") == {"best_of"}


def test_the_request_shapes_hold_exactly_the_honoured_fields() -> None:
    assert set(ChatBody.model_fields) == treated(CHAT_FIELDS, "honoured")
    assert set(CompletionBody.model_fields) == treated(COMPLETION_FIELDS, "honoured")


def test_the_documented_table_is_current(repository: Path) -> None:
    page = repository / "docs" / "schema.md"
    assert page.read_text(encoding="utf-8") == markdown(), "run: python -m freehold.serve.fields > docs/schema.md"


def test_fields_that_only_work_together_or_never_do() -> None:
    for make, fields, where in (
        (chat, {"stream_options": {"include_usage": True}}, "stream_options"),
        (completion, {"stream_options": {}}, "stream_options"),
        (chat, {"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        (chat, {"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        (completion, {"echo": True, "logprobs": 1}, "echo"),
        (chat, {"tool_choice": "required"}, "tool_choice"),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            make(**fields)
        assert caught.value.param == where
    quiet = {"include_usage": False, "include_obfuscation": False}
    assert chat(stream=True, stream_options=quiet).include_usage is False
    assert chat(stream=True, stream_options={"include_usage": True}).include_usage is True
    assert chat(max_tokens=5, max_completion_tokens=5).requests[0].params.max_tokens == 5


def test_what_is_not_given_takes_the_models_recommended_values() -> None:
    for make in (chat, completion):
        params = make().requests[0].params
        assert (params.temperature, params.top_p) == (0.6, 0.95)
    assert chat(temperature=0).requests[0].params.temperature == 0
