from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import transformers

from freehold.engine.config import EngineConfig
from freehold.engine.engine import Engine
from freehold.engine.request import Request, Thinking
from freehold.errors import ConfigError, ContextLengthError, InvalidRequestError, OverloadedError
from freehold.model.weights import load_model
from freehold.types import SamplingParams
from tests.engine.conftest import Tiny
from tests.engine.running import assert_empty, complete, complete_one, greedy, prompts, steps
from tests.support.tiny_models import KINDS

CONFIGS = {
    "default": EngineConfig(),
    "small chunks": EngineConfig(prefill_chunk=7, batch_invariant=False),
    "roomy": EngineConfig(cache_tokens=4000, block_size=4, batch_invariant=False),
    "scattered": EngineConfig(cache_tokens=96, block_size=3, batch_invariant=False),
    "scattered, invariant": EngineConfig(cache_tokens=96, block_size=2, prefill_chunk=32, batch_invariant=True),
}


def engine(tiny: Tiny, config: EngineConfig | None = None) -> Engine:
    return Engine(tiny.model, tiny.tokenizer, replace(config or EngineConfig(), pack=False))


@pytest.fixture(scope="module")
def published(tiny: Callable[[str], Tiny]) -> Callable[[str], dict[tuple[int, ...], list[int]]]:
    """What transformers' own `generate` writes greedily after each of some prompts."""
    known: dict[str, dict[tuple[int, ...], list[int]]] = {}

    def get(kind: str) -> dict[tuple[int, ...], list[int]]:
        if kind not in known:
            model = transformers.AutoModelForCausalLM.from_pretrained(tiny(kind).folder, dtype=torch.float32).eval()
            known[kind] = {}
            for prompt in [prompt for n in (1, 18, 33, 66) for prompt in prompts(1, [n], seed=n)]:
                ids = torch.tensor([prompt])
                written = model.generate(ids, max_new_tokens=10, do_sample=False, eos_token_id=None, pad_token_id=0)
                known[kind][prompt] = written[0, len(prompt) :].tolist()
        return known[kind]

    return get


@pytest.mark.parametrize("kind", ["llama", "deepseek_v3"])
def test_packed_weights_write_the_same(
    kind: str,
    tiny: Callable[[str], Tiny],
    published: Callable[[str], dict[tuple[int, ...], list[int]]],
) -> None:
    wanted = published(kind)
    model = load_model(tiny(kind).folder, torch.float32, torch.device("cpu"))
    requests = [Request(str(number), prompt, greedy(10)) for number, prompt in enumerate(wanted)]
    answers = complete(Engine(model, tiny(kind).tokenizer, EngineConfig(pack=True)), requests)
    assert [list(answers[str(number)][0].token_ids) for number in range(len(wanted))] == list(wanted.values())


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_tokens_are_those_of_transformers(
    kind: str,
    config: str,
    tiny: Callable[[str], Tiny],
    published: Callable[[str], dict[tuple[int, ...], list[int]]],
) -> None:
    wanted = published(kind)
    requests = [Request(str(number), prompt, greedy(10)) for number, prompt in enumerate(wanted)]
    answers = complete(engine(tiny(kind), CONFIGS[config]), requests)
    for request in requests:
        assert list(answers[request.request_id][0].token_ids) == wanted[request.prompt]


def test_preemption_changes_no_token(llama: Tiny) -> None:
    requests = [
        Request(str(number), prompt, SamplingParams(max_tokens=20, seed=number, ignore_eos=True, frequency_penalty=0.5))
        for number, prompt in enumerate(prompts(4, [20, 24]))
    ]
    roomy = complete(engine(llama, EngineConfig(cache_tokens=2000)), requests)
    for prefix_cache in (True, False):
        tight = engine(llama, EngineConfig(cache_tokens=80, prefix_cache=prefix_cache))
        answers = complete(tight, requests)
        assert tight.stats.preemptions > 0
        for name, completions in answers.items():
            assert [c.token_ids for c in completions] == [c.token_ids for c in roomy[name]]


