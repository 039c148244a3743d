"""What fits where, on known hardware by hand and on this machine as it is."""

from __future__ import annotations

import pytest

from freehold.cost import machine
from freehold.cost.hardware import accelerator
from freehold.cost.machine import this_machine
from freehold.cost.plan import plan
from freehold.cost.shape import Shape, shape_of
from freehold.errors import ConfigError
from freehold.hub.published import published_config


def shape(name: str) -> Shape:
    config = published_config(name)
    assert config is not None
    return shape_of(config, name)


def test_r1_takes_eight_h200_in_fp8_and_not_eight_h100() -> None:
    """Source: 671 GB of FP8 weights; 8 x 141 GB hold them, 8 x 80 GB do not."""
    for name, fits in (("h200", True), ("h100", False)):
        by_format = {fit.format: fit for fit in plan(shape("deepseek-r1"), accelerator(name), count=8, context=8192)}
        assert by_format["fp8"].fits is fits
        assert not by_format["bfloat16"].fits
        assert by_format["bfloat16"].write_tokens_per_second == 0
    priced = plan(shape("deepseek-r1"), accelerator("h200"), count=8, context=8192, usd_per_hour=3.0)
    assert {fit.format: fit.usd_per_mtok_output is not None for fit in priced}["fp8"]


def test_the_longest_context_is_what_there_is_room_for() -> None:
    llama = shape("deepseek-r1-distill-llama-8b")
    (fit,) = (fit for fit in plan(llama, accelerator("h100"), count=1, context=4096) if fit.format == "bfloat16")
    room = 80e9 * 0.9 - 2 * 8_030_261_248
    assert fit.longest_context == min(int(room // 131_072), llama.context)
    assert not any(fit.longest_context for fit in plan(shape("deepseek-v3"), accelerator("h100"), count=1, context=1))


def test_smaller_formats_are_faster_and_fit_more() -> None:
    fits = plan(shape("deepseek-r1-distill-qwen-32b"), accelerator("h100"), count=1, context=4096)
    assert [fit.weight_gb for fit in fits] == sorted((fit.weight_gb for fit in fits), reverse=True)
    running = [fit.write_tokens_per_second for fit in fits if fit.fits]
    assert running == sorted(running)


def test_this_machine_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_READ_BYTES", 2**22)
    monkeypatch.setattr(machine, "_MATRIX", 64)
    found = this_machine()
    assert found.memory_gb > 0.1
    assert found.memory_tb_per_s > 0
    assert found.bf16_tflops > 0
    small = plan(shape("smollm2-135m-instruct"), found, count=1, context=1024)
    assert small[0].write_tokens_per_second > 0


def test_what_is_out_of_bounds_is_named() -> None:
    with pytest.raises(ConfigError, match="gpus is 0"):
        plan(shape("deepseek-r1"), accelerator("h100"), count=0, context=1)
