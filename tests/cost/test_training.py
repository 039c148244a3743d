"""Training runs against DeepSeek-V3's own table, and any unknown from the others."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.cost.hardware import accelerator, accelerators
from freehold.cost.model import ModelCost, model_cost
from freehold.cost.shape import shape_of
from freehold.cost.training import training_run
from freehold.errors import ConfigError
from freehold.hub.published import published_config

H800 = accelerator("h800")


@pytest.fixture(scope="module")
def v3() -> ModelCost:
    config = published_config("deepseek-v3")
    assert config is not None
    return model_cost(shape_of(config), 4096)


def test_v3_s_table_follows(v3: ModelCost) -> None:
    """Source: DeepSeek-V3 report, Table 1 and section 1."""
    run = training_run(v3, H800, {"tokens": 14.8e12, "gpu_hours": 2.664e6, "usd_per_gpu_hour": 2.0, "gpus": 2048})
    assert run.figures["usd"] == pytest.approx(5.328e6)
    assert run.figures["mfu_bf16"] == pytest.approx(0.391, abs=5e-4)
    assert run.figures["mfu_fp8"] == pytest.approx(run.figures["mfu_bf16"] / 2, rel=1e-3)
    assert run.figures["flops_total"] == pytest.approx(14.8e12 * v3.train_flops_per_token)
    per_trillion = training_run(v3, H800, {"tokens": 1e12, "gpu_hours": 180e3, "gpus": 2048})
    assert round(per_trillion.figures["days"], 1) == 3.7
    assert not run.missing
    assert any(line.startswith("usd = 5.328e+06, since dollars are hours") for line in run.arithmetic)


@settings(max_examples=60, deadline=None)
@given(
    hours=st.floats(3e5, 3e7),
    tokens=st.floats(1e10, 2e12),
    price=st.floats(0.1, 20),
    gpus=st.integers(1, 100_000),
    left_out=st.sets(st.sampled_from(["gpu_hours", "usd", "usd_per_gpu_hour", "gpus", "days", "mfu_bf16"]), max_size=3),
)
def test_what_is_left_out_comes_back(
    hours: float, tokens: float, price: float, gpus: int, left_out: set[str], v3: ModelCost
) -> None:
    whole = training_run(
        v3, H800, {"tokens": tokens, "gpu_hours": hours, "usd_per_gpu_hour": price, "gpus": gpus}
    ).figures
    given = {name: value for name, value in whole.items() if name not in {"flops_total", "mfu_fp8", *left_out}}
    again = training_run(v3, H800, given)
    for name, value in again.figures.items():
        assert value == pytest.approx(whole[name], rel=1e-6)
    assert set(again.missing) <= left_out


def test_contradictions_and_the_impossible_are_refused(v3: ModelCost) -> None:
    with pytest.raises(ConfigError, match=r"usd is 1e\+06, but dollars are hours times the price .* which is 2e\+06"):
        training_run(v3, H800, {"tokens": 1e12, "gpu_hours": 1e6, "usd_per_gpu_hour": 2.0, "usd": 1e6})
    with pytest.raises(ConfigError, match=r"mfu_bf16 would be .* more than the whole of the NVIDIA H800"):
        training_run(v3, H800, {"tokens": 14.8e12, "gpu_hours": 1e5})
    for name, value in (("tokens", -1.0), ("gpu_hours", 0.0), ("usd", float("nan")), ("days", float("inf"))):
        with pytest.raises(ConfigError, match=rf"{name} is .*; it must be a positive number"):
            training_run(v3, H800, {"tokens": 1e12, name: value})
    with pytest.raises(ConfigError, match="is no figure of a run"):
        training_run(v3, H800, {"speed": 1.0})


def test_what_cannot_be_told_is_named(v3: ModelCost) -> None:
    run = training_run(v3, accelerator("a100"), {"tokens": 1e12, "mfu_bf16": 0.4})
    assert set(run.missing) == {"usd", "usd_per_gpu_hour", "gpus", "days", "mfu_fp8"}


def test_every_accelerator_has_source_and_date() -> None:
    for chip in accelerators().values():
        assert chip.source
        assert chip.date[:4].isdigit()
    assert accelerator("H100").total_processing_performance == pytest.approx(15_831, rel=1e-3)
    with pytest.raises(ConfigError, match="'h900' is not known; known are h800"):
        accelerator("h900")
