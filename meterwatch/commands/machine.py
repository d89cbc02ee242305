"""Commands about this machine: what is missing, and starting over."""

from __future__ import annotations

from typing import Annotated

import typer

from meterwatch.commands.output import Json, print_json


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (doctor, reset):
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
