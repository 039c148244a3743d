"""Whatever JSON is sent, it becomes a job or a refusal that names a field: never an unexpected error."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold.errors import FreeholdError, InvalidRequestError, ModelNotFoundError
from freehold.serve.body import parse_object
from freehold.serve.fields import CHAT_FIELDS, COMPLETION_FIELDS
from freehold.serve.problems import problem_of
from freehold.serve.prompts import chat_job, completion_job
from freehold.serve.registry import ModelRegistry
from freehold.serve.running import Job
from freehold.serve.schema import MessageIn, parse_chat, parse_completion
from tests.support.fake_model import FakeModel

REGISTRY = ModelRegistry([FakeModel(thinking="optional", tools=True)])

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["auto", "none", "text", "enabled", "low", "user", "assistant", "fake", "0", "function", "look"])
)
names = st.sampled_from(
    ["type", "role", "content", "function", "name", "arguments", "id", "text", "budget_tokens", "0"]
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool"]) | values},
        optional=dict.fromkeys(set(MessageIn.model_fields) - {"role"}, values | st.text(max_size=5)),
    ),
    max_size=4,
)
plain_chat = st.fixed_dictionaries(
    {"model": st.just("fake"), "messages": st.just([{"role": "user", "content": "x"}]) | messages},
    optional=dict.fromkeys(set(CHAT_FIELDS) - {"model", "messages"}, values),
)
plain_completion = st.fixed_dictionaries(
    {"model": st.just("fake"), "prompt": st.just("x") | values},
    optional=dict.fromkeys(set(COMPLETION_FIELDS) - {"model", "prompt"}, values),
)
calm = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def settle(body: dict[str, Any], *, chat: bool) -> Job | FreeholdError:
    try:
        read = parse_object(json.dumps(body).encode(), 64)
        if chat:
            return chat_job(REGISTRY, parse_chat(read), principal="me", allow_prefix=True)
        return completion_job(REGISTRY, parse_completion(read), principal="me")
    except FreeholdError as error:
        return error


def check(result: Job | FreeholdError) -> None:
    if isinstance(result, Job):
        assert result.requests
        return
    assert isinstance(result, InvalidRequestError | ModelNotFoundError)
    problem = problem_of(result)
    assert problem.status in (400, 404, 422)
    assert problem.message
    assert problem.param or problem.code == "invalid_json"


@given(plain_chat)
@calm
def test_chat(body: dict[str, Any]) -> None:
    check(settle(body, chat=True))


@given(plain_completion)
@calm
def test_completion(body: dict[str, Any]) -> None:
    check(settle(body, chat=False))


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@calm
def test_bytes(raw: bytes) -> None:
    codes = {"invalid_json"}
    try:
        parse_object(raw, 64)
    except InvalidRequestError as error:
        codes.add(str(error.code))
    assert codes == {"invalid_json"}
