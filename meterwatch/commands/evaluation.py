"""Commands that judge files: against a model trained on their beginning, or through the running service."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from meterwatch.commands.output import Json, print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (backtest, score):
        app.command()(command)


def backtest(
    file: Annotated[Path, typer.Argument(help="UCI text, or CSV or Parquet with `at` and `active_power_kw`.")],
    train_end: Annotated[str, typer.Option(metavar="T", help="Train on what is before, judge from there on.")],
    out: Annotated[Path, typer.Option(help="Verdicts, as Parquet.")],
    events: Annotated[Path, typer.Option(help="Events, as Parquet.")],
    meter: Annotated[str | None, typer.Option(help="Select a meter, or name the only one.")] = None,
    params: Annotated[Path | None, typer.Option(help="A params.yaml; default: built in.")] = None,
) -> None:
    """Train on the readings before T and judge those from T on, with the code that runs live."""
    from meterwatch.backtesting import backtest_file, params_from

    sizes, detector = params_from(params) if params else (None, None)
    done = backtest_file(
        file, train_end=train_end, out=out, events=events, meter=meter, params=sizes, detector=detector,
        progress=lambda step: print(step, file=sys.stderr, flush=True),
    )  # fmt: skip
    print(f"{done.verdicts.num_rows:,} verdicts in {out}, {done.events.num_rows:,} events in {events} "
          f"({done.meters} meters, trained on {done.trained_on:,} readings)")  # fmt: skip


def score(
    file: Annotated[Path, typer.Argument(help="As for backtest; - for standard input.", allow_dash=True)],
    meter: Annotated[str | None, typer.Option(help="Select a meter, or name the only one.")] = None,
    anomalous: Annotated[bool, typer.Option("--anomalous", help="Print anomalous readings only.")] = False,
    as_json: Json = False,
) -> None:
    """Score readings through the running service and print their verdicts; nothing is stored."""
    from meterwatch.scored_file import score_file
    from meterwatch.settings import load

    rows = [row for row in score_file(load(), file, meter) if row["anomalous"] or not anomalous]
    if as_json:
        print_json(rows)
        return
    columns = ("meter_id", "at", "status", "score", "expected_kw", "anomalous", "reason")
    print_table(rows, dict(zip(columns, columns, strict=True)), "no readings")
