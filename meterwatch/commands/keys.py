"""Commands on the API keys: made, listed, taken away. The service takes a change with the next request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from meterwatch.commands.output import Json, print_json, print_table, told_time

if TYPE_CHECKING:
    from pathlib import Path

keys = typer.Typer(help="API keys: who may read, score or administer.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(keys, name="keys")


@keys.command()
def add(
    name: Annotated[str, typer.Argument(help="Whom or what it is for; shown in lists and beside labels.")],
    role: Annotated[str, typer.Option("--role", help="read, score or admin; each may do what the ones before may.")],
) -> None:
    """Make a key and print it: it is kept hashed, and cannot be shown again."""
    from serving import keys as file

    print(file.add(_path(), name, role))


@keys.command("list")
def list_(as_json: Json = False) -> None:
    """Every key by its id, name and role; never the key itself."""
    from serving import keys as file

    rows = [
        {"id": key["id"], "name": key["name"], "role": key["role"], "created_at": told_time(key.get("created_at"))}
        for key in file.load(_path())
    ]
    if as_json:
        print_json(rows)
        return
    columns = {"id": "id", "name": "name", "role": "role", "created_at": "made at"}
    print_table(rows, columns, "there is no key; `meterwatch keys add NAME --role read` makes one")


@keys.command()
def revoke(number: Annotated[str, typer.Argument(metavar="ID", help="As `keys list` shows it.")]) -> None:
    """Take the key with this ID away; it and its logins end with the next request."""
    from serving import keys as file

    if not file.revoke(_path(), number):
        raise file.KeysError(f"there is no key {number}; `meterwatch keys list` shows what there is")
    print(f"key {number} is revoked")


def _path() -> Path:
    from meterwatch.settings import load
    from serving.keys import KeysError

    path = load().api_keys_file
    if path is None:
        raise KeysError("METERWATCH_API_KEYS_FILE is not set; give it the path at which the keys are to be kept")
    return path
