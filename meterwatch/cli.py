"""The command `meterwatch`: each command calls a door; what the doors raise becomes one line and an exit code."""

from __future__ import annotations

import os
import sqlite3
import sys
from typing import Annotated

import typer

from meterwatch import __version__
from meterwatch.commands import evaluation, keys, looking, machine, models, refused, running, threshold

OURS = frozenset({"meterwatch", "serving", "streaming", "training"})

app = typer.Typer(
    help="Anomaly detection for electricity meters: broker, stream, scoring service and dashboard.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (running, looking, refused, evaluation, models, threshold, keys, machine):
    part.register(app)


def _version(asked: bool) -> None:
    if asked:
        print(f"meterwatch {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version and end.")
    ] = False,
) -> None:
    """Anomaly detection for electricity meters. Settings are METERWATCH_* variables: see the README."""


def main() -> None:
    """Run the command line: exit 0 done, 1 failed with one line on stderr, 2 usage."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # here, where a reader that went away can be answered, and not when Python ends
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `meterwatch events | head`
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if not _is_foreseeable(error):
            raise
        print(f"meterwatch: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)


def _is_foreseeable(error: Exception) -> bool:
    """Errors of our own types were written for people; so were those of the system and of the database.

    Told by the module's name, because importing every door's types would load Spark to say that a port is in use.
    """
    return isinstance(error, OSError | sqlite3.Error) or type(error).__module__.partition(".")[0] in OURS


if __name__ == "__main__":
    main()
