"""Whether a request thinks: the model's nature, the id asked for, and the request's fields."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.errors import InvalidRequestError, UnsupportedError
from freehold.serve.prompts import chat_job
from freehold.serve.registry import ModelRegistry
from freehold.serve.schema import parse_chat
from freehold.serve.thinking import EFFORT_LEVELS
from tests.support.fake_model import FakeModel


def asked(nature: str, model: str = "fake", **fields: Any) -> tuple[bool | None, int | None, int]:
    """Whether the model was asked to think, with which budget and reserve."""
    fake = FakeModel(thinking=nature)
    body = parse_chat({"model": model, "messages": [{"role": "user", "content": "x"}], **fields})
    job = chat_job(ModelRegistry([fake]), body, principal="me", allow_prefix=False)
    thinking = job.requests[0].thinking
    return fake.asked[0]["thinking"], thinking and thinking.budget, thinking.answer_reserve if thinking else 0


ON, OFF = {"thinking": {"type": "enabled"}}, {"thinking": {"type": "disabled"}}


@pytest.mark.parametrize(
    ("nature", "model", "fields", "thinks"),
    [
        ("optional", "fake", {}, True),
        ("optional", "fake", OFF, False),
        ("optional", "deepseek-chat", {}, False),
        ("optional", "deepseek-chat", ON, True),
        ("optional", "deepseek-reasoner", {}, True),
        ("optional", "deepseek-reasoner", OFF, False),
        ("optional", "fake", {"reasoning_effort": "none"}, False),
        ("optional", "deepseek-chat", {"reasoning_effort": "low"}, True),
        ("always", "fake", {}, True),
        ("always", "deepseek-reasoner", ON, True),
        ("always", "fake", OFF, False),
        ("always", "fake", {"reasoning_effort": "none"}, False),
        ("always", "deepseek-chat", {}, False),
        ("never", "fake", {}, None),
        ("never", "fake", OFF, None),
        ("never", "deepseek-chat", {}, None),
        ("never", "deepseek-reasoner", OFF, None),
        ("never", "fake", {"reasoning_effort": "none"}, None),
    ],
)
def test_the_field_decides_over_the_id_and_the_id_over_the_models_habit(
    nature: str, model: str, fields: dict[str, Any], thinks: bool | None
) -> None:
    assert asked(nature, model, **fields)[0] is thinks


@pytest.mark.parametrize(
    ("nature", "model", "fields", "param"),
    [
        ("never", "fake", ON, "thinking"),
        ("never", "fake", {"reasoning_effort": "low"}, "reasoning_effort"),
        ("never", "deepseek-reasoner", {}, "model"),
    ],
)
def test_a_model_that_cannot_is_named(nature: str, model: str, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedError, match="The model fake ") as caught:
        asked(nature, model, **fields)
    assert caught.value.param == param


def test_effort_is_a_budget_by_the_documented_mapping() -> None:
    budgets = {name: asked("optional", reasoning_effort=name)[1] for name in EFFORT_LEVELS}
    assert budgets == {
        "none": None, "minimal": 1024, "low": 1024, "medium": 8192, "high": 8192, "xhigh": 8192, "max": None,
        "ultra": None,
    }  # fmt: skip


def test_a_budget_leaves_room_for_the_answer() -> None:
    assert asked("optional", thinking={"type": "enabled", "budget_tokens": 50}, max_tokens=80) == (True, 50, 1)
    context = FakeModel.context_length
    assert asked("optional", thinking={"type": "enabled", "budget_tokens": 2 * context})[2] > context // 5
    assert asked("optional", reasoning_effort="medium")[2] > context // 5
    assert asked("optional", reasoning_effort="low", max_tokens=80) == (True, 1024, 20)
    assert asked("optional", **ON, max_tokens=80) == (True, None, 0)
    with pytest.raises(InvalidRequestError, match="must be lower"):
        asked("optional", thinking={"type": "enabled", "budget_tokens": 80}, max_tokens=80)
    with pytest.raises(InvalidRequestError, match=r"budget_tokens is 0; it must be at least 1\."):
        asked("optional", thinking={"type": "enabled", "budget_tokens": 0})


def test_contradictions_are_refused() -> None:
    for fields in (
        {**OFF, "reasoning_effort": "high"},
        {**ON, "reasoning_effort": "none"},
        {"thinking": {"type": "disabled", "budget_tokens": 5}},
    ):
        with pytest.raises(InvalidRequestError, match="drop"):
            asked("optional", **fields)
