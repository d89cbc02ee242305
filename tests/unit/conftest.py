"""What unit tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from meterwatch.storage.meters import MeterStore

TABLES = {
    "power_data": "meter_id, at",
    "verdicts": "meter_id, at",
    "events": "event_id",
    "rejected": "partition, record_offset",
    "meter_states": "meter_id",
    "offsets": "partition",
    "rollups": "meter_id, period, at",
    "held_readings": "partition, record_offset",
}


def _table(store: MeterStore, table: str, order: str) -> list[str]:
    text = pa.schema([("row", pa.string())])
    names = store._db.query(f"SELECT name FROM pragma_table_info('{table}')", text)["row"].to_pylist()
    quoted = " || ',' || ".join(f"quote({name})" for name in names)
    rows: list[str] = store._db.query(f"SELECT {quoted} FROM {table} ORDER BY {order}", text)["row"].to_pylist()
    return rows


def dumped(store: MeterStore) -> dict[str, list[str]]:
    """Every row of every table as quoted text, so that equality is equality to the last bit.

    Read through the store's own connection, because no second SQLite may have the file open in its process.
    """
    return {table: _table(store, table, order) for table, order in TABLES.items()}


@pytest.fixture(scope="session")
def dump() -> Callable[[MeterStore], dict[str, list[str]]]:
    """`dumped`."""
    return dumped