@pytest.mark.parametrize("invariant", [True, False])
@pytest.mark.parametrize("kind", ["llama", "deepseek_v3"])
def test_a_prefix_hit_changes_no_token_and_never_crosses_users(
    kind: str, invariant: bool, tiny: Callable[[str], Tiny]
) -> None:
    (prompt,) = prompts(1, [75])
    config = EngineConfig(batch_invariant=invariant)
    warm = engine(tiny(kind), config)
    first = complete_one(warm, Request("1", prompt, greedy(20), user="a"))
    again = complete_one(warm, Request("2", prompt, greedy(20), user="a"))
    longer = complete_one(warm, Request("3", prompt + first.token_ids[:9], greedy(11), user="a"))
    stranger = complete_one(warm, Request("4", prompt, greedy(20), user="b"))
    assert [c.usage.cached_tokens for c in (first, again, longer, stranger)] == (
        [0, 64, 64, 0] if invariant else [0, 64, 80, 0]
    )
    assert first.token_ids == again.token_ids == stranger.token_ids
    assert longer.token_ids == first.token_ids[9:]
    assert (warm.stats.prompt_tokens, warm.stats.cached_tokens) == (
        75 * 3 + 84,
        sum(c.usage.cached_tokens for c in (again, longer)),
    )


def test_the_prefix_cache_can_be_switched_off(llama: Tiny) -> None:
    (prompt,) = prompts(1, [50])
    cold = engine(llama, EngineConfig(prefix_cache=False))
    answers = [complete_one(cold, Request(str(n), prompt, greedy(4))) for n in range(2)]
    assert [answer.usage.cached_tokens for answer in answers] == [0, 0]


def test_a_long_prompt_is_read_in_chunks_beside_running_answers(llama: Tiny) -> None:
    short, long = prompts(1, [5])[0], prompts(1, [300])[0]
    mixed = engine(llama, EngineConfig(prefill_chunk=40, batch_invariant=False))
    mixed.submit(Request("short", short, greedy(30)))
    mixed.step()
    mixed.submit(Request("long", long, greedy(3)))
    given = steps(mixed)
    fluent = [any(update.request_id == "short" for update in updates) for updates in given[:8]]
    assert all(fluent)
    assert not any(update.request_id == "long" for updates in given[:7] for update in updates)


def test_abort_frees_blocks_at_once_and_has_a_last_word(llama: Tiny) -> None:
    running = engine(llama)
    first, second = prompts(2, [40])
    running.submit(Request("a", first, SamplingParams(n=2, max_tokens=100, seed=1, ignore_eos=True)))
    running.submit(Request("b", second, greedy(5)))
    for _ in range(4):
        running.step()
    held = running.stats.cache_used_tokens
    running.abort("a")
    assert running.stats.cache_used_tokens < held
    running.abort("unknown")
    last = [update for updates in steps(running) for update in updates if update.request_id == "a"]
    assert [(update.index, update.finish_reason) for update in last] == [(0, "abort"), (1, "abort")]
    assert last[0].usage is not None
    assert last[0].usage.prompt_tokens == 40
    assert_empty(running)


def test_an_aborted_request_that_still_waits(llama: Tiny) -> None:
    busy = engine(llama, EngineConfig(max_batch=1))
    first, second = prompts(2, [10])
    busy.submit(Request("a", first, greedy(5)))
    busy.submit(Request("b", second, greedy(5)))
    busy.step()
    busy.abort("b")
    updates = [update for updates in steps(busy) for update in updates]
    assert [update.finish_reason for update in updates if update.request_id == "b"] == ["abort"]
    assert sum(len(update.token_ids) for update in updates if update.request_id == "a") >= 4
    assert_empty(busy)


