from __future__ import annotations

import gc
import json
import math
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from freehold.engine import placement
from freehold.engine.collect import with_tool_calls
from freehold.engine.config import EngineConfig
from freehold.engine.language_model import LanguageModel
from freehold.engine.placement import choose_device, choose_dtype
from freehold.errors import ConfigError, ContextLengthError, InvalidRequestError, UnsupportedError
from freehold.types import Completion, FinishReason, Message, SamplingParams, Usage
from tests.engine.conftest import Tiny
from tests.engine.running import prompts
from tests.support.tiny_models import tiny_folder

ENGINE = EngineConfig(pack=False)


@pytest.fixture(scope="module")
def model(llama: Tiny) -> Iterator[LanguageModel]:
    with LanguageModel.from_folder(llama.folder, dtype="float32", engine=ENGINE, name="tiny") as loaded:
        yield loaded


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LanguageModel]:
    """A model with R1's format, which opens the thinking in the prompt."""
    folder = tiny_folder("qwen2", tmp_path_factory.mktemp("thinker"), seed=1, style="deepseek", template="deepseek-r1")
    with LanguageModel.from_folder(folder, dtype="float32", engine=ENGINE, name="thinker") as loaded:
        yield loaded


def test_logits_are_those_of_transformers(model: LanguageModel, llama: Tiny) -> None:
    (prompt,) = prompts(1, [40])
    reference = transformers.AutoModelForCausalLM.from_pretrained(llama.folder, dtype=torch.float32).eval()
    with torch.no_grad():
        wanted_TV = reference(torch.tensor([prompt])).logits[0]
    steps = model.runner.stats.steps
    logits_TV = model.logits(prompt)
    assert logits_TV.dtype == torch.float32
    torch.testing.assert_close(logits_TV, wanted_TV, atol=1e-4, rtol=0)
    assert (model.runner.stats.steps, model.runner.stats.cache_used_tokens) == (steps, 0)


@pytest.mark.parametrize("ids", [[], [512], [-1]])
def test_logits_of_what_is_no_token_are_refused(model: LanguageModel, ids: list[int]) -> None:
    with pytest.raises(InvalidRequestError):
        model.logits(ids)


def test_logits_of_more_than_the_context_are_refused(model: LanguageModel) -> None:
    assert model.logits([30] * 512).shape == (512, 512)
    with pytest.raises(ContextLengthError, match="513 tokens; the model's context holds 512"):
        model.logits([30] * 513)


def test_generate_takes_text_or_ids(model: LanguageModel) -> None:
    text = "All happy families"
    ids = [*model.tokenizer.start_ids, *model.tokenizer.encode(text)]
    by_text = model.generate(text, max_tokens=5, temperature=0, ignore_eos=True)
    by_ids = model.generate(ids, max_tokens=5, temperature=0, ignore_eos=True)
    assert by_text.token_ids == by_ids.token_ids
    assert len(by_text.token_ids) == 5
    assert by_text.usage.prompt_tokens == len(ids)
    assert by_text.text == model.tokenizer.decode(by_text.token_ids, continued=True)


def test_chat_writes_the_prompt_in_the_models_format(model: LanguageModel) -> None:
    question = "What is the capital of France?"
    answer = model.chat(question, max_tokens=6, temperature=0)
    prompt = model.chat_format.encode([Message("user", question)])
    ends = tuple(sorted(model.chat_format.stop_token_ids))
    direct = model.generate(prompt.token_ids, max_tokens=6, temperature=0, stop_token_ids=ends)
    assert answer.token_ids == direct.token_ids
    assert answer.reasoning is None


def test_a_stream_gives_what_chat_gives(model: LanguageModel) -> None:
    whole = model.chat("Hello", max_tokens=12, seed=3)
    with model.stream("Hello", max_tokens=12, seed=3) as updates:
        pieces = list(updates)
    assert "".join(update.text for update in pieces) == whole.text
    assert pieces[-1].finish_reason == whole.finish_reason


def test_several_answers_are_collected(model: LanguageModel) -> None:
    request = model.request("Hello", SamplingParams(n=3, max_tokens=4, seed=1))
    assert len(model.collect(request)) == 3
    with pytest.raises(InvalidRequestError, match="n is 2"):
        model.chat("Hello", n=2)


