"""Commands about this machine: what is missing, starting over, and moving to another one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meterwatch.commands.output import Json, print_json


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (doctor, backup, restore, reset):
        app.command()(command)


def doctor(as_json: Json = False) -> None:
    """Say what is missing on this machine and the command that installs it; exit 1 if it cannot run."""
    from meterwatch.doctor import examine
    from meterwatch.settings import load

    findings = examine(load())
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            print(f"{'ok     ' if finding.ok else 'MISSING'}  {finding.what}: {finding.fact}")
    raise typer.Exit(0 if all(finding.ok for finding in findings if finding.needed) else 1)


def backup(file: Annotated[Path, typer.Argument(dir_okay=False)], as_json: Json = False) -> None:
    """Write database, models and the own broker's records to FILE; the instance may run."""
    from meterwatch import backup
    from meterwatch.settings import load

    settings = load()
    copied = backup.backup(settings, file)
    if as_json:
        print_json(copied._asdict())
        return
    print(
        f"{file}: {copied.readings:,} readings, {copied.files} files, {copied.size / 1e6:,.1f} MB; no keys, no settings"
    )
    if not copied.has_broker:
        print(f"the topic's records stay with the broker at {settings.kafka_bootstrap_servers}")
    if not copied.has_models:
        print("no model is registered, so none is in it")


def restore(file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)]) -> None:
    """Put a backup where no instance is; `meterwatch up` then reads on from its ledger."""
    from meterwatch import backup
    from meterwatch.settings import load

    for path in backup.restore(load(), file):
        print(path)
    print("restored; `meterwatch up` goes on from its ledger")


def reset(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Start over: delete this instance's database, broker data, checkpoints and logs. Models stay."""
    from meterwatch import instance
    from meterwatch.settings import load

    settings = load()
    doomed = instance.contents(settings)
    if not doomed:
        print("nothing to delete")
        return
    for path in doomed:
        print(path)
    if not yes:
        typer.confirm("Delete these for good?", abort=True)
    instance.reset(settings)
