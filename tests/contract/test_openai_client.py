"""The openai client against the live server: scripted answers for the shapes, tiny real models for the truth."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from freehold.engine.language_model import LanguageModel
from freehold.errors import EngineError
from tests.support.fake_model import FakeModel, Think
from tests.support.live_server import LiveServer, live_server
from tests.support.tiny_models import tiny_folder

ASK: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}}
]


@pytest.fixture(scope="module")
def scripted() -> FakeModel:
    return FakeModel(thinking="optional", tools=True, script=[Think("France, hm."), "Pa", "ris."])


@pytest.fixture(scope="module")
def server(scripted: FakeModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("server")
    thinker = LanguageModel.from_folder(
        tiny_folder("deepseek_v3", folder / "tiny-r1", template="deepseek-r1"), dtype="bfloat16"
    )
    plain = LanguageModel.from_folder(tiny_folder("llama", folder / "tiny-llama"), dtype="bfloat16")
    with thinker, plain, live_server([scripted, thinker, plain], folder, aliases={"gpt-4o": "tiny-llama"}) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


def test_models_and_aliases(client: openai.OpenAI) -> None:
    ids = [model.id for model in client.models.list()]
    assert ids == ["fake", "tiny-r1", "tiny-llama", "deepseek-chat", "deepseek-reasoner", "gpt-4o"]
    facts = client.models.retrieve("gpt-4o").model_extra
    assert facts is not None
    assert facts["freehold"]["alias_of"] == "tiny-llama"
    assert facts["freehold"]["context_length"] == 512
    with pytest.raises(openai.NotFoundError, match="served are") as caught:
        client.models.retrieve("none")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="none", messages=ASK)


def test_an_answer_whole_and_streamed(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="fake", messages=ASK)
    message = whole.choices[0].message
    assert message.content == "Paris."
    assert message.model_extra == {"reasoning_content": "France, hm."}
    assert whole.choices[0].finish_reason == "stop"
    content, reasoning, usage = "", "", None
    for chunk in client.chat.completions.create(
        model="fake", messages=ASK, stream=True, stream_options={"include_usage": True}
    ):
        usage = chunk.usage
        for choice in chunk.choices:
            content += choice.delta.content or ""
            reasoning += (choice.delta.model_extra or {}).get("reasoning_content", "")
    assert (content, reasoning) == ("Paris.", "France, hm.")
    assert usage is not None
    assert usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens == len("France, hm.")


def test_the_clients_own_accumulator_agrees(client: openai.OpenAI, scripted: FakeModel) -> None:
    script, scripted.runner.script = (
        scripted.runner.script,
        ['<tool_call>{"name": "look", "arguments": {"a": 1}}</tool_call>'],
    )
    try:
        with client.chat.completions.stream(model="fake", messages=ASK, tools=TOOLS) as stream:
            final = stream.get_final_completion()
    finally:
        scripted.runner.script = script
    assert final.choices[0].finish_reason == "tool_calls"
    calls = final.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.name == "look"
    assert json.loads(calls[0].function.arguments) == {"a": 1}


def test_an_error_in_the_middle_of_a_stream_is_raised(client: openai.OpenAI, scripted: FakeModel) -> None:
    script, scripted.runner.script = scripted.runner.script, ["Pa", EngineError("broke")]
    seen: list[str] = []
    try:
        stream = client.chat.completions.create(model="fake", messages=ASK, stream=True)
        with pytest.raises(openai.APIError, match="The server failed"):
            seen.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    finally:
        scripted.runner.script = script
    assert "".join(seen) == "Pa"


def test_refusals_are_the_clients_own_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model="fake", messages=ASK, response_format={"type": "json_object"})
    assert bad.value.param == "response_format"
    with pytest.raises(openai.UnprocessableEntityError) as unfit:
        client.chat.completions.create(model="fake", messages=ASK, temperature=9)
    assert unfit.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model="tiny-llama", prompt="x " * 3000)
    assert long.value.code == "context_length_exceeded"


def test_r1s_format_on_a_tiny_random_model(client: openai.OpenAI) -> None:
    for budget in (None, 4):
        extra = {"thinking": {"type": "enabled", **({"budget_tokens": budget} if budget else {})}}
        answer = client.chat.completions.create(
            model="tiny-r1", messages=ASK, max_tokens=24, temperature=0, extra_body=extra, seed=1
        )
        usage = answer.usage
        assert usage is not None
        assert usage.completion_tokens_details is not None
        assert usage.completion_tokens == 24
        thought = usage.completion_tokens_details.reasoning_tokens
        assert thought is not None
        reasoning = (answer.choices[0].message.model_extra or {})["reasoning_content"]
        assert reasoning
        if budget:
            assert thought <= budget
            assert answer.choices[0].message.content
        else:
            assert thought == 24
        assert answer.choices[0].finish_reason == "length"


def test_a_model_that_cannot_think_is_named_and_one_that_always_does_answers_at_once(client: openai.OpenAI) -> None:
    for model, extra in (
        ("tiny-llama", {"thinking": {"type": "enabled"}}),
        ("gpt-4o", {"reasoning_effort": "high"}),
    ):
        with pytest.raises(openai.BadRequestError, match=r"The model tiny-llama ") as caught:
            client.chat.completions.create(model=model, messages=ASK, extra_body=extra)
        assert caught.value.param in ("thinking", "reasoning_effort")
    for model in ("tiny-llama", "tiny-r1"):
        answer = client.chat.completions.create(
            model=model, messages=ASK, max_tokens=2, extra_body={"thinking": {"type": "disabled"}}
        )
        assert answer.usage is not None
        assert answer.choices[0].message.model_extra == {}


def test_greedy_text_is_the_engines_own_and_streams_alike(client: openai.OpenAI, server: LiveServer) -> None:
    model = server.state.registry.resolve("tiny-llama").model
    assert isinstance(model, LanguageModel)
    expected = model.generate("Once upon a time", max_tokens=12, temperature=0)
    options: dict[str, Any] = {"model": "tiny-llama", "prompt": "Once upon a time", "max_tokens": 12, "temperature": 0}
    whole = client.completions.create(**options)
    streamed = "".join(chunk.choices[0].text for chunk in client.completions.create(**options, stream=True))
    assert whole.choices[0].text == streamed == expected.text
    ids = [*model.tokenizer.start_ids, *model.tokenizer.encode("Once upon a time")]
    assert client.completions.create(**{**options, "prompt": ids}).choices[0].text == expected.text


def test_seeds_and_independent_answers(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {"model": "tiny-llama", "messages": ASK, "max_tokens": 8, "temperature": 1.5, "n": 3}
    # of two users, so that both run the whole prompt: a cached prefix may differ in the last bits of bfloat16
    first, again = (client.chat.completions.create(**options, seed=5, user=user) for user in ("ann", "bob"))
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in again.choices]
    assert len(set(texts)) == 3
    assert first.usage is not None
    assert first.usage.completion_tokens <= 24


def test_logprobs_follow_the_text(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tiny-llama", messages=ASK, max_tokens=6, logprobs=True, top_logprobs=3, temperature=0
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert len(logprobs.content) == 6
    for entry in logprobs.content:
        assert len(entry.top_logprobs) == 3
        assert entry.logprob == max(top.logprob for top in entry.top_logprobs) <= 0
    raw = b"".join(bytes(entry.bytes or []) for entry in logprobs.content)
    assert raw.decode(errors="replace").strip() == (answer.choices[0].message.content or "").strip()


def test_the_prefix_cache_belongs_to_its_user(client: openai.OpenAI) -> None:
    prompt = "A long common beginning of many words. " * 8

    def hits(user: str) -> Any:
        usage = client.completions.create(model="tiny-llama", prompt=prompt, max_tokens=1, user=user).usage
        assert usage is not None
        fields = usage.model_extra or {}
        assert fields["prompt_cache_hit_tokens"] + fields["prompt_cache_miss_tokens"] == usage.prompt_tokens
        assert usage.prompt_tokens_details is not None
        assert usage.prompt_tokens_details.cached_tokens == fields["prompt_cache_hit_tokens"]
        return fields["prompt_cache_hit_tokens"]

    assert hits("ann") == 0
    assert hits("ann") > 0
    assert hits("bob") == 0


def test_deepseeks_base_urls_and_prefix_completion(server: LiveServer) -> None:
    continued: list[Any] = [*ASK, {"role": "assistant", "content": "The capital is", "prefix": True}]
    with openai.OpenAI(base_url=f"{server.url}/beta", api_key="none", max_retries=0) as beta:
        answer = beta.chat.completions.create(model="tiny-llama", messages=continued, max_tokens=3, temperature=0)
        assert answer.usage is not None
        assert answer.usage.completion_tokens <= 3
        fresh = beta.chat.completions.create(model="tiny-llama", messages=ASK, max_tokens=3, temperature=0)
        assert fresh.usage is not None
        assert answer.usage.prompt_tokens > fresh.usage.prompt_tokens
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as root:
        assert (
            root.chat.completions.create(model="deepseek-reasoner", messages=ASK).choices[0].message.content == "Paris."
        )
        assert root.chat.completions.create(model="deepseek-chat", messages=ASK).choices
        with pytest.raises(openai.BadRequestError, match="/beta"):
            root.chat.completions.create(model="tiny-llama", messages=continued)


def test_leaving_a_stream_stops_the_engine_within_a_step(client: openai.OpenAI, server: LiveServer) -> None:
    model = server.state.registry.resolve("tiny-llama").model
    assert isinstance(model, LanguageModel)
    before = model.engine.stats.aborted
    ends = model.tokenizer.eos_ids | model.chat_format.stop_token_ids
    never_end = {str(token): -100 for token in ends}
    stream = client.chat.completions.create(model="tiny-llama", messages=ASK, stream=True, logit_bias=never_end)
    next(iter(stream))
    stream.close()

    async def idle() -> None:
        while not model.engine.idle:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(idle(), 5))
    assert model.engine.stats.aborted == before + 1
    assert server.state.traffic.running == 0


def test_the_async_client(server: LiveServer) -> None:
    async def ask_many() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            answers = await asyncio.gather(
                *(client.chat.completions.create(model="tiny-llama", messages=ASK, max_tokens=4) for _ in range(12))
            )
            return [answer.choices[0].finish_reason for answer in answers]

    assert set(asyncio.run(ask_many())) <= {"length", "stop"}


def test_tools_go_into_the_prompt_where_the_format_has_them(client: openai.OpenAI) -> None:
    def prompt_tokens(**fields: Any) -> int:
        answer = client.chat.completions.create(model="tiny-r1", messages=ASK, max_tokens=1, **fields)
        assert answer.usage is not None
        return answer.usage.prompt_tokens

    plain = prompt_tokens()
    assert prompt_tokens(tools=TOOLS) > plain
    assert prompt_tokens(tools=TOOLS, tool_choice="none") == plain
    without = [model.id for model in client.models.list() if not (model.model_extra or {})["freehold"]["tools"]]
    for name in without:
        with pytest.raises(openai.BadRequestError, match="has no tools") as caught:
            client.chat.completions.create(model=name, messages=ASK, tools=TOOLS)
        assert caught.value.param == "tools"


def test_a_whole_turn_with_tools_goes_back_and_forth(client: openai.OpenAI) -> None:
    turn: list[Any] = [
        *ASK,
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "I look.",
            "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "Paris"},
    ]
    answer = client.chat.completions.create(model="tiny-r1", messages=turn, tools=TOOLS, max_tokens=2)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 100
    assert answer.usage.completion_tokens <= 2
    turn[1] = {name: value for name, value in turn[1].items() if name != "reasoning_content"}
    with pytest.raises(openai.BadRequestError, match="thinking of all earlier") as caught:
        client.chat.completions.create(model="tiny-r1", messages=turn, tools=TOOLS, max_tokens=2)
    assert caught.value.param == "messages[1].reasoning_content"