def test_unknown_sampling_parameters_are_refused(model: LanguageModel) -> None:
    with pytest.raises(InvalidRequestError, match="'temprature'") as caught:
        model.chat("Hello", temprature=1)
    assert caught.value.param == "temprature"
    with pytest.raises(InvalidRequestError, match="top_p"):
        model.generate("Hello", top_p=2.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 1.5),
        ("max_tokens", True),
        ("seed", 0.5),
        ("top_k", 2.5),
        ("n", 1.0),
        ("logprobs", True),
        ("temperature", "hot"),
        ("temperature", None),
        ("repetition_penalty", "1"),
        ("stop", [5]),
        ("stop", 5),
        ("stop_token_ids", ["a"]),
        ("logit_bias", {"5": 1.0}),
        ("logit_bias", {5: "1"}),
        ("logit_bias", [5]),
    ],
)
def test_sampling_parameters_of_a_wrong_type_are_refused(model: LanguageModel, field: str, value: object) -> None:
    steps = model.runner.stats.steps
    with pytest.raises(InvalidRequestError, match=field) as caught:
        model.generate("Hello", **{field: value})
    assert caught.value.param == field
    assert model.runner.stats.steps == steps


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 10**400])
@pytest.mark.parametrize("field", ["temperature", "top_p", "presence_penalty", "repetition_penalty"])
def test_numbers_without_a_bound_are_refused(field: str, number: float) -> None:
    values: dict[str, Any] = {field: number}
    with pytest.raises(InvalidRequestError, match=field):
        SamplingParams(**values)
    with pytest.raises(InvalidRequestError, match="logit_bias"):
        SamplingParams(logit_bias={1: number})


def test_no_stops_may_be_none(model: LanguageModel) -> None:
    assert len(model.generate("Hello", max_tokens=2, stop=None, stop_token_ids=None, ignore_eos=True).token_ids) == 2


def test_token_ids_are_whatever_counts_as_integers(model: LanguageModel) -> None:
    ids = [30, 31, 32]
    wanted = model.generate(ids, max_tokens=6, temperature=0, repetition_penalty=1.5, ignore_eos=True)
    for same in (torch.tensor(ids), np.array(ids)):
        answer = model.generate(same, max_tokens=6, temperature=0, repetition_penalty=1.5, ignore_eos=True)
        assert answer.token_ids == wanted.token_ids
    wrong: list[Any] = [[1.5], ["a"], [[1, 2]], torch.tensor([[1, 2]])]
    for ids in wrong:
        with pytest.raises(InvalidRequestError, match="whole numbers"):
            model.generate(ids)
        with pytest.raises(InvalidRequestError, match="whole numbers"):
            model.logits(ids)


def test_a_model_that_cannot_think_says_its_name(model: LanguageModel) -> None:
    with pytest.raises(InvalidRequestError, match="'tiny' cannot think") as caught:
        model.chat("Hello", thinking=True)
    assert caught.value.param == "thinking"
    with pytest.raises(InvalidRequestError, match="'tiny' cannot think before it answers; leave budget out") as caught:
        model.chat("Hello", budget=3)
    assert caught.value.param == "budget"
    assert model.request("Hello", thinking=False).thinking is None


def test_thinking_is_split_off_and_its_budget_kept(thinker: LanguageModel) -> None:
    answer = thinker.chat("Hello", budget=5, max_tokens=20, seed=2, ignore_eos=True)
    end = thinker.tokenizer.special_id("</think>")
    assert answer.token_ids.index(end) <= 5
    assert answer.reasoning is not None
    assert answer.usage.reasoning_tokens <= 5
    assert answer.usage.completion_tokens == 20
    assert "</think>" not in (answer.reasoning or "")


def test_a_thinking_budget_leaves_room_for_the_answer(thinker: LanguageModel) -> None:
    answer = thinker.chat("Hello", budget=19, max_tokens=20, seed=2, ignore_eos=True)
    end = thinker.tokenizer.special_id("</think>")
    assert answer.token_ids.index(end) == 18
    for budget in (20, 21):
        with pytest.raises(InvalidRequestError, match=f"budget is {budget} and max_tokens is 20") as caught:
            thinker.chat("Hello", budget=budget, max_tokens=20)
        assert caught.value.param == "budget"
        with pytest.raises(InvalidRequestError, match="must be lower"):
            thinker.stream("Hello", budget=budget, max_tokens=20)


def test_thinking_switched_off_leaves_all_to_the_answer(thinker: LanguageModel) -> None:
    request = thinker.request("Hello", thinking=False)
    assert request.thinking is not None
    assert not request.thinking.opened
    answer = thinker.chat("Hello", thinking=False, max_tokens=8, seed=2, ignore_eos=True)
    assert (answer.reasoning, answer.usage.reasoning_tokens) == (None, 0)


@pytest.mark.parametrize(("field", "value"), [("budget", -1), ("answer_reserve", -5)])
def test_negative_budgets_are_refused(thinker: LanguageModel, field: str, value: int) -> None:
    with pytest.raises(InvalidRequestError, match=f"{field} is {value}"):
        thinker.request("Hello", **{field: value})


