"""Fills a database through the stream's own write path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from meterwatch.detection.memory import Memory
from meterwatch.storage import tables
from meterwatch.storage.meters import MeterStore
from meterwatch.storage.tables import Advance, Batch

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def store(
    path: Path,
    meter_id: str,
    at: NDArray[np.int64],
    channels: NDArray[np.float64],
    *,
    anomalous: NDArray[np.bool_] | None = None,
    events: list[dict[str, Any]] | None = None,
) -> None:
    """Commit one batch of readings that are all scored; `anomalous` ones score above the threshold."""
    with MeterStore(path) as db:
        db.commit(batch(db, meter_id, at, channels, anomalous=anomalous, events=events))


def batch(
    db: MeterStore,
    meter_id: str,
    at: NDArray[np.int64],
    channels: NDArray[np.float64],
    *,
    anomalous: NDArray[np.bool_] | None = None,
    events: list[dict[str, Any]] | None = None,
) -> Batch:
    """What `store` commits."""
    n = len(at)
    odd = np.zeros(n, bool) if anomalous is None else anomalous
    ledger = db.known.ledger("first")
    begin = ledger["next_offset"][0].as_py() if ledger.num_rows else None
    first = begin or 0
    keys = [pa.array([meter_id] * n, pa.string()), pa.array(at)]
    power = channels[0]
    readings = [
        *keys,
        *(pa.array(channel, from_pandas=True) for channel in channels),
        pa.array(np.zeros(n, np.int32)),
        pa.array(first + np.arange(n)),
    ]
    verdicts = [
        *keys,
        pa.array(["scored"] * n),
        pa.array(np.where(odd, 0.5, -1.0)),
        pa.array(np.zeros(n)),
        pa.array(odd),
        *(pa.array(np.nan_to_num(power) + step) for step in (0.0, -0.5, 0.5)),
        pa.nulls(n, pa.string()),
        pa.array(["1"] * n),
    ]
    blank = Memory.decode([meter_id], [None], [None]).encode_states()
    return Batch(
        "id",
        "first",
        pa.table(readings, schema=tables.READINGS),
        pa.table(verdicts, schema=tables.VERDICTS),
        pa.Table.from_pylist(events or [], schema=tables.EVENTS),
        pa.table([[meter_id], blank, [int(at.max())], [int(at.max())], ["1"]], schema=tables.STATES),
        tables.PROFILES.empty_table(),
        tables.SNAPSHOTS.empty_table(),
        tables.REJECTED.empty_table(),
        [Advance(0, begin, first + n, records=n, stored=n, duplicates=0, rejected=0, held=0)],
    )


def event(number: int, meter_id: str, start: int, end: int | None) -> dict[str, Any]:
    """An event row."""
    row = {"event_id": f"{meter_id}-{number}", "meter_id": meter_id, "start_at": start, "end_at": end}
    return {**row, "peak_at": start, "severity": 50.0, "kind": "too much", "energy_kwh": 1.5, "model_version": "1"}
