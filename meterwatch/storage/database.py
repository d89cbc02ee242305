"""One SQLite file through ADBC: Arrow tables in, Arrow tables out, no row of it ever a Python object."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import adbc_driver_manager as adbc
import adbc_driver_sqlite
import pyarrow as pa

from meterwatch.storage.migrate import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Set outside a transaction, or SQLite ignores them. NORMAL with WAL: a killed process loses nothing; after a power cut
# the newest transactions may be missing, whole and with their offsets, so they are read again. Of the words that a
# CHECK allows SQLite would make a table for each row, at more than the row's own cost: `Batch.check` asks once.
PRAGMAS = ("journal_mode = WAL", "synchronous = NORMAL", "temp_store = MEMORY", "cache_size = -65536",
           "ignore_check_constraints = ON")  # fmt: skip
INFERENCE_ROWS = "65536"  # ADBC takes a column's type from its first batch of rows


class Database:
    """An open file. Not for use by two threads at once.

    The low-level ADBC interface, because the DB-API one imports pandas. No other SQLite may have the file open in this
    process (see `migrate`).
    """

    def __init__(self, path: Path, *, busy_seconds: float) -> None:
        self._path = path
        with self._named():
            self._database = adbc_driver_sqlite.connect(str(path))
            self._connection = adbc.AdbcConnection(self._database)
        for pragma in (f"busy_timeout = {int(busy_seconds * 1000)}", *PRAGMAS):
            self.execute(f"PRAGMA {pragma}")

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self._connection.close()
        self._database.close()

    def execute(self, sql: str, rows: pa.Table | None = None) -> None:
        """Run a statement, once, or once for each row with its columns in the place of the question marks.

        Raises:
            DatabaseError: the database is full, locked, damaged, or refuses the rows.
        """
        with self._named(), adbc.AdbcStatement(self._connection) as statement:
            statement.set_sql_query(sql)
            if rows is not None:
                statement.bind_stream(rows)
            statement.execute_update()

    def insert(self, table: str, rows: pa.Table, *, on_conflict: str = "") -> None:
        """Insert rows by column name; `on_conflict` is the clause of an upsert."""
        if rows.num_rows:
            places = ", ".join("?" * rows.num_columns)
            names = ", ".join(rows.column_names)
            self.execute(f"INSERT INTO {table} ({names}) VALUES ({places}) {on_conflict}", rows)  # noqa: S608

    def query(self, sql: str, schema: pa.Schema, values: pa.Table | None = None) -> pa.Table:
        """All rows of a query, cast to `schema`; one row of `values` in the place of its question marks.

        Raises:
            DatabaseError: as `execute`.
        """
        with self._named(), adbc.AdbcStatement(self._connection) as statement:
            statement.set_options(**{adbc_driver_sqlite.StatementOptions.BATCH_ROWS.value: INFERENCE_ROWS})
            statement.set_sql_query(sql)
            if values is not None:
                statement.bind_stream(values)
            stream, _ = statement.execute_query()
            table = pa.RecordBatchReader.from_stream(stream).read_all()
        columns = [_cast(column, field.type) for column, field in zip(table.columns, schema, strict=True)]
        return pa.table(columns, schema=schema)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside goes down together or not at all; waits for another writer up to the busy timeout."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            with suppress(DatabaseError):  # SQLite has rolled back by itself already, on a full disk for one
                self.execute("ROLLBACK")
            raise

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Turn the driver's errors into ours, which name the file."""
        try:
            yield
        except adbc.Error as error:
            raise DatabaseError(f"database {self._path}: {_fact(str(error))}") from error


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | pa.Array:
    if column.null_count == len(column):  # nothing to infer a type from: ADBC says int64
        return pa.nulls(len(column), kind)
    return column.cast(kind)


def _fact(message: str) -> str:
    """The driver's message in one line, with the next step where there is a usual one."""
    line = " ".join(message.split())
    if "database is locked" in line:
        return "is locked by another process; end that process, or try again"
    if "disk is full" in line or "disk I/O error" in line:
        return f"cannot be written ({line}); make space and start again, nothing was half written"
    if "malformed" in line or "not a database" in line:
        return f"is damaged ({line}); move it away and restore a backup"
    return line
