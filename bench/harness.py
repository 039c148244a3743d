"""What every benchmark here shares: interleaved rounds, medians, and an account of the machine.

A machine's memory bandwidth can drift by a factor of two within minutes, so two sides are never measured one after the
other: they take turns, A B A B, each round giving one pair, and what counts is the ratio of the medians. The pairs'
own ratios stand beside it to show the spread. Warm-up is not measured.

Each side lives in a process of its own (`Worker`): two libraries in one would share OpenMP's count of threads, and each
thread pool that one leaves behind slows the other down. A side that waits for its turn takes no processor time.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["Comparison", "Side", "Worker", "compare", "environment", "peak_memory_bytes", "serve", "write_results"]


@dataclass(frozen=True, slots=True)
class Side:
    """One of two programs that do the same work.

    Args:
        name: In tables.
        run: Does one round of the work.
    """

    name: str
    run: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides over the same rounds.

    Args:
        ours: Our side's name.
        rival: The other's.
        unit: Of the rates, such as tokens per second.
        ours_rates: Per round.
        rival_rates: Per round.
    """

    ours: str
    rival: str
    unit: str
    ours_rates: tuple[float, ...]
    rival_rates: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Our median rate over the rival's."""
        return statistics.median(self.ours_rates) / statistics.median(self.rival_rates)

    @property
    def round_ratios(self) -> tuple[float, ...]:
        """Each round's own ratio."""
        return tuple(a / b for a, b in zip(self.ours_rates, self.rival_rates, strict=True))

    def summary(self) -> dict[str, Any]:
        """The figures for a results file."""
        return {
            **asdict(self),
            "ours_median": statistics.median(self.ours_rates),
            "rival_median": statistics.median(self.rival_rates),
            "ratio_of_medians": self.ratio,
            "round_ratios": self.round_ratios,
        }


def compare(
    ours: Side,
    rival: Side,
    *,
    work: float,
    unit: str,
    rounds: int,
    report: Callable[[str], object] = print,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Runs two sides in turns.

    Args:
        ours: Our side, warmed up.
        rival: The other side, warmed up.
        work: Units of work in one round of either side.
        unit: Of work per second.
        rounds: How many pairs, at least 1.
        report: Is told about every round.
        clock: Seconds.
    """
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; it must be at least 1.")
    rates: dict[str, list[float]] = {"ours": [], "rival": []}
    for number in range(rounds):
        for key, side in (("ours", ours), ("rival", rival)):
            began = clock()
            side.run()
            rates[key].append(work / (clock() - began))
        a, b = rates["ours"][-1], rates["rival"][-1]
        report(f"  round {number + 1}: {ours.name} {a:.1f}, {rival.name} {b:.1f} {unit}, ratio {a / b:.2f}")
    return Comparison(ours.name, rival.name, unit, tuple(rates["ours"]), tuple(rates["rival"]))


class Worker:
    """One side in a process of its own, that does what it is told over a pipe, in lines of JSON.

    Args:
        command: Starts a program that makes the side and calls `serve` with it.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def call(self, method: str, **arguments: Any) -> Any:
        """Has the side do something, and gives its result.

        Raises:
            RuntimeError: The process has ended; what it said stands on the standard error.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps([method, arguments]) + "\n")
        stdin.flush()
        answer = stdout.readline()
        if not answer:
            raise RuntimeError(f"The process of one side ended during {method!r}, with {self._process.wait()}.")
        return json.loads(answer)

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve(side: object) -> None:
    """Does what a `Worker` asks for, with the methods of `side`, until it closes the pipe."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not stand among the answers
    for line in sys.stdin:
        method, arguments = json.loads(line)
        answers.write(json.dumps(getattr(side, method)(**arguments)) + "\n")
        answers.flush()


def environment(packages: Sequence[str], **more: Any) -> dict[str, Any]:
    """What a reader needs to judge the figures: processor, cores, load, versions, and whatever else is given."""
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_average_1_minute": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in packages},
        **more,
    }


def peak_memory_bytes() -> int | None:
    """Most memory that this program has held since it was started; None where the system does not tell."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):  # ru_maxrss would count the parent's memory at the fork too
                return int(line.split()[1]) * 1024
    return None


def write_results(path: Path, results: Mapping[str, Any], page: str) -> None:
    """Writes `path` as JSON, and the page beside it as Markdown."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(page, encoding="utf-8")


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