def test_recommended_sampling_comes_from_the_folder(tmp_path: Path) -> None:
    folder = tiny_folder("qwen2", tmp_path)
    (folder / "generation_config.json").write_text(
        json.dumps({"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20, "max_length": 99})
    )
    (folder / "freehold.json").write_text(json.dumps({"name": "by-its-name", "chat_format": "chatml"}))
    with LanguageModel.from_folder(folder, dtype="float32", engine=ENGINE) as model:
        assert model.name == "by-its-name"
        assert (model.defaults.temperature, model.defaults.top_p, model.defaults.top_k) == (0.6, 0.95, 20)
        assert model.request("Hello").params.top_k == 20
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": False}))
    with LanguageModel.from_folder(folder, dtype="float32", engine=ENGINE) as model:
        assert model.defaults.temperature == 0.0
    (folder / "generation_config.json").write_text(json.dumps({"top_p": 7}))
    with pytest.raises(ConfigError, match=r"generation_config\.json: top_p is 7"):
        LanguageModel.from_folder(folder, dtype="float32", engine=ENGINE)


def test_a_base_model_generates_and_refuses_to_chat(tmp_path: Path) -> None:
    folder = tiny_folder("qwen2", tmp_path, style="llama3")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = (folder / "tokenizer.json").read_text().replace("<|start_header_id|>", "<|reserved_1|>")
    (folder / "tokenizer.json").write_text(tokenizer)
    with LanguageModel.from_folder(folder, dtype="float32", engine=ENGINE) as model:
        assert len(model.generate("One", max_tokens=3, ignore_eos=True).token_ids) == 3
        with pytest.raises(UnsupportedError, match="base model"):
            model.chat("Hello")


def test_a_forgotten_model_ends_its_thread(llama: Tiny) -> None:
    model = LanguageModel.from_folder(llama.folder, dtype="bfloat16", engine=ENGINE)
    assert len(model.generate("a", max_tokens=2, ignore_eos=True).token_ids) == 2
    thread, gone = model.runner._thread, weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    thread.join(30)
    assert thread not in threading.enumerate()


def test_a_stream_outlives_the_name_of_its_model(llama: Tiny) -> None:
    model = LanguageModel.from_folder(llama.folder, dtype="bfloat16", engine=ENGINE)
    stream, gone = model.stream("Hello", max_tokens=40, ignore_eos=True), weakref.ref(model)
    del model
    gc.collect()
    assert list(stream)[-1].finish_reason == "length"
    del stream
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(("ended", "reason"), [("stop", "tool_calls"), ("length", "length")])
def test_tool_calls_are_told_from_the_text(ended: FinishReason, reason: str) -> None:
    text = 'Let me look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
    answer = Completion(text, None, (1, 2), ended, Usage(3, 2))
    tools = [{"type": "function", "function": {"name": "weather"}}]
    told = with_tool_calls(answer, "hermes", tools)
    assert told.text == "Let me look."
    assert [(call.name, json.loads(call.arguments)) for call in told.tool_calls] == [("weather", {"city": "Rome"})]
    assert told.finish_reason == reason
    plain = with_tool_calls(Completion("No call.", None, (1,), "stop", Usage(3, 1)), "hermes", tools)
    assert (plain.text, plain.tool_calls, plain.finish_reason) == ("No call.", (), "stop")


def test_devices_and_dtypes_are_checked() -> None:
    cpu = torch.device("cpu")
    assert choose_device("cpu") == cpu
    assert choose_dtype("bfloat16", cpu) is torch.bfloat16
    for device in ("tpu", "mps", "cuda:99"):
        with pytest.raises(ConfigError, match=device):
            choose_device(device)
    with pytest.raises(ConfigError, match="int8"):
        choose_dtype("int8", cpu)
    with pytest.raises(ConfigError, match="float16 is not offered on a CPU"):
        choose_dtype("float16", cpu)


def test_small_models_are_not_rounded_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for shard in ("a.safetensors", "b.safetensors"):
        (tmp_path / shard).write_bytes(b"0" * 500)
    monkeypatch.setattr(placement, "_SMALL_BYTES", 1001)
    assert choose_dtype("auto", torch.device("cpu"), tmp_path) is torch.float32
    assert choose_dtype("auto", torch.device("cuda"), tmp_path) is torch.bfloat16
    monkeypatch.setattr(placement, "_SMALL_BYTES", 1000)
    assert choose_dtype("auto", torch.device("cpu"), tmp_path) is torch.bfloat16


@pytest.mark.slow
def test_the_default_model_writes_what_transformers_writes(default_model_folder: Path) -> None:
    reference = transformers.AutoModelForCausalLM.from_pretrained(default_model_folder, dtype=torch.float32).eval()
    with LanguageModel.from_folder(default_model_folder, dtype="float32") as model:
        for question in ("What is the capital of France?", "Write a haiku about the sea."):
            prompt = list(model.chat_format.encode([Message("user", question)]).token_ids)
            answer = model.chat(question, temperature=0, repetition_penalty=1.0, max_tokens=32)
            written = reference.generate(torch.tensor([prompt]), max_new_tokens=32, do_sample=False)[0, len(prompt) :]
            wanted = [token for token in written.tolist() if token not in model.tokenizer.eos_ids]
            assert list(answer.token_ids) == wanted
        assert "Paris" in model.chat("What is the capital of France?", temperature=0, max_tokens=24).text
