"""Commands on the threshold: what another one would mean, and taking it."""

from __future__ import annotations

from typing import Annotated

import typer

from meterwatch.commands.output import Json, print_json, print_table

threshold = typer.Typer(help="From which score on a reading is anomalous.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(threshold, name="threshold")


@threshold.command()
def suggest(
    budget: Annotated[float, typer.Option(min=0, help="False alarms a meter and month that are wanted at most.")] = 1.0,
    as_json: Json = False,
) -> None:
    """What other thresholds would mean, by stored scores and labels; nothing is changed."""
    from meterwatch.settings import load
    from meterwatch.suggesting import suggestion

    found = suggestion(load(), budget)
    if as_json:
        print_json(found)
        return
    rows = [
        {
            "threshold": f"{one['threshold']:g}" + (" now" if one["threshold"] == found["threshold"] else ""),
            "rate": f"{one['rate']:.2f} ({one['rate_low']:.2f} to {one['rate_high']:.2f})",
            "false": f"{one['false_alarms']:,} ({one['confirmed']:,})",
            "kept": "no labels" if one["share"] is None else
            f"{one['share']:.0%} ({one['share_low']:.0%} to {one['share_high']:.0%})",
        }
        for one in found["candidates"]
    ]  # fmt: skip
    columns = {"threshold": "threshold", "rate": "false alarms a meter and month (95 %)", "false": "all (confirmed)",
               "kept": "real events kept (95 %)"}  # fmt: skip
    print_table(rows, columns, "nothing has been judged yet: `meterwatch up` starts the stream")
    if not rows:
        return
    print(f"From {found['months']:.1f} meter-months, judged by version {', '.join(found['versions'])}. What nobody "
          "labelled real counts as false.")  # fmt: skip
    print(f"Labelled: {found['real']:,} real, {found['false_alarms']:,} false alarms.")
    if not found["real"]:
        print("No event is labelled real yet: the dashboard's Events page takes labels, then the last column is known.")
    if found["suggested"] is None:
        print(f"None keeps within {budget:g} false alarms a meter and month.")
    elif found["suggested"] != found["threshold"]:
        print(f"The lowest within {budget:g} a month: `meterwatch threshold apply {found['suggested']:g}`.")
    else:
        print(f"The present threshold is the lowest within {budget:g} a month.")


@threshold.command(context_settings={"ignore_unknown_options": True})  # -1 is a threshold
def apply(
    value: Annotated[float, typer.Argument(help="log10 of the months between two alarms.")],
) -> None:
    """Register the champion with another threshold, as a version to be promoted."""
    from meterwatch.settings import load
    from training.threshold import apply as registered

    number = registered(load(), value)
    print(
        f"version {number} is the champion with threshold {value:g}: `meterwatch models promote {number}` has it judge"
    )
