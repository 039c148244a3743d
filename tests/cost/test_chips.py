"""V3's run on different chips: against its report, against drawing experts by hand, and the rules' dates."""

from __future__ import annotations

import random

import pytest

from freehold.cost.chips import chip_run, rules_on, traffic
from freehold.cost.hardware import accelerator
from freehold.cost.shape import Shape, shape_of
from freehold.errors import ConfigError
from freehold.hub.published import published_config


def shape(name: str) -> Shape:
    config = published_config(name)
    assert config is not None
    return shape_of(config, name)


V3 = shape("deepseek-v3")
RUN = {"tokens": 14.8e12, "mfu": 0.3906, "context": 4096, "nodes": 8, "gpus": 2048, "date": "2024-12-27"}


def test_on_the_h800_the_run_takes_the_hours_of_its_report() -> None:
    run = chip_run(V3, accelerator("h800"), **RUN, usd_per_gpu_hour=2.0)  # type: ignore[arg-type]
    assert run.gpu_hours == pytest.approx(2.664e6, rel=2e-3)
    assert run.usd == pytest.approx(5.328e6, rel=2e-3)
    assert run.days == pytest.approx(54.2, abs=0.2)
    assert max(run.network_us, run.node_us) < run.compute_us  # what lets it be hidden
    assert run.gpu_hours_unhidden > run.gpu_hours


def test_traffic_is_what_its_parts_come_to() -> None:
    limited = traffic(V3, nodes=8, limited=True, dispatch_bytes=1)
    assert limited.nodes_reached == 4
    assert limited.network_bytes == pytest.approx(58 * 2 * 3 * 7168 * 4 * 7 / 8)
    assert limited.node_bytes == pytest.approx(58 * 2 * 3 * 7168 * 8 * 7 / 8)


def test_nodes_reached_without_a_limit_are_those_of_random_draws() -> None:
    rng = random.Random(0)
    draws = [len({expert // 32 for expert in rng.sample(range(256), 8)}) for _ in range(20_000)]
    assert traffic(V3, nodes=8, limited=False, dispatch_bytes=1).nodes_reached == pytest.approx(
        sum(draws) / len(draws), abs=0.03
    )


def test_links_matter_where_arithmetic_is_fast() -> None:
    h800, h100, h20, a100 = (
        chip_run(V3, accelerator(name), **RUN)
        for name in ("h800", "h100", "h20", "a100")  # type: ignore[arg-type]
    )
    assert h100.node_us < h800.node_us
    assert h100.gpu_hours == h800.gpu_hours  # hidden behind arithmetic on both
    assert h20.gpu_hours == pytest.approx(h800.gpu_hours * 989.4 / 148)
    assert a100.network_us == pytest.approx(h800.network_us * 2 * 4 / 3)  # half the network, BF16 instead of FP8
    assert h800.network_us_unlimited > h800.network_us


@pytest.mark.parametrize(
    ("chip", "date", "titles"),
    [
        ("h800", "2022-12-31", []),
        ("h100", "2022-12-31", ["Advanced computing rule"]),
        ("a100", "2022-10-07", ["Advanced computing rule"]),
        ("h800", "2023-12-31", ["Advanced computing rule, revised"]),
        ("h20", "2024-12-31", []),
        ("h20", "2025-04-09", ["Notice on the H20"]),
        ("h200", "2026-02-01", ["Advanced computing rule", "Advanced computing rule, revised", "Review case by case"]),
    ],
)
def test_rules_catch_chips_by_date(chip: str, date: str, titles: list[str]) -> None:
    assert [rule.title for rule in rules_on(accelerator(chip), date)] == titles


def test_what_is_out_of_bounds_is_named() -> None:
    for change, message in (
        ({"tokens": 0.0}, "tokens is 0; it must be positive"),
        ({"mfu": 1.2}, "mfu is 1.2; it must be at most 1"),
        ({"nodes": 7}, "256 experts do not divide evenly over 7 nodes"),
        ({"gpus": -1}, "gpus is -1"),
    ):
        with pytest.raises(ConfigError, match=message):
            chip_run(V3, accelerator("h800"), **{**RUN, **change})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="has no experts"):
        chip_run(shape("deepseek-r1-distill-llama-8b"), accelerator("h800"), **RUN)  # type: ignore[arg-type]
