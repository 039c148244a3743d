"""Decoding speed: our engine against the `generate` of transformers, on the same weights, prompts and token counts.

    python bench/decode.py --batch 1 16 --rounds 7 --new 128 --json docs/results/decode.json

Both sides hold the default model in bfloat16, each in a process of its own, decode greedily past end tokens, and take
turns. Ours is the path that a user takes: `LanguageModel`, its engine and its thread, with tokens turned into text.
The rival is `AutoModelForCausalLM.generate` with scaled-dot-product attention and a key/value cache, at whichever of
these settings is fastest in a trial run before the rounds: its dynamic or its static cache, with one thread or with
all. `--compile` adds its compiled static cache to the trial, which needs a C++ compiler on the machine. Rounds of ours
never find their prompts in the prefix cache, as each comes from another user. The time includes reading the prompts.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from freehold.engine.collect import Collector
from freehold.engine.language_model import LanguageModel
from freehold.engine.request import Request
from freehold.hub.catalog import DEFAULT_MODEL
from freehold.hub.pull import ensure
from freehold.text.tokenizer import Tokenizer
from freehold.types import SamplingParams
from harness import Side, Worker, compare, environment, peak_memory_bytes, serve, write_results

TARGETS = {1: 1.7, 16: 2.0}
"""Ratios of tokens per second that the engine is to reach, by batch."""

_TOPICS = (
    "the tides", "volcanoes", "bread", "the printing press", "prime numbers", "whales", "glass", "the moon",
    "bridges", "honey bees", "paper", "earthquakes", "chess", "rivers", "the violin", "snow",
)  # fmt: skip


def prompts(tokenizer: Tokenizer, batch: int, length: int) -> list[list[int]]:
    """Different prompts of exactly `length` tokens each."""
    made = []
    for row in range(batch):
        topic = _TOPICS[row % len(_TOPICS)]
        text = f"Lesson {row + 1}. Write a long and detailed explanation of {topic} for a curious child. "
        made.append(tokenizer.encode(text * (length // 8 + 1))[:length])
    return made


class Ours:
    """Our engine, as a user has it."""

    def __init__(self, folder: Path) -> None:
        self.model = LanguageModel.from_folder(folder, dtype="bfloat16", device="cpu")
        self._rounds = 0

    def generate(self, batch: list[list[int]], new: int) -> list[list[int]]:
        """Continues all prompts at once; gives the new tokens of each."""
        self._rounds += 1
        params = SamplingParams(max_tokens=new, temperature=0.0, ignore_eos=True)
        requests = [
            Request(f"{self._rounds}-{row}", tuple(prompt), params, user=f"round {self._rounds}")
            for row, prompt in enumerate(batch)
        ]
        answers = []
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(self.model.runner.stream_sync(request)) for request in requests]
            for request, stream in zip(requests, streams, strict=True):
                collector = Collector(request)
                for update in stream:
                    collector.add(update)
                answers.append(list(collector.completions()[0].token_ids))
        return answers

    def peak(self) -> int | None:
        """Most memory held so far, in bytes."""
        return peak_memory_bytes()


class Transformers:
    """The rival, at one of its settings."""

    def __init__(self, folder: Path) -> None:
        import transformers

        model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.bfloat16, attn_implementation="sdpa"
        )
        self._model = model.eval()
        self._options: dict[str, Any] = {}

    def set(self, threads: int, options: dict[str, Any]) -> None:
        """Changes the setting."""
        torch.set_num_threads(threads)
        self._options = options

    def generate(self, batch: list[list[int]], new: int) -> list[list[int]]:
        """Continues all prompts at once; gives the new tokens of each."""
        ids = torch.tensor(batch)
        out = self._model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new,
            min_new_tokens=new,
            do_sample=False,
            use_cache=True,
            **self._options,
        )
        new_tokens: list[list[int]] = out[:, ids.shape[1] :].tolist()
        return new_tokens

    def peak(self) -> int | None:
        """Most memory held so far, in bytes."""
        return peak_memory_bytes()


SIDES = {"freehold": Ours, "transformers": Transformers}


def choose(rival: Worker, batch: list[list[int]], new: int, *, threads: int, compiled: bool) -> dict[str, float]:
    """Sets the rival to what is fastest for this batch, by the better of two short runs; gives the tokens/s of each."""
    settings = {
        f"{cache} cache, {count} thread{'s' if count > 1 else ''}": {"threads": count, "options": options}
        for count in sorted({1, threads})
        for cache, options in _caches(compiled).items()
    }
    rates: dict[str, float] = {}
    for name, setting in settings.items():
        rival.call("set", **setting)
        rival.call("generate", batch=batch, new=4)
        rates[name] = max(
            len(batch) * new / _seconds(lambda: rival.call("generate", batch=batch, new=new)) for _ in range(2)
        )
        print(f"  trial: transformers with {name}: {rates[name]:.1f} tokens/s", flush=True)
    rival.call("set", **settings[max(rates, key=lambda name: rates[name])])
    return rates


def _caches(compiled: bool) -> dict[str, dict[str, Any]]:
    caches: dict[str, dict[str, Any]] = {
        "dynamic": {},
        "static": {"cache_implementation": "static", "disable_compile": True},
    }
    if compiled:
        caches["compiled static"] = {"cache_implementation": "static"}
    return caches


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _agreement(ours: list[list[int]], rival: list[list[int]]) -> float:
    """How many tokens the two sides write alike before they part, on average: a check that both do the same work."""
    return sum(_alike(a, b) for a, b in zip(ours, rival, strict=True)) / len(ours)


def _alike(a: list[int], b: list[int]) -> int:
    return next((place for place, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a))


def measure(
    arguments: argparse.Namespace, tokenizer: Tokenizer, workers: dict[str, Worker]
) -> Iterator[dict[str, Any]]:
    """Runs the rounds of every batch size; yields the figures."""
    ours, rival = workers["freehold"], workers["transformers"]
    for size in arguments.batch:
        batch, new = prompts(tokenizer, size, arguments.prompt), arguments.new
        print(f"batch {size}, prompts of {arguments.prompt} tokens, {new} new tokens each", flush=True)
        trial = choose(rival, batch, max(8, new // 4), threads=arguments.threads, compiled=arguments.compile)
        warm = [worker.call("generate", batch=batch, new=new) for worker in (ours, rival)]
        comparison = compare(
            Side("freehold", partial(ours.call, "generate", batch=batch, new=new)),
            Side("transformers", partial(rival.call, "generate", batch=batch, new=new)),
            work=size * new,
            unit="tokens/s",
            rounds=arguments.rounds,
        )
        print(f"  ratio of medians {comparison.ratio:.2f}, target {TARGETS.get(size, 'none')}", flush=True)
        yield {
            "batch": size,
            "prompt_tokens": arguments.prompt,
            "new_tokens": new,
            "target": TARGETS.get(size),
            "rival_setting": max(trial, key=lambda name: trial[name]),
            "rival_trial_tokens_per_second": trial,
            "tokens_alike_before_parting": _agreement(*warm),
            **comparison.summary(),
        }


def page(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    machine = results["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        "# Decoding speed",
        "",
        f"{results['model']} in bfloat16, greedy; {machine['processor']}, {machine['cores']} cores, "
        f"{machine['threads']} threads; Python {machine['python']}, {versions}; {machine['date']}.",
        "Rounds of the two sides take turns; the ratio is that of the medians. The rival runs at its fastest setting.",
        "",
        "| batch | freehold, tokens/s | transformers, tokens/s | ratio | target | per round | the rival's setting |",
        "|---:|---:|---:|---:|---:|---|---|",
    ]
    for row in results["batches"]:
        spread = " ".join(f"{ratio:.2f}" for ratio in row["round_ratios"])
        lines.append(
            f"| {row['batch']} | {row['ours_median']:.1f} | {row['rival_median']:.1f} | {row['ratio_of_medians']:.2f} "
            f"| {row['target'] or ''} | {spread} | {row['rival_setting']} |"
        )
    lines += ["", "Peak memory of a process with one side alone: "]
    lines[-1] += ", ".join(f"{side} {peak / 2**20:,.0f} MiB" for side, peak in results["peak_memory_bytes"].items())
    lines[-1] += "."
    lines += ["", "Written by `python bench/decode.py`.", ""]
    return "\n".join(lines)


def main() -> None:
    """Parses the command line, measures, reports."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or folder (default: %(default)s)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16], help="sequences at once (default: 1 16)")
    parser.add_argument("--rounds", type=int, default=7, help="pairs of runs per batch (default: %(default)s)")
    parser.add_argument("--prompt", type=int, default=64, help="tokens of each prompt (default: %(default)s)")
    parser.add_argument("--new", type=int, default=128, help="tokens to write per sequence (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="threads of both sides (default: torch's choice)")
    parser.add_argument("--compile", action="store_true", help="also try the rival compiled; needs a C++ compiler")
    parser.add_argument("--json", type=Path, help="write the figures there, and a page beside it")
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.threads = arguments.threads or torch.get_num_threads()
    folder = ensure(arguments.model)
    if arguments.side is not None:
        torch.set_num_threads(arguments.threads)
        serve(SIDES[arguments.side](folder))
        return
    machine = environment(["freehold", "torch", "transformers"], threads=arguments.threads)
    command = [sys.executable, __file__, "--model", str(folder), "--threads", str(arguments.threads), "--side"]
    workers = {side: Worker([*command, side]) for side in SIDES}
    batches = list(measure(arguments, Tokenizer.from_folder(folder), workers))
    peaks = {side: worker.call("peak") for side, worker in workers.items()}
    for worker in workers.values():
        worker.close()
    results = {"model": folder.name, "environment": machine, "batches": batches, "peak_memory_bytes": peaks}
    print(page(results))
    if arguments.json is not None:
        write_results(arguments.json, results, page(results))


if __name__ == "__main__":
    main()
