"""One training run on different chips: arithmetic, the experts' traffic against each chip's links, and export rules.

A token's experts lie on several nodes. Its hidden state goes to each of those nodes once over the network (dispatch),
from there over the node's own links to the experts' chips, and their results come back the same way (combine); the
backward pass does both again. Dispatch is in FP8 where the chip has it, combine in BF16.

Source: DeepSeek-V3 report (arXiv 2412.19437), 2.1.2 (node limit), 3.2.2 (dispatch and combine), 3.3.3 (precision).
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from freehold.cost.hardware import Accelerator
from freehold.cost.model import model_cost
from freehold.cost.shape import Shape
from freehold.errors import ConfigError

__all__ = ["ChipRun", "Rule", "Traffic", "chip_run", "rules_on", "traffic"]

_TERA = 1e12
_GIGA = 1e9
_PASSES = 2
_COMBINE_BYTES = 2
_GPUS_PER_NODE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the experts of one token send, forward and backward over all layers.

    Args:
        nodes_reached: Nodes that hold a token's experts, on average over even routing, its own included.
        network_bytes: Between nodes.
        node_bytes: Between the chips of a node.
    """

    nodes_reached: float
    network_bytes: float
    node_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipRun:
    """The run on one kind of chip. Times are of one chip and one token, in microseconds.

    Args:
        chip: Its name.
        total_processing_performance: TFLOP/s times bits, the export rules' measure.
        compute_us: Arithmetic at the assumed utilisation of the BF16 peak.
        network_us, network_us_unlimited: Traffic between nodes, with the node limit and without.
        node_us: Traffic within nodes.
        gpu_hours: With traffic hidden behind arithmetic wherever it is shorter, as DeepSeek states for its own run.
        gpu_hours_unhidden: With none of it hidden.
        days: Of the fleet, traffic hidden.
        usd: At the price of a GPU hour; None without one.
        rules: Export rules that name or catch it, in force on the day asked for.
    """

    chip: str
    total_processing_performance: float
    compute_us: float
    network_us: float
    network_us_unlimited: float
    node_us: float
    gpu_hours: float
    gpu_hours_unhidden: float
    days: float
    usd: float | None
    rules: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """An export rule of the United States; a threshold that it does not have is None.

    Args:
        date: From which it holds, as YYYY-MM-DD.
        title, says, source: In words.
        least_tpp: Total processing performance from which on it applies.
        least_link_gb_per_s: Likewise the rate between chips, both directions together.
        chips: Chips that it names.
    """

    date: str
    title: str
    says: str
    source: str
    least_tpp: float | None = None
    least_link_gb_per_s: float | None = None
    chips: tuple[str, ...] = ()

    def catches(self, chip: Accelerator) -> bool:
        """Whether it names the chip, or the chip reaches its thresholds."""
        if self.least_tpp is None:
            return chip.name in self.chips
        if chip.total_processing_performance < self.least_tpp:
            return False
        return self.least_link_gb_per_s is None or chip.nvlink_gb_per_s >= self.least_link_gb_per_s


@cache
def _rules() -> Sequence[Rule]:
    table: dict[str, list[dict[str, Any]]] = tomllib.loads(
        files("freehold.cost").joinpath("export_rules.toml").read_text(encoding="utf-8")
    )
    return tuple(Rule(**{**entry, "chips": tuple(entry.get("chips", ()))}) for entry in table["rule"])


def rules_on(chip: Accelerator, date: str) -> Sequence[Rule]:
    """Rules that catch a chip and were in force on a day, given as YYYY-MM-DD."""
    return tuple(rule for rule in _rules() if rule.date <= date and rule.catches(chip))


def traffic(shape: Shape, *, nodes: int, limited: bool, dispatch_bytes: int) -> Traffic:
    """What a token's experts send where they are spread evenly over `nodes` nodes.

    Args:
        shape: With experts.
        nodes: At least 1; the experts divide evenly over them.
        limited: Whether a token reaches at most `routing_groups_used` of them.
        dispatch_bytes: Of one number on the way to the experts: 1 in FP8, 2 in BF16.

    Raises:
        ConfigError: The model has no experts, or they do not divide.
    """
    if not shape.experts:
        raise ConfigError("The model has no experts, so that nothing is sent to any; give a mixture of experts.")
    if nodes < 1 or shape.experts % nodes:
        raise ConfigError(f"{shape.experts} experts do not divide evenly over {nodes} nodes; give a divisor.")
    each = shape.experts // nodes
    none_here = math.comb(shape.experts - each, shape.experts_used) / math.comb(shape.experts, shape.experts_used)
    reached = nodes * (1 - none_here)
    if limited:
        reached = min(reached, float(shape.routing_groups_used))
    sparse = shape.layers - shape.dense_layers
    numbers = _PASSES * (dispatch_bytes + _COMBINE_BYTES) * shape.hidden_size * sparse
    return Traffic(
        nodes_reached=reached,
        network_bytes=numbers * reached * (nodes - 1) / nodes,
        node_bytes=numbers * shape.experts_used * (_GPUS_PER_NODE - 1) / _GPUS_PER_NODE,
    )


def chip_run(
    shape: Shape,
    chip: Accelerator,
    *,
    tokens: float,
    mfu: float,
    context: int,
    nodes: int,
    gpus: int,
    date: str,
    usd_per_gpu_hour: float | None = None,
) -> ChipRun:
    """Works the run out on one kind of chip.

    Args:
        shape: A mixture of experts.
        chip: What it runs on.
        tokens: Trained on.
        mfu: Share of the BF16 peak that arithmetic reaches, the same for every chip.
        context: Tokens of a sequence.
        nodes: Over which the experts of a layer are spread.
        gpus: Of the fleet, for the days.
        date: For the rules, as YYYY-MM-DD.
        usd_per_gpu_hour: Price.

    Raises:
        ConfigError: A figure is not positive, or the utilisation is over 1.
    """
    for name, value in (("tokens", tokens), ("mfu", mfu), ("gpus", gpus), ("usd_per_gpu_hour", usd_per_gpu_hour)):
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"{name} is {value:g}; it must be positive.")
    if mfu > 1:
        raise ConfigError(f"mfu is {mfu:g}; it must be at most 1, the whole peak.")
    dispatch = 1 if chip.fp8_tflops is not None else 2
    with_limit, without = (
        traffic(shape, nodes=nodes, limited=limited, dispatch_bytes=dispatch) for limited in (True, False)
    )
    compute = model_cost(shape, context).train_flops_per_token / (chip.bf16_tflops * _TERA * mfu)
    network = with_limit.network_bytes / (chip.network_gb_per_s * _GIGA)
    inside = with_limit.node_bytes / (chip.node_gb_per_s * _GIGA)
    hours = tokens * max(compute, network, inside) / 3600
    return ChipRun(
        chip=chip.name,
        total_processing_performance=chip.total_processing_performance,
        compute_us=compute * 1e6,
        network_us=network * 1e6,
        network_us_unlimited=without.network_bytes / (chip.network_gb_per_s * _GIGA) * 1e6,
        node_us=inside * 1e6,
        gpu_hours=hours,
        gpu_hours_unhidden=tokens * (compute + max(network, inside)) / 3600,
        days=hours / gpus / 24,
        usd=None if usd_per_gpu_hour is None else hours * usd_per_gpu_hour,
        rules="; ".join(f"{rule.date} {rule.title}" for rule in rules_on(chip, date)) or "none",
    )
