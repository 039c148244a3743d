"""Prometheus metrics, in a registry of the application's own: counts and durations, never words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from freehold.engine.stats import EngineStats
from freehold.serve.registry import ModelRegistry
from freehold.types import Usage

__all__ = ["METRICS_TYPE", "Metrics"]

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The application's counters; all label values come from fixed sets (routes, models, methods, statuses)."""

    def __init__(self, models: ModelRegistry) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Engines(models))
        self.requests = Counter(
            "freehold_requests", "Requests answered", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "freehold_request_seconds", "Time to the last byte", ("route",), buckets=_SECONDS, registry=self.registry
        )
        self.first_token_seconds = Histogram(
            "freehold_first_token_seconds",
            "Time to the first token",
            ("model",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.running = Gauge("freehold_answers_running", "Answers being waited for or written", registry=self.registry)
        self.draining = Gauge(
            "freehold_draining", "1 while the server finishes its last answers", registry=self.registry
        )
        self.tokens = Counter(
            "freehold_tokens",
            "Tokens by kind: prompt_cache_hit, prompt_cache_miss, reasoning, answer",
            ("model", "kind"),
            registry=self.registry,
        )
        self.finished = Counter(
            "freehold_answers",
            "Answers ended, by reason; left: the client went, or it failed",
            ("model", "finish_reason"),
            registry=self.registry,
        )

    def count_usage(self, model: str, usage: Usage) -> None:
        """Adds a finished request's tokens."""
        self.tokens.labels(model, "prompt_cache_hit").inc(usage.cached_tokens)
        self.tokens.labels(model, "prompt_cache_miss").inc(usage.prompt_tokens - usage.cached_tokens)
        self.tokens.labels(model, "reasoning").inc(usage.reasoning_tokens)
        self.tokens.labels(model, "answer").inc(usage.completion_tokens - usage.reasoning_tokens)

    def render(self) -> bytes:
        """Gives the page that Prometheus reads."""
        return generate_latest(self.registry)


_GAUGES = {"running", "waiting", "cache_tokens", "cache_used_tokens", "cache_reusable_tokens", "last_step_seconds"}


class _Engines(Collector):
    """The engines' own counters and gauges, read when they are asked for."""

    def __init__(self, models: ModelRegistry) -> None:
        self._models = models

    def collect(self) -> Iterable[Metric]:
        for field in dataclasses.fields(EngineStats):
            family = GaugeMetricFamily if field.name in _GAUGES else CounterMetricFamily
            metric = family(f"freehold_engine_{field.name}", f"The engine's {field.name}", labels=("model",))
            for model in self._models.models:
                metric.add_metric((model.name,), getattr(model.runner.stats, field.name))
            yield metric
