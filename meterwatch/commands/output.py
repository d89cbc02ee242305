"""How commands print: JSON for scripts, a table for people."""

from __future__ import annotations

import datetime as dt
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def print_json(data: object) -> None:
    """One JSON document; bytes as text with escapes, paths as text."""
    print(json.dumps(data, indent=2 if sys.stdout.isatty() else None, default=_plain))


def print_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], empty: str) -> None:
    """Rows as a table.

    Args:
        rows: one mapping a row.
        columns: key of a row to the heading above it, in order.
        empty: printed where there are no rows.
    """
    if not rows:
        print(empty)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns.values(), box=box.SIMPLE_HEAD, show_header=any(columns.values()))
    for row in rows:
        table.add_row(*(Text(_cell(row[name])) for name in columns))
    Console(width=None if sys.stdout.isatty() else 200, soft_wrap=True).print(table)


def preview(raw: bytes | None, length: int = 80) -> str:
    """The beginning of any bytes, safe on any terminal: what is not printable is escaped."""
    text = (raw or b"")[:length].decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return f"{shown}\u2026" if len(raw or b"") > length else shown


def told_time(at: int | None) -> str | None:
    """Unix seconds as ISO-8601 in UTC with Z."""
    return None if at is None else dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.2f}"
    return preview(value) if isinstance(value, bytes) else str(value)


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)
