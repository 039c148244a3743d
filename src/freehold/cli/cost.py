"""`freehold cost`: what a model weighs and computes, and what it costs to train and to serve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli.options import Csv, Json

if TYPE_CHECKING:
    from freehold.cost.shape import Shape

__all__ = ["app", "chips", "model", "serve", "shape_by_name", "show_ladder", "train"]

app = typer.Typer(
    help="Reckon what a model weighs, computes and costs to train and to serve.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Config = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A config.json, a folder with one, or a name of the catalog.")
]
Context = Annotated[int, typer.Option(min=1, help="Tokens of a sequence.")]


def shape_by_name(name: str) -> Shape:
    """The shape of a model by path, of one that is here, or of one that the catalog knows.

    Raises:
        ConfigError: There is none of that name, or its configuration is malformed.
    """
    from freehold.cost.shape import read_shape, shape_of
    from freehold.errors import ConfigError
    from freehold.hub.local import installed_path
    from freehold.hub.published import published_config

    path = Path(name) if Path(name).exists() else installed_path(name)
    if path is not None:
        return read_shape(path)
    config = published_config(name)
    if config is None:
        raise ConfigError(
            f"{name!r} is neither a file, nor a folder, nor a name of the catalog (`freehold models` lists those)."
        )
    return shape_of(config, name)


@app.command()
def model(config: Config, context: Context = 4096, as_json: Json = False, as_csv: Csv = False) -> None:
    """Parameters, bytes and FLOPs of a model, summed over its architecture."""
    import dataclasses

    from freehold.cli.output import chosen, write_values
    from freehold.cost.model import model_cost

    format_ = chosen(as_json, as_csv)
    values = dataclasses.asdict(model_cost(shape_by_name(config), context))
    notes = (
        "Parameters are numbers; FLOPs are those of one token, attention causal over the context; the cache is in "
        "bfloat16.",
    )
    write_values(values, format_, notes=notes)


@app.command()
def train(
    config: Annotated[str, typer.Option("--model", metavar="CONFIG", help="As in `freehold cost model`.")],
    tokens: Annotated[float, typer.Option(help="Tokens trained on.")],
    gpu: Annotated[str, typer.Option(help="The accelerator, such as h800 or h100.")] = "h800",
    gpu_hours: Annotated[float | None, typer.Option(help="Hours of one GPU, summed over all.")] = None,
    mfu: Annotated[float | None, typer.Option(help="Utilisation of the BF16 peak, in place of the hours.")] = None,
    usd_per_gpu_hour: Annotated[float | None, typer.Option(help="Price of an hour of one GPU.")] = None,
    usd: Annotated[float | None, typer.Option(help="What it cost, in place of price or hours.")] = None,
    gpus: Annotated[float | None, typer.Option(help="GPUs at the same time.")] = None,
    days: Annotated[float | None, typer.Option(help="Days it ran, in place of the GPUs.")] = None,
    context: Context = 4096,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """FLOPs, utilisation, hours, days and dollars of a training run; what is left out follows from the rest."""
    from freehold.cli.output import chosen, write_values
    from freehold.cost.hardware import accelerator
    from freehold.cost.model import model_cost
    from freehold.cost.training import training_run

    format_ = chosen(as_json, as_csv)
    given = {
        "tokens": tokens,
        "gpu_hours": gpu_hours,
        "mfu_bf16": mfu,
        "usd_per_gpu_hour": usd_per_gpu_hour,
        "usd": usd,
        "gpus": gpus,
        "days": days,
    }
    chip = accelerator(gpu)
    run = training_run(
        model_cost(shape_by_name(config), context),
        chip,
        {name: value for name, value in given.items() if value is not None},
    )
    figures = {**run.figures, **dict.fromkeys(run.missing)}
    notes = [*run.arithmetic, f"Peaks of {chip.title}: {chip.source} ({chip.date})."]
    if run.missing:
        notes.append(f"Not told by what was given: {', '.join(run.missing)}.")
    write_values(figures, format_, notes=notes)


@app.command()
def serve(
    config: Annotated[str, typer.Option("--model", metavar="CONFIG", help="As in `freehold cost model`.")],
    gpu: Annotated[str, typer.Option(help="The accelerator, such as h800 or h100.")] = "h100",
    gpus: Annotated[int, typer.Option(min=1, help="How many hold the model together.")] = 8,
    batch: Annotated[int, typer.Option(min=1, help="Sequences written at the same time.")] = 1,
    context: Context = 4096,
    weights: Annotated[str, typer.Option(help="Format: float32, bfloat16, fp8, q8_0, q4_0, q4_1.")] = "bfloat16",
    efficiency: Annotated[float, typer.Option(help="Share of the bound to count on, up to 1.")] = 1.0,
    usd_per_gpu_hour: Annotated[float | None, typer.Option(help="Price of an hour of one GPU.")] = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Bound the throughput of one replica by arithmetic, memory and room, and price a million tokens."""
    import dataclasses

    from freehold.cli.output import chosen, write_values
    from freehold.cost.hardware import accelerator
    from freehold.cost.serving import serving

    format_ = chosen(as_json, as_csv)
    chip = accelerator(gpu)
    values = dataclasses.asdict(
        serving(
            shape_by_name(config),
            chip,
            gpus=gpus,
            batch=batch,
            context=context,
            weights=weights,
            efficiency=efficiency,
            usd_per_gpu_hour=usd_per_gpu_hour,
        )
    )
    notes = (
        "A bound by the roofline, which no implementation exceeds; --efficiency counts on a share of it.",
        f"{chip.title}: {chip.source} ({chip.date}).",
    )
    write_values(values, format_, notes=notes)


