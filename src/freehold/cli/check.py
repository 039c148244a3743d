"""`freehold check`: tests claims about models and money by arithmetic."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from freehold.cli.options import Csv, Json

if TYPE_CHECKING:
    from freehold.cost.claims import Claim
    from freehold.cost.verdict import Finding

__all__ = ["check"]


def check(
    claims: Annotated[Path, typer.Argument(metavar="CLAIMS.toml", help="Claims, as docs/claims.md describes them.")],
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Test claims by every identity that applies; each gets a verdict, the arithmetic, and what would settle it."""
    from freehold.cli.output import chosen, write_rows
    from freehold.cost.claims import read_claims
    from freehold.cost.verdict import check as test

    format_ = chosen(as_json, as_csv)
    findings = [test(claim, train_flops_per_token=_flops(claim)) for claim in read_claims(claims)]
    if format_ == "table":
        sys.stdout.write("\n".join(_paragraph(finding) for finding in findings))
        return
    rows = [_row(finding) for finding in findings]
    if format_ == "csv":
        rows = [
            {**row, "intervals": _ranges(row["intervals"]), "arithmetic": "; ".join(row["arithmetic"])} for row in rows
        ]
    write_rows(rows, format_)


def _flops(claim: Claim) -> float | None:
    """FLOPs per trained token of the claim's model, at the sequence length that the claim names, else 4096."""
    from freehold.cli.cost import shape_by_name
    from freehold.cost.model import model_cost
    from freehold.errors import ConfigError

    if claim.model is None:
        return None
    try:
        shape = shape_by_name(claim.model)
    except ConfigError:
        return None  # a model that nothing is known of has no FLOPs to test by; its other figures have
    length = claim.facts.get("sequence_length")
    return model_cost(shape, round(length.middle) if length else 4096).train_flops_per_token


def _row(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.claim.id,
        "says": finding.claim.says,
        "source": finding.claim.source,
        "verdict": str(finding.verdict),
        "intervals": {name: [value.low, value.high] for name, value in finding.intervals.items()},
        "arithmetic": list(finding.arithmetic),
        "settles": finding.settles,
    }


def _ranges(intervals: Mapping[str, Sequence[float]]) -> str:
    """All ranges in one cell."""
    return "; ".join(f"{name} {low!r} to {high!r}" for name, (low, high) in intervals.items())


def _paragraph(finding: Finding) -> str:
    from freehold.text.terminal import clean_line

    lines = [f"{finding.claim.id}: {finding.verdict}"]
    if finding.claim.says:
        lines.append(f"  says: {finding.claim.says}")
    lines += [f"  - {line}" for line in finding.arithmetic]
    lines.append(f"  would settle it: {finding.settles}")
    return "".join(f"{clean_line(line)}\n" for line in lines)