def test_n_answers_share_the_prompt_and_differ(llama: Tiny) -> None:
    (prompt,) = prompts(1, [70])
    params = SamplingParams(n=4, max_tokens=12, seed=11, ignore_eos=True)
    together = engine(llama)
    answers = complete(together, [Request("n", prompt, params)])["n"]
    assert len({answer.token_ids for answer in answers}) == 4
    assert [answer.usage.cached_tokens for answer in answers] == [0, 64, 64, 64]
    assert together.stats.computed_prompt_tokens == 70 + 3 * 6
    again = complete(engine(llama, EngineConfig(prefix_cache=False, max_batch=2)), [Request("n", prompt, params)])["n"]
    assert [answer.token_ids for answer in again] == [answer.token_ids for answer in answers]


def test_a_seeded_answer_is_the_same_in_any_company(llama: Tiny) -> None:
    several = prompts(8, [4, 30, 61])
    params = SamplingParams(max_tokens=16, seed=5, top_p=0.9, ignore_eos=True)
    alone = complete_one(engine(llama), Request("x", several[0], params))
    company = [Request(str(n), prompt, SamplingParams(max_tokens=20)) for n, prompt in enumerate(several[1:])]
    answers = complete(engine(llama), [*company[:4], Request("x", several[0], params), *company[4:]])
    assert answers["x"][0].token_ids == alone.token_ids


def test_unseeded_answers_differ_from_run_to_run(tiny: Callable[[str], Tiny]) -> None:
    (prompt,) = prompts(1, [9])
    params = SamplingParams(max_tokens=24, temperature=2.0, ignore_eos=True)
    runs = {complete_one(engine(tiny("qwen2")), Request("x", prompt, params)).token_ids for _ in range(3)}
    assert len(runs) == 3


def test_log_probabilities_are_those_of_the_logits(llama: Tiny) -> None:
    (prompt,) = prompts(1, [12])
    params = SamplingParams(max_tokens=6, temperature=0, logprobs=3, ignore_eos=True)
    answer = complete_one(engine(llama), Request("x", prompt, params))
    reference = transformers.AutoModelForCausalLM.from_pretrained(llama.folder, dtype=torch.float32).eval()
    with torch.no_grad():
        logits_TV = reference(torch.tensor([prompt + answer.token_ids])).logits[0]
    wanted_TV = logits_TV[len(prompt) - 1 : -1].log_softmax(-1)
    assert len(answer.logprobs) == len(answer.token_ids) == 6
    for entry, token_id, wanted_V in zip(answer.logprobs, answer.token_ids, wanted_TV, strict=True):
        assert entry.token_id == token_id
        assert entry.logprob == pytest.approx(float(wanted_V[token_id]), abs=1e-4)
        assert [alternative.token_id for alternative in entry.top] == wanted_V.topk(3).indices.tolist()


def test_a_thinking_budget_goes_through_the_model(deepseek: Tiny) -> None:
    """What follows the forced tag is what the model writes after a prompt that ends with that tag."""
    (prompt,) = prompts(1, [30])
    close = tuple(deepseek.tokenizer.encode("</think>", allow_special=True))
    thinking = Thinking("<think>", "</think>", opened=True, budget=7)
    answer = complete_one(engine(deepseek), Request("x", prompt, greedy(20), thinking=thinking))
    assert answer.token_ids[7 : 7 + len(close)] == close
    assert answer.usage.reasoning_tokens == 7
    assert answer.usage.completion_tokens == 20
    free = complete_one(engine(deepseek), Request("y", prompt, greedy(7)))
    assert answer.token_ids[:7] == free.token_ids
    after = complete_one(engine(deepseek), Request("z", prompt + free.token_ids + close, greedy(12)))
    assert answer.token_ids[7 + len(close) :] == after.token_ids


def test_the_end_token_ends_the_answer_and_is_left_out(llama: Tiny) -> None:
    (prompt,) = prompts(1, [8])
    end = min(llama.tokenizer.eos_ids)
    params = SamplingParams(max_tokens=50, logit_bias={end: 100.0})
    answer = complete_one(engine(llama), Request("x", prompt, params))
    assert (answer.token_ids, answer.text, answer.finish_reason) == ((), "", "stop")
    assert answer.usage.completion_tokens == 0


