"""Lends connections to the database through the standard library's SQLite: read-only ones, and one for short writes."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from meterwatch.storage.migrate import DatabaseError, database_path, migrate, migrations

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meterwatch.settings import Settings

BUSY_SECONDS = 5.0
_local = threading.local()


@contextmanager
def reading(settings: Settings) -> Iterator[sqlite3.Connection]:
    """Lend this thread's read-only connection; all reads inside see one state of the database.

    Raises:
        sqlite3.Error: the database is damaged, newer, of another kind, or locked for too long.
    """
    path = database_path(settings.database_url)
    if not path.exists() or path.stat().st_size == 0:
        with closing(_empty()) as db:
            yield db
        return
    db = _connection(path)
    db.execute("BEGIN")
    try:
        yield db
    finally:
        db.execute("ROLLBACK")


def _connection(path: Path) -> sqlite3.Connection:
    """One connection a thread, opened again when another file stands in its place (a reset, a restored backup).

    Whoever opens a database of an older version first brings it up to date: a service may start before the stream does.
    """
    found = path.stat()
    identity = (str(path.absolute()), found.st_dev, found.st_ino)
    if getattr(_local, "identity", None) != identity:
        if hasattr(_local, "db"):
            _local.db.close()
            del _local.db, _local.identity  # there is none until the next one is open
        try:
            migrate(path)
        except DatabaseError as error:  # readers know one kind of error
            raise sqlite3.DatabaseError(str(error)) from error
        uri = f"{path.absolute().as_uri()}?mode=ro"
        _local.db = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
        _local.db.row_factory = sqlite3.Row
        _local.identity = identity
    db: sqlite3.Connection = _local.db
    return db


def _empty() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.row_factory = sqlite3.Row
    for step in migrations():
        db.executescript(step.sql)
    return db


@contextmanager
def writing(settings: Settings) -> Iterator[sqlite3.Connection]:
    """A connection inside a short write transaction; it takes turns with the stream.

    Raises:
        sqlite3.Error: there is no database, it is damaged, or the stream wrote for too long.
    """
    uri = f"{database_path(settings.database_url).absolute().as_uri()}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)) as db:
        db.row_factory = sqlite3.Row
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
