"""Two databases, row by row."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

# When something was written is not part of an answer, nor where a batch began; everything else of every table is.
WALL_CLOCK = {"schema_version": {"applied_at"}, "sent_again": {"sent_at"}}
BATCHES = {
    "state_snapshots",  # a meter's state before the first batch of a week
    "outbox",  # an open event changes with each batch that has a reading of it; the last change is the row of `events`
    "outbox_readers",  # how many of them were told so far
}


class Compared(NamedTuple):
    """A table in both databases."""

    rows: int  # in the first
    only_first: int
    only_second: int


def compare(first: Path, second: Path) -> dict[str, Compared]:
    """Every table of two databases that should be equal; SQLite compares the numbers themselves, to the last bit."""
    with closing(sqlite3.connect(f"file:{first}?mode=ro", uri=True)) as db:
        db.execute("ATTACH ? AS second", (f"file:{second}?mode=ro",))
        tables = [_tables(db, schema) for schema in ("main", "second")]
        assert tables[0] == tables[1], tables
        return {table: _compared(db, table) for table in tables[0]}


def differences(found: dict[str, Compared]) -> int:
    """Rows that only one of the two has."""
    return sum(table.only_first + table.only_second for table in found.values())


def _tables(db: sqlite3.Connection, schema: str) -> list[str]:
    sql = f"SELECT name FROM {schema}.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    return [name for (name,) in db.execute(sql) if name not in BATCHES]


def _compared(db: sqlite3.Connection, table: str) -> Compared:
    names = [row[1] for row in db.execute(f"PRAGMA main.table_info({table})")]
    columns = ", ".join(name for name in names if name not in WALL_CLOCK.get(table, ()))
    rows = [f"SELECT {columns} FROM {schema}.{table}" for schema in ("main", "second")]

    def count(sql: str) -> int:
        return int(db.execute(f"SELECT count(*) FROM ({sql})").fetchone()[0])

    # EXCEPT is about sets: a row that stands twice in one of them shows in the counts.
    total = [count(sql) for sql in rows]
    only = [count(f"{rows[k]} EXCEPT {rows[1 - k]}") for k in (0, 1)]
    return Compared(total[0], max(only[0], total[0] - total[1]), max(only[1], total[1] - total[0]))
