"""A request's logits and tokens are the same alone and in any batch up to 32, in float32."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from freehold.engine.config import EngineConfig
from freehold.engine.engine import Engine
from freehold.engine.request import Request
from freehold.engine.step import Forward, Part
from freehold.model.weights import load_model
from freehold.text.tokenizer import Tokenizer
from freehold.types import SamplingParams
from tests.engine.conftest import Tiny
from tests.engine.running import complete, greedy, prompts

TOKENS = 8
WATCHED = "watched"


class Recorder:
    """Keeps the logits that one sequence was sampled from, by listening at the forward pass."""

    def __init__(self, engine: Engine) -> None:
        self.rows: list[Tensor] = []
        forward: Forward = engine._forward
        plain = forward.run
        scheduler = engine._scheduler

        def run(parts: list[Part]) -> Tensor:
            logits_RV = plain(parts)
            sampling = [part for part in parts if part.samples]
            watched = [s.table for s in scheduler.running if s.request.request_id == WATCHED]
            for row, part in zip(logits_RV, sampling, strict=True):
                if any(part.segment.table is table for table in watched):
                    self.rows.append(row.clone())
            return logits_RV

        forward.run = run  # type: ignore[method-assign, assignment]


def watch(engine: Engine, prompt: tuple[int, ...], company: list[Request], at: int) -> tuple[Tensor, tuple[int, ...]]:
    recorder = Recorder(engine)
    watched = Request(WATCHED, prompt, greedy(TOKENS))
    answers = complete(engine, [*company[:at], watched, *company[at:]])
    return torch.stack(recorder.rows), answers[WATCHED][0].token_ids


def company(count: int, longest: int, seed: int) -> list[Request]:
    """Requests of all kinds: short and long, greedy and sampled, that end at different times."""
    rng = random.Random(seed)
    return [
        Request(
            f"other {number}",
            prompts(1, [rng.randint(1, longest)], seed=seed * 100 + number)[0],
            SamplingParams(max_tokens=rng.randint(1, 2 * TOKENS), temperature=rng.choice([0.0, 1.0]), ignore_eos=True),
            user=rng.choice(["", "b"]),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("kind", "pack"),
    [
        ("qwen3", False),
        ("deepseek_v3", False),
        *(pytest.param(kind, True, marks=pytest.mark.slow) for kind in ("llama", "qwen3", "deepseek_v3")),
        *(pytest.param(kind, False, marks=pytest.mark.slow) for kind in ("llama", "qwen2", "deepseek_v2_lite")),
    ],
)
def test_tiny_models_agree_alone_and_in_batches(kind: str, pack: bool, tiny: Callable[[str], Tiny]) -> None:
    model, tokenizer = tiny(kind).model, tiny(kind).tokenizer
    if pack:
        model = load_model(tiny(kind).folder, torch.float32, torch.device("cpu"))
    (prompt,) = prompts(1, [45])
    config = EngineConfig(pack=pack, prefill_chunk=64)
    alone, tokens = watch(Engine(model, tokenizer, config), prompt, [], 0)
    assert alone.shape[0] == TOKENS
    for others, at in ((1, 0), (31, 17)):
        rows, again = watch(Engine(model, tokenizer, config), prompt, company(others, 40, seed=others), at)
        assert again == tokens
        difference = float((rows - alone).abs().max())
        if kind.startswith("deepseek"):
            assert difference <= 1e-5  # experts see different numbers of rows
        else:
            assert difference == 0.0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_default_model_agrees_alone_and_in_batches(default_model_folder: Path) -> None:
    model = load_model(default_model_folder, torch.float32, torch.device("cpu"))
    tokenizer = Tokenizer.from_folder(default_model_folder)
    prompt = tuple(tokenizer.encode("The capital of France is Paris. The capital of Italy is"))
    config = EngineConfig(cache_tokens=8192, prefix_cache=False)
    alone, tokens = watch(Engine(model, tokenizer, config), prompt, [], 0)
    for others, at in ((1, 0), (31, 20)):
        rows, again = watch(Engine(model, tokenizer, config), prompt, company(others, 40, seed=others), at)
        assert again == tokens
        assert float((rows - alone).abs().max()) <= 1e-5
