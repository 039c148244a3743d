"""Results as a table for people, JSON for programs, or CSV for spreadsheets."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from freehold.errors import ConfigError

__all__ = ["Format", "chosen", "write_rows", "write_values"]

Format = Literal["table", "json", "csv"]


def chosen(as_json: bool, as_csv: bool) -> Format:
    """Which format the options ask for.

    Raises:
        ConfigError: Both.
    """
    if as_json and as_csv:
        raise ConfigError("--json and --csv are both given; choose one.")
    return "json" if as_json else "csv" if as_csv else "table"


def write_values(values: Mapping[str, Any], format_: Format, *, notes: Sequence[str] = ()) -> None:
    """Writes one result: a name and a value a line; notes stand below a table, and under `notes` in JSON."""
    if format_ == "json":
        _json({**values, "notes": list(notes)} if notes else dict(values))
    elif format_ == "csv":
        _csv([("name", "value"), *((name, value) for name, value in _flat(values))])
    else:
        _table(("", ""), [(name, shown(value)) for name, value in _flat(values)])
        sys.stdout.write("".join(f"{note}\n" for note in notes))


def write_rows(rows: Sequence[Mapping[str, Any]], format_: Format, *, notes: Sequence[str] = ()) -> None:
    """Writes several results of one form, a line each; there is at least one."""
    if format_ == "json":
        _json({"rows": [dict(row) for row in rows], "notes": list(notes)} if notes else [dict(row) for row in rows])
        return
    headings = list(rows[0])
    if format_ == "csv":
        _csv([headings, *([row[name] for name in headings] for row in rows)])
        return
    _table(headings, [[shown(row[name]) for name in headings] for row in rows])
    sys.stdout.write("".join(f"{note}\n" for note in notes))


def shown(value: Any) -> str:
    """A value for people: four digits, and powers of ten in words up to a trillion."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if value == 0 or 0.001 <= abs(value) < 10_000:
        return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    for size, word in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size <= abs(value) < 1e15:
            return f"{value / size:.4g} {word}"
    return f"{value:.4g}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat += _flat(value, f"{prefix}{name}.")
        else:
            flat.append((f"{prefix}{name}", value))
    return flat


def _json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _csv(rows: Sequence[Sequence[Any]]) -> None:
    csv.writer(sys.stdout, lineterminator="\n").writerows(rows)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell; light, because rich alone takes longer to import than the sums."""
    from freehold.text.terminal import clean_line

    cells = [[clean_line(cell) for cell in row] for row in ([headings, *rows] if any(headings) else rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")
