"""Commands that look: how it runs, what was found, what was refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from meterwatch.commands.output import Json, print_json, print_table, told_time

Limit = Annotated[int, typer.Option(min=1, help="At most so many.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (status, events, explain, export, sql):
        app.command()(command)


def status(as_json: Json = False) -> None:
    """Lag, counts, versions and processes of this instance."""
    from meterwatch.settings import load
    from meterwatch.status import status as look

    found = look(load())
    found["newest_at"] = told_time(found["newest_at"])
    if as_json:
        print_json(found)
        return
    processes = ", ".join(f"{one['name']} ({one['id']})" for one in found.pop("processes"))
    parts = {f"partition {one['partition']}": f"read to {one['next_offset']:,} of {_number(one['end_offset'])}"
             for one in found.pop("partitions")}  # fmt: skip
    asked = found.pop("replicas")
    replicas = {f"service at {one['url']}": f"model {one['model_version']}" if one["model_version"] else "away"
                for one in asked if len(asked) > 1}  # fmt: skip
    alerts = {f"alerts to the {name}": f"{one['waiting']:,} wait" + (f": {one['fault']}" if one["fault"] else "")
              for name, one in found.pop("alerts").items()}  # fmt: skip
    told = {**found, **replicas, **parts, **alerts, "processes": processes or None}
    rows = [{"what": name.replace("_", " "), "value": value} for name, value in told.items()]
    print_table(rows, {"what": "", "value": ""}, "")


def _number(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"


def events(
    meter: Annotated[str | None, typer.Option(help="Of this meter only.")] = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """Anomalies, the newest first."""
    from meterwatch.settings import load
    from meterwatch.storage import queries

    with queries.reading(load()) as db:
        rows, total = queries.events(db, meter, limit=limit)
    for row in rows:
        row.update({name: told_time(row[name]) for name in ("start_at", "end_at", "peak_at")})
    if as_json:
        print_json(rows)
        return
    columns = ("event_id", "meter_id", "start_at", "end_at", "severity", "kind", "energy_kwh", "label")
    print_table(rows, dict(zip(columns, columns, strict=True)), "no events")
    if total > len(rows):
        print(f"{total - len(rows):,} older ones: --limit shows more")


def explain(
    meter: Annotated[str, typer.Argument(help="The meter's id.")],
    at: Annotated[str, typer.Argument(help="The reading's time, ISO-8601.")],
    replay: Annotated[
        bool, typer.Option("--replay", help="Compute the verdict again and compare; exit 1 where it differs.")
    ] = False,
) -> None:
    """Say why a reading was judged so, as JSON (asks the running service)."""
    from meterwatch.settings import load
    from meterwatch.status import explain as ask

    found = ask(load(), meter, at, replay=replay)
    print_json(found)
    if replay and not found["replay"]["same"]:
        differs = "not computed again" if found["replay"]["same"] is None else "not the same, computed again"
        print(f"meterwatch: {differs}: {found['replay']['why']}", file=sys.stderr)
        raise typer.Exit(1)


def export(
    table: Annotated[str, typer.Argument(help="verdicts or events.")],
    file: Annotated[Path, typer.Argument(help="Ends in .csv or .parquet.")],
    meter: Annotated[str | None, typer.Option(help="Of this meter only.")] = None,
) -> None:
    """Write verdicts or events to CSV or Parquet."""
    from meterwatch.settings import load
    from meterwatch.storage.export import export as write

    print(f"{write(load(), table, file, meter):,} rows in {file}")


def sql(
    query: Annotated[str, typer.Argument(help="A SELECT; nothing can be changed.")],
    as_json: Json = False,
) -> None:
    """Ask the database."""
    from meterwatch.settings import load
    from meterwatch.storage import queries

    with queries.reading(load()) as db:
        rows = [dict(row) for row in db.execute(query)]
    if as_json:
        print_json(rows)
        return
    print_table(rows, {name: name for name in (rows[0] if rows else ())}, "no rows")