@app.command()
def chips(
    config: Annotated[str, typer.Option("--model", metavar="CONFIG", help="A mixture of experts.")] = "deepseek-v3",
    tokens: Annotated[float, typer.Option(help="Tokens trained on.")] = 14.8e12,
    mfu: Annotated[float, typer.Option(help="Utilisation of the BF16 peak, taken for every chip.")] = 0.39,
    gpu: Annotated[str, typer.Option(help="Chips, with commas between.")] = "h800,h100,h200,h20,a100",
    gpus: Annotated[int, typer.Option(min=1, help="Of the fleet.")] = 2048,
    nodes: Annotated[int, typer.Option(min=1, help="Over which the experts of a layer are spread.")] = 8,
    usd_per_gpu_hour: Annotated[float | None, typer.Option(help="Price of an hour of one GPU.")] = None,
    date: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Day of the export rules; today's.")] = None,
    context: Context = 4096,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Put one training run on different chips: arithmetic, links, hours, dollars, and export rules by date."""
    import dataclasses
    from datetime import UTC, datetime

    from freehold.cli.output import chosen, write_rows
    from freehold.cost.chips import chip_run, rules_on
    from freehold.cost.hardware import accelerator
    from freehold.errors import ConfigError

    format_ = chosen(as_json, as_csv)
    try:
        day = (datetime.fromisoformat(date) if date else datetime.now(UTC)).date().isoformat()
    except ValueError as error:
        raise ConfigError(f"--date is {date!r}; write it as YYYY-MM-DD.") from error
    chips = [accelerator(name.strip()) for name in gpu.split(",")]
    shape = shape_by_name(config)
    rows = [
        dataclasses.asdict(
            chip_run(
                shape,
                chip,
                tokens=tokens,
                mfu=mfu,
                context=context,
                nodes=nodes,
                gpus=gpus,
                date=day,
                usd_per_gpu_hour=usd_per_gpu_hour,
            )
        )
        for chip in chips
    ]
    notes = [
        "Microseconds of one chip for one token. Hours with traffic hidden behind arithmetic, and with none hidden; "
        "every chip is taken to reach the same share of its BF16 peak.",
        *(f"{chip.title}: {chip.source} ({chip.date})." for chip in chips),
        *sorted({f"{rule.date} {rule.title}: {rule.says}. {rule.source}." for c in chips for rule in rules_on(c, day)}),
    ]
    write_rows(rows, format_, notes=notes)


@app.command("ladder")
def show_ladder(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="Of a published ladder.")] = "deepseek-r1",
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="FACTOR=VALUE", help="Set an assumption; may be given again.")
    ] = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Climb from the run that is usually quoted to the whole undertaking, with low, high and what each leaves out."""
    from freehold.cli.output import chosen, write_rows
    from freehold.cost.ladder import ladder
    from freehold.errors import ConfigError

    format_ = chosen(as_json, as_csv)
    changes: dict[str, float] = {}
    for text in change or ():
        factor, _, value = text.partition("=")
        try:
            changes[factor.strip()] = float(value)
        except ValueError as error:
            raise ConfigError(
                f"--set {text!r} is not of the form FACTOR=VALUE with a number, as in people=150."
            ) from error
    climbed = ladder(name).with_factors(changes)
    rows = [
        {
            "rung": rung.name,
            "usd_low": rung.usd.low,
            "usd_high": rung.usd.high,
            "assumed": rung.assumed,
            "sums": "+".join(rung.sums),
            "excludes": rung.excludes,
        }
        for rung in climbed.rungs
    ]
    for kind in ("rented", "owned"):
        total = climbed.total(kind)
        rows.append(
            {
                "rung": f"sum, machines {kind}",
                "usd_low": total.low,
                "usd_high": total.high,
                "assumed": any(rung.assumed for rung in climbed.rungs if kind in rung.sums),
                "sums": "",
                "excludes": "what its rungs leave out",
            }
        )
    notes = [
        f"{rung.name}: {f.name} {f.value.low:g} to {f.value.high:g}{', assumed' if f.assumed else ''} ({f.source})"
        for rung in climbed.rungs
        for f in rung.factors
    ]
    write_rows(rows, format_, notes=notes)