def test_a_request_that_cannot_fit_is_refused_with_the_counts(llama: Tiny) -> None:
    roomy, tight = engine(llama), engine(llama, EngineConfig(cache_tokens=64))
    with pytest.raises(ContextLengthError, match=r"500 tokens and 20 are to be written, 520 in all; .* 512"):
        roomy.submit(Request("x", tuple([30] * 500), SamplingParams(max_tokens=20)))
    with pytest.raises(ContextLengthError, match=r"60 tokens and 5 .* 65 in all; the cache .* 64"):
        tight.submit(Request("x", tuple([30] * 60), SamplingParams(max_tokens=5)))
    with pytest.raises(ContextLengthError) as caught:
        roomy.submit(Request("x", tuple([30] * 512)))
    assert (caught.value.param, caught.value.code) == ("messages", "context_length_exceeded")
    assert roomy.idle


def test_a_context_beyond_the_model_s_is_refused_and_a_small_cache_is_told(llama: Tiny) -> None:
    with pytest.raises(ConfigError, match=r"A context of 513 tokens is asked for; the model's is 512"):
        engine(llama, EngineConfig(max_context=513))
    assert engine(llama, EngineConfig(max_context=100, cache_tokens=4096)).context_length == 100
    assert engine(llama, EngineConfig(cache_tokens=64)).context_length == 64


def test_without_max_tokens_the_answer_fills_what_there_is(llama: Tiny) -> None:
    tight = engine(llama, EngineConfig(cache_tokens=64, max_context=48))
    answer = complete_one(tight, Request("x", tuple([30] * 40), SamplingParams(seed=1, ignore_eos=True)))
    assert (answer.usage.completion_tokens, answer.finish_reason) == (8, "length")


def test_a_full_queue_is_overloaded(llama: Tiny) -> None:
    small = engine(llama, EngineConfig(max_waiting=3))
    small.submit(Request("a", (30,), SamplingParams(n=2)))
    small.submit(Request("b", (30,)))
    with pytest.raises(OverloadedError, match="3 answers are waiting and at most 3 may"):
        small.submit(Request("c", (30,)))
    small.abort("a")
    small.submit(Request("c", (30,)))


@pytest.mark.parametrize(
    ("prompt", "params", "field"),
    [
        ((), SamplingParams(), "prompt"),
        ((5, 512), SamplingParams(), "prompt"),
        ((-1,), SamplingParams(), "prompt"),
        ((5,), SamplingParams(logit_bias={512: 1.0}), "logit_bias"),
        ((5,), SamplingParams(stop_token_ids=(10**6,)), "stop_token_ids"),
    ],
)
def test_what_the_model_does_not_have_is_refused(
    llama: Tiny, prompt: tuple[int, ...], params: SamplingParams, field: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        engine(llama).submit(Request("x", prompt, params))
    assert caught.value.param == field


def test_an_id_cannot_be_used_twice_at_a_time(llama: Tiny) -> None:
    one = engine(llama)
    one.submit(Request("x", (30,), greedy(1)))
    with pytest.raises(InvalidRequestError, match="alive already"):
        one.submit(Request("x", (30,), greedy(1)))
    steps(one)
    one.submit(Request("x", (30,), greedy(1)))


def test_the_counters_add_up(llama: Tiny) -> None:
    counted = engine(llama)
    complete(counted, [Request(str(n), prompt, greedy(5)) for n, prompt in enumerate(prompts(3, [10]))])
    counted.submit(Request("x", (30,)))
    counted.abort("x")
    steps(counted)
    stats = counted.stats
    assert (stats.requests, stats.finished, stats.aborted) == (4, 3, 1)
    assert (stats.prompt_tokens, stats.computed_prompt_tokens, stats.completion_tokens) == (30, 30, 15)
    assert stats.steps >= 5
    assert 0 < stats.last_step_seconds < stats.step_seconds
    assert stats.cache_tokens > 0
