"""Bring a database to the newest schema: numbered SQL files, each applied once, in order, in one transaction."""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import NamedTuple

APPLICATION_ID = 0x6D774442  # "mwDB", in the file's header: tells a meterwatch database from any other SQLite file
SCHEME = "sqlite:///"


class DatabaseError(Exception):
    """The database cannot be used as it is; the message names the file and the next step."""


class Migration(NamedTuple):
    """One numbered step."""

    version: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """Every step that is shipped, by number; the numbers run 1, 2, 3 without a hole."""
    files = resources.files("meterwatch.storage.migrations").iterdir()
    found = [
        Migration(int(match[1]), match[2], file.read_text("utf-8"))
        for file in files
        if (match := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name))
    ]
    return sorted(found)


def database_path(url: str) -> Path:
    """The file of a `sqlite:///` address.

    Raises:
        DatabaseError: an address of another kind.
    """
    if not url.startswith(SCHEME):
        raise DatabaseError(f"METERWATCH_DATABASE_URL={url}: only {SCHEME}FILE is supported")
    return Path(url.removeprefix(SCHEME))


def migrate(path: Path) -> int:
    """Create the database, or bring it to the newest schema; WAL from then on.

    Uses the standard library's SQLite and closes it again: a process must not have the file open through a second
    SQLite (ADBC brings its own) at that time, since closing one would drop the locks of the other.

    Returns:
        The schema version that the file now has.

    Raises:
        DatabaseError: a newer or foreign database, a corrupt file, or one that cannot be opened. It is left as it is.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as db:
            return _apply(db, path)
    except (sqlite3.OperationalError, OSError) as error:
        raise DatabaseError(f"database {path} cannot be opened: {error}") from error
    except sqlite3.DatabaseError as error:
        raise DatabaseError(
            f"database {path} is damaged ({error}); nothing was changed: "
            "move it away and restore a backup, or set METERWATCH_DATABASE_URL to another file"
        ) from error


def _apply(db: sqlite3.Connection, path: Path) -> int:
    steps = migrations()
    version = _version(db, path)
    if version > len(steps):
        raise DatabaseError(
            f"database {path} has schema {version}, this meterwatch knows schemas up to {len(steps)}: "
            "install the newer meterwatch, or set METERWATCH_DATABASE_URL to another file"
        )
    if version == len(steps):
        return version
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("BEGIN IMMEDIATE")
    for step in steps[_version(db, path) :]:  # asked again under the lock: another process may have been first
        for statement in _statements(step.sql):
            db.execute(statement)
        db.execute("INSERT INTO schema_version VALUES (?, ?, ?)", (step.version, step.name, int(time.time())))
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute("COMMIT")
    return len(steps)


def _version(db: sqlite3.Connection, path: Path) -> int:
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "schema_version" in tables:
        (version,) = db.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()
        return int(version)
    if tables or db.execute("PRAGMA application_id").fetchone()[0] not in (0, APPLICATION_ID):
        raise DatabaseError(
            f"{path} is not a meterwatch database; nothing was changed: set METERWATCH_DATABASE_URL to another file"
        )
    return 0


def _statements(sql: str) -> list[str]:
    """Single statements, because `executescript` would commit the open transaction first."""
    statements, begun = [], ""
    for line in sql.splitlines(keepends=True):
        begun += line
        if sqlite3.complete_statement(begun):
            statements.append(begun)
            begun = ""
    return statements
