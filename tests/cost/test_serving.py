"""Rooflines against arithmetic by hand, against published throughput as a bound, and in their monotony."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.cost.hardware import accelerator
from freehold.cost.serving import Serving, serving
from freehold.cost.shape import Shape, shape_of
from freehold.errors import ConfigError
from freehold.hub.published import published_config

H100, H800 = accelerator("h100"), accelerator("h800")


def shape(name: str) -> Shape:
    config = published_config(name)
    assert config is not None
    return shape_of(config, name)


LLAMA, V3 = shape("deepseek-r1-distill-llama-8b"), shape("deepseek-v3")


def llama(batch: int = 1, context: int = 1024, **options: object) -> Serving:
    return serving(LLAMA, H100, gpus=1, batch=batch, context=context, **options)  # type: ignore[arg-type]


def test_one_sequence_reads_all_weights_for_every_token() -> None:
    one = llama()
    cache = 2 * 32 * 2 * 8 * 128 * 1024
    read = 2 * (8_030_261_248 - 128_256 * 4096 + 4096) + cache  # of the embedding one row
    assert one.decode_tokens_per_second == pytest.approx(3.35e12 / read)
    assert one.bound == "memory"
    assert one.weight_bytes == 2 * 8_030_261_248
    assert one.cache_bytes == cache
    assert one.largest_batch == int((80e9 * 0.9 - one.weight_bytes) // cache)


def test_a_batch_shares_the_reading_until_arithmetic_runs_out() -> None:
    assert llama(32).decode_tokens_per_second > 20 * llama().decode_tokens_per_second
    assert llama(400, context=16).bound == "arithmetic"
    full = llama(10**6)
    assert not full.fits
    assert full.decode_tokens_per_second == 0
    assert full.usd_per_mtok_output is None


def test_dollars_follow_from_the_rate() -> None:
    priced = llama(16, usd_per_gpu_hour=2.0)
    assert priced.usd_per_mtok_output == pytest.approx(2.0 / 3600 / priced.decode_tokens_per_second * 1e6)
    assert priced.usd_per_mtok_input == pytest.approx(2.0 / 3600 / priced.prefill_tokens_per_second * 1e6)
    assert llama(16).usd_per_mtok_output is None


def test_published_rates_of_v3_stay_under_the_bound() -> None:
    """Source: open-infra-index, day 6: a prefill node of 8 H800 reads 73.7k tokens a second, 342 of 608 of them cache
    hits; a decode node writes 14.8k. Decoding ran on 18 nodes, 4,989 tokens of context on average."""
    prefill = serving(V3, H800, gpus=32, batch=32, context=4989, weights="fp8")
    assert 0.1 < 73.7e3 * (1 - 342 / 608) / (prefill.prefill_tokens_per_second / 4) < 1
    decode = serving(V3, H800, gpus=144, batch=4096, context=4989, weights="fp8")
    assert 0.1 < 14.8e3 / (decode.decode_tokens_per_second / 18) < 1


def test_few_tokens_read_few_experts() -> None:
    one = serving(V3, H800, gpus=16, batch=1, context=1024, weights="fp8")
    assert one.decode_tokens_per_second > 16 * 3.36e12 / 671e9 * 5  # not all 671 G bytes, but some 37
    wide = serving(V3, H800, gpus=16, batch=256, context=1024, weights="fp8")
    assert wide.decode_tokens_per_second_each < one.decode_tokens_per_second_each / 3


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 64),
    context=st.integers(1, 8192),
    weights=st.sampled_from(["bfloat16", "fp8", "q4_0"]),
    efficiency=st.floats(0.1, 1),
)
def test_bounds_move_the_right_way(batch: int, context: int, weights: str, efficiency: float) -> None:
    base = llama(batch, context, weights=weights, efficiency=efficiency)
    assert base.decode_tokens_per_second == pytest.approx(
        efficiency * llama(batch, context, weights=weights).decode_tokens_per_second
    )
    assert (
        llama(batch, context + 100, weights=weights).decode_tokens_per_second
        <= llama(batch, context, weights=weights).decode_tokens_per_second
    )
    assert base.decode_tokens_per_second_each * batch == pytest.approx(base.decode_tokens_per_second)


def test_what_is_out_of_bounds_is_named() -> None:
    for options, message in (
        ({"gpus": 0}, "gpus is 0; it must be at least 1"),
        ({"batch": 0}, "batch is 0"),
        ({"context": -3}, "context is -3"),
        ({"efficiency": 0.0}, "efficiency is 0; it must be over 0"),
        ({"efficiency": 1.5}, "at most 1"),
        ({"usd_per_gpu_hour": -1.0}, "usd_per_gpu_hour is -1"),
        ({"weights": "fp4"}, "'fp4' is not known; known are float32"),
    ):
        with pytest.raises(ConfigError, match=message):
            serving(LLAMA, H100, **{"gpus": 1, "batch": 1, "context": 1, **options})  # type: ignore[arg-type]
