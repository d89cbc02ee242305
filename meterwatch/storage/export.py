"""Verdicts and events as files: CSV or Parquet, a bounded number of rows in memory at a time."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from meterwatch.storage.lending import reading

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

    from meterwatch.settings import Settings

AT, TEXT, NUMBER = pa.timestamp("s", tz="UTC"), pa.string(), pa.float64()
SCHEMAS = {
    "verdicts": pa.schema(
        {
            "meter_id": TEXT, "at": AT, "status": TEXT, "score": NUMBER, "threshold": NUMBER, "anomalous": pa.bool_(),
            "expected_kw": NUMBER, "lower_kw": NUMBER, "upper_kw": NUMBER, "reason": TEXT, "model_version": TEXT,
        }
    ),
    "events": pa.schema(
        {
            "event_id": TEXT, "meter_id": TEXT, "start_at": AT, "end_at": AT, "peak_at": AT, "severity": NUMBER,
            "kind": TEXT, "energy_kwh": NUMBER, "model_version": TEXT,
        }
    ),
}  # fmt: skip
ORDER = {"verdicts": "meter_id, at", "events": "meter_id, start_at"}
CHUNK = 100_000


class ExportError(Exception):
    """Nothing was exported; the message says why."""


def export(settings: Settings, table: str, file: Path, meter_id: str | None = None) -> int:
    """Write a table's rows, ordered by meter and time.

    Args:
        settings: where the database is.
        table: `verdicts` or `events`.
        file: ends in `.csv` or `.parquet`; replaced where it exists.
        meter_id: of this meter only.

    Returns:
        How many rows were written.

    Raises:
        ExportError: another table, another kind of file, or no such directory.
    """
    schema = SCHEMAS.get(table)
    if schema is None:
        raise ExportError(f"there is no table {table!r} to export; give {' or '.join(SCHEMAS)}")
    if file.suffix not in (".csv", ".parquet"):
        raise ExportError(f"{file}: give a name that ends in .csv or .parquet")
    if not file.parent.is_dir():
        raise ExportError(f"cannot write {file}: there is no directory {file.parent}; make it first")
    written = 0
    unfinished = file.with_name(f".{file.name}.unfinished")  # a half-written file never stands under the right name
    try:
        with reading(settings) as db, closing(_writer(unfinished, file.suffix, schema)) as writer:
            for rows in _chunks(db, table, schema, meter_id):
                writer.write_table(rows)
                written += len(rows)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    return written


def _writer(file: Path, suffix: str, schema: pa.Schema) -> pa_csv.CSVWriter | pq.ParquetWriter:
    if suffix == ".csv":
        return pa_csv.CSVWriter(file, schema)
    return pq.ParquetWriter(file, schema, coerce_timestamps="us")  # Parquet has no seconds


def _chunks(db: sqlite3.Connection, table: str, schema: pa.Schema, meter_id: str | None) -> Iterator[pa.Table]:
    where, values = ("WHERE meter_id = ?", (meter_id,)) if meter_id is not None else ("", ())
    rows = db.execute(f"SELECT {', '.join(schema.names)} FROM {table} {where} ORDER BY {ORDER[table]}", values)  # noqa: S608
    while chunk := rows.fetchmany(CHUNK):
        columns = zip(*chunk, strict=True)
        yield pa.table([_column(values, field) for values, field in zip(columns, schema, strict=True)], schema=schema)


def _column(values: tuple[object, ...], field: pa.Field) -> pa.Array:
    if field.type == AT:
        return pa.array(values, pa.int64()).cast(AT)
    if field.type == pa.bool_():
        return pa.array(values, pa.int8()).cast(pa.bool_())
    return pa.array(values, field.type)
