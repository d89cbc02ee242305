"""Changes of events that others are to be told: each reader has its own place, and a change waits for the last one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from meterwatch.storage.database import Database
from meterwatch.storage.tables import EVENTS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from pathlib import Path

CHANGES = pa.schema([("sequence", pa.int64()), ("change", pa.string()), *EVENTS])
BUSY_SECONDS = 30.0
_READERS = pa.schema([("name", pa.string()), ("told", pa.int64())])


class Outbox:
    """The outbox as one reader sees it. Not for use by two threads at once."""

    def __init__(self, path: Path, reader: str) -> None:
        self._db = Database(path, busy_seconds=BUSY_SECONDS)
        self._reader = reader

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def take(self, most: int) -> list[dict[str, Any]]:
        """The oldest changes that the reader has not acknowledged, `most` of them: the same ones until it does.

        Returns:
            Rows of CHANGES in their order.
        """
        names = ", ".join(CHANGES.names)
        sql = (
            f"SELECT {names} FROM outbox, outbox_readers WHERE name = ? AND sequence > told "  # noqa: S608
            f"AND sequence <= coalesce(telling, sequence) ORDER BY sequence LIMIT {most}"
        )
        rows: list[dict[str, Any]] = self._db.query(sql, CHANGES, self._row()).to_pylist()
        if rows:
            last = self._row(rows[-1]["sequence"])
            self._db.execute("UPDATE outbox_readers SET telling = ? WHERE name = ? AND telling IS NULL", last)
        return rows

    def told(self, sequence: int) -> None:
        """Everything up to this one is acknowledged; what nobody needs any longer is deleted."""
        with self._db.transaction():
            self._db.execute(
                "UPDATE outbox_readers SET told = max(told, ?), telling = NULL, fault = NULL WHERE name = ?",
                self._row(sequence),
            )
            self._db.execute(_DELETE)

    def failed(self, fault: str) -> None:
        """Keep why it was in vain."""
        self._db.execute("UPDATE outbox_readers SET fault = ? WHERE name = ?", self._row(fault))

    def _row(self, *values: str | int) -> pa.Table:
        """Values in the place of question marks, the reader's name the last."""
        return pa.table([[value] for value in (*values, self._reader)], names=[f"c{k}" for k in range(len(values) + 1)])


_LAST = "(SELECT seq FROM sqlite_sequence WHERE name = 'outbox')"
_DELETE = f"DELETE FROM outbox WHERE sequence <= (SELECT coalesce(min(told), {_LAST}) FROM outbox_readers)"  # noqa: S608


def enlist(path: Path, names: Iterable[str]) -> None:
    """From now on these are told, and nobody else: a new one of what comes, one that was told before of all since."""
    db = Database(path, busy_seconds=BUSY_SECONDS)
    try:
        with db.transaction():
            known = db.query("SELECT name, told FROM outbox_readers", _READERS).to_pydict()["name"]
            for name in {*known} - {*names}:
                db.execute("DELETE FROM outbox_readers WHERE name = ?", pa.table({"name": [name]}))
            for name in {*names} - {*known}:
                db.execute(f"INSERT INTO outbox_readers (name, told) SELECT ?, {_LAST}", pa.table({"name": [name]}))
            db.execute(_DELETE)
    finally:
        db.close()


def standing(db: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    """For each reader how many changes wait, and why the newest try was in vain."""
    sql = "SELECT name, (SELECT count(*) FROM outbox WHERE sequence > told), fault FROM outbox_readers ORDER BY name"
    return {name: {"waiting": waiting, "fault": fault} for name, waiting, fault in db.execute(sql)}


def restored(db: sqlite3.Connection) -> None:
    """Go on above the numbers that were given after the backup was taken."""
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'outbox'").fetchone():
        now = 1000 * int(time.time())
        db.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'outbox'", (now,))
