"""`freehold plan`: what fits on this machine or a named one, in which format, how fast, at what price."""

from __future__ import annotations

from typing import Annotated

import typer

from freehold.cli.options import Csv, Json

__all__ = ["plan"]


def plan(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="As in `freehold cost model`.")],
    hardware: Annotated[
        str | None, typer.Option(help="Such as 8xh200 or h100; left out, this machine is measured.")
    ] = None,
    context: Annotated[int, typer.Option(min=1, help="Tokens of the one sequence.")] = 4096,
    usd_per_hour: Annotated[float | None, typer.Option(help="Price of an hour of one of them.")] = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Tell what fits, in which format, how fast at most, and at what price."""
    import dataclasses

    from freehold.cli.cost import shape_by_name
    from freehold.cli.output import chosen, write_rows
    from freehold.cost.hardware import accelerator
    from freehold.cost.machine import this_machine
    from freehold.cost.plan import plan as fits

    format_ = chosen(as_json, as_csv)
    shape = shape_by_name(model)
    count, name = _counted(hardware) if hardware else (1, None)
    chip = this_machine() if name is None else accelerator(name)
    rows = [
        dataclasses.asdict(fit) for fit in fits(shape, chip, count=count, context=context, usd_per_hour=usd_per_hour)
    ]
    speeds = (
        "Rates follow from what was measured now with float32 products; matrix units (AMX) read prompts in bfloat16 "
        "several times as fast."
        if name is None
        else "Rates are bounds by the roofline, which no implementation exceeds."
    )
    notes = [
        f"For one sequence; a tenth of the memory is kept free. {speeds}",
        f"{chip.title}: {chip.memory_gb:.4g} GB, {chip.memory_tb_per_s * 1000:.4g} GB/s, "
        f"{chip.bf16_tflops:.4g} TFLOP/s; {chip.source} ({chip.date}).",
    ]
    write_rows(rows, format_, notes=notes)


def _counted(text: str) -> tuple[int, str]:
    """`8xh200` as (8, "h200")."""
    from freehold.errors import ConfigError

    count, times, name = text.partition("x")
    if times and count.isdigit():
        if int(count) < 1:
            raise ConfigError(f"--hardware {text!r} counts {count}; it must be at least 1, as in 8xh200.")
        return int(count), name
    return 1, text
