"""The ledger: appended whole, read back, summed, and robust against what a crash leaves."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from freehold.cost.ledger import Entry, Ledger, totals
from freehold.errors import ConfigError

FIELDS: dict[str, Any] = {
    "started": "2026-01-31T12:00:00+00:00",
    "ended": "2026-01-31T13:30:00+00:00",
    "run": "nano",
    "kind": "pre-training",
    "device": "cpu",
    "device_hours": 1.5,
}


def entry(**changes: Any) -> Entry:
    return Entry(**{**FIELDS, **changes})


def test_entries_come_back_in_order(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "cost.jsonl")
    assert ledger.read() == ((), ())
    written = [entry(note=f"step {number}\nwith a second line, ü") for number in range(3)]
    for one in written:
        ledger.append(one)
    assert ledger.read() == (tuple(written), ())
    assert len(ledger.path.read_text(encoding="utf-8").splitlines()) == 3


def test_what_a_crash_cut_off_is_named_and_harms_no_other(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "cost.jsonl")
    ledger.append(entry(run="first"))
    whole = ledger.path.read_bytes()
    with ledger.path.open("ab") as file:
        file.write(whole[: len(whole) // 2])
    ledger.append(entry(run="second"))
    entries, unread = ledger.read()
    assert [one.run for one in entries] == ["first", "second"]
    assert len(unread) == 1
    assert unread[0].startswith("cost.jsonl, line 2:")


def _append(path: Path, name: str) -> None:
    for _ in range(50):
        Ledger(path).append(entry(run=name, note="x" * 500))


def test_processes_may_append_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "cost.jsonl"
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_append, args=(path, f"run {number}")) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    entries, unread = Ledger(path).read()
    assert not unread
    assert sorted({one.run for one in entries}) == ["run 0", "run 1", "run 2"]
    assert len(entries) == 150


def test_a_run_costs_what_failed_too() -> None:
    found = totals(
        [
            entry(tokens=100, flops=1e12, energy_joules=10.0, energy_is_estimate=False, usd=3.0),
            entry(tokens=50, flops=5e11, outcome="failed", energy_joules=5.0),
            entry(kind="reinforcement learning", device="h800", device_hours=8.0, outcome="repeated", tokens=70),
        ]
    )
    assert found.device_hours == {"cpu": 3.0, "h800": 8.0}
    assert found.device_hours_by_kind == {"pre-training": 3.0, "reinforcement learning": 8.0}
    assert found.device_hours_lost == 9.5
    assert (found.tokens, found.flops) == (100, 1e12)
    assert (found.energy_joules, found.energy_is_estimate) == (15.0, True)
    assert (found.usd, found.entries_without_usd, found.entries_without_energy) == (3.0, 2, 1)
    assert totals([]).device_hours == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "training"}, "kind is 'training'; it must be one of pre-training"),
        ({"outcome": "ok"}, "outcome is 'ok'; it must be one of done"),
        ({"device_hours": -1.0}, "device_hours is -1.0; it must be 0 or more"),
        ({"usd": float("nan")}, "usd is nan"),
        ({"flops": float("inf")}, "flops is inf"),
        ({"devices": 0}, "devices is 0; it must be at least 1"),
        ({"run": ""}, "run is empty"),
        ({"started": "2026-01-31T12:00:00"}, "without a time zone"),
        ({"ended": "soon"}, "ended is 'soon'; write it as"),
        ({"ended": "2026-01-31T11:59:59+00:00"}, "before it started"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        entry(**change)


@pytest.mark.parametrize("line", ["[]", '{"run": 1}', json.dumps({**FIELDS, "extra": 1}), "\x00", "null"])
def test_lines_that_are_no_entries_are_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "cost.jsonl"
    path.write_text(line + "\n", encoding="utf-8")
    entries, unread = Ledger(path).read()
    assert not entries
    assert len(unread) == 1
