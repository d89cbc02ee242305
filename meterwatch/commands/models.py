"""Commands on the model registry."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from meterwatch.commands.output import Json, print_json, print_table

models = typer.Typer(help="The registry: which model judges.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(models, name="models")
    app.command()(retrain)


@models.command("list")
def list_(as_json: Json = False) -> None:
    """Every registered version, the newest first."""
    from meterwatch.settings import load
    from meterwatch.storage.models import versions

    rows: list[dict[str, Any]] = [
        {"version": found.version, "aliases": sorted(found.aliases), "run_id": found.run_id,
         "gate": found.gate or None, "bundle_dir": str(found.bundle_dir)}
        for found in versions(load())
    ]  # fmt: skip
    if as_json:
        print_json(rows)
        return
    print_table(
        [{**row, "aliases": ", ".join(row["aliases"])} for row in rows],
        {"version": "version", "aliases": "aliases", "gate": "gate", "run_id": "MLflow run"},
        "no model is registered; `dvc repro` makes one",
    )


@models.command()
def show(version: Annotated[str | None, typer.Argument(help="Default: the champion.")] = None) -> None:
    """One version with its lineage, as JSON."""
    from meterwatch.settings import load
    from meterwatch.status import model

    print_json(model(load(), version))


@models.command()
def promote(
    version: str,
    force: Annotated[
        str | None, typer.Option(metavar="REASON", help="Past the gate's refusal; the reason is kept and shown.")
    ] = None,
    rewarm: Annotated[
        bool,
        typer.Option("--rewarm", help="Make new states of the stored readings where they are of another schema."),
    ] = False,
) -> None:
    """Make VERSION champion; the service takes it within a second."""
    from meterwatch.settings import load
    from meterwatch.storage import champions, states

    settings = load()
    if rewarm:
        from serving import rewarming

        count = rewarming.promote(settings, version, force, _progress)
        print(f"version {version} is champion; {count:,} meters have a new state")
        return
    states.check(settings, version)
    champions.promote(settings, version, force=force)
    print(f"version {version} is champion")


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done:,} of {of:,} meters", end="\n" if done == of else "", file=sys.stderr, flush=True)


@models.command()
def rollback() -> None:
    """Make the champion before the present one champion again."""
    from meterwatch.settings import load
    from meterwatch.storage.champions import rollback as rolled_back
    from meterwatch.storage.models import champion as registered

    settings = load()
    rolled_back(settings)
    champion = registered(settings)
    print(f"version {champion.version if champion else '?'} is champion again")


def retrain(
    meter: Annotated[str | None, typer.Option(help="Whose readings; needed where there are several meters.")] = None,
) -> None:
    """Train anew on stored readings without labelled anomalies, and ask the gate; minutes."""
    from meterwatch.settings import load
    from training.retraining import retrain as trained

    made, tag = trained(load(), meter)
    state = ", ".join(sorted(made.aliases)) or "neither champion nor challenger"
    print(f"version {made.version} is {state}: {made.gate}; what it was trained on: git show {tag}")
