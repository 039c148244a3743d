"""`freehold own`: machines of one's own against an API, at a given load."""

from __future__ import annotations

from typing import Annotated

import typer

from freehold.cli.options import Csv, Json

__all__ = ["own"]


def own(
    input_tokens: Annotated[float, typer.Option(help="Read in a day.")],
    output_tokens: Annotated[float, typer.Option(help="Written in a day, thinking included.")],
    purchase_usd: Annotated[float, typer.Option(help="Price of the machines.")],
    output_tokens_per_second: Annotated[
        float, typer.Option(help="What they write over all sequences; `freehold cost serve` bounds it.")
    ],
    kilowatts: Annotated[float, typer.Option(help="Drawn around the clock, cooling included.")],
    usd_per_kwh: Annotated[float, typer.Option(help="Price of energy.")] = 0.2,
    other_usd_per_year: Annotated[float, typer.Option(help="Staff, space, network.")] = 0.0,
    life_years: Annotated[float, typer.Option(help="Until they are written off.")] = 4.0,
    cached_share: Annotated[float, typer.Option(help="Of the input, what the API's cache holds.")] = 0.0,
    usd_per_mtok_input: Annotated[float, typer.Option(help="The API's price of input that is not cached.")] = 0.55,
    usd_per_mtok_input_hit: Annotated[float, typer.Option(help="The API's price of input that is.")] = 0.14,
    usd_per_mtok_output: Annotated[float, typer.Option(help="The API's price of output.")] = 2.19,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Compare owning machines with paying an API for the same load, and tell where the two meet."""
    import dataclasses

    from freehold.cli.output import chosen, write_values
    from freehold.cost.price import Load, PriceSheet, break_even

    format_ = chosen(as_json, as_csv)
    found = break_even(
        PriceSheet(input_miss=usd_per_mtok_input, input_hit=usd_per_mtok_input_hit, output=usd_per_mtok_output),
        Load(input_tokens=input_tokens, output_tokens=output_tokens, cached_share=cached_share),
        purchase_usd=purchase_usd,
        life_years=life_years,
        kilowatts=kilowatts,
        usd_per_kwh=usd_per_kwh,
        other_usd_per_year=other_usd_per_year,
        output_tokens_per_second=output_tokens_per_second,
    )
    notes = ["Prices of the API, where none are given: DeepSeek-R1's at its launch, 20 January 2025."]
    if found.capacity_share > 1:
        notes.append(f"The machines cannot carry the load: it takes {found.capacity_share:.3g} times what they write.")
    write_values(dataclasses.asdict(found), format_, notes=notes)
