"""Readings that wait to be put in order: between the records of a batch and the rows of `held_readings`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from meterwatch.detection.readings import CHANNELS
from meterwatch.storage import tables
from streaming.parse import RECORDS
from streaming.reordering import Bound, reorder
from streaming.scoring import Grouped, group

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Moves:
    """Who begins to wait and who has waited, as rows of a batch's records; the first `old` ones waited before it."""

    old: int
    joined: NDArray[np.int64]
    left: NDArray[np.int64]
    refused: NDArray[np.int64]  # clock jumps
    held: pa.Table  # HELD
    released: pa.Table  # RELEASED


_NOWHERE = np.zeros(0, np.int64)
NOBODY = Moves(0, _NOWHERE, _NOWHERE, _NOWHERE, tables.HELD.empty_table(), tables.RELEASED.empty_table())


def put_in_order(records: pa.Table, waiting: pa.Table, bound: Bound) -> tuple[pa.Table, Grouped, Moves]:
    """Set what has waited before the records of a batch and choose what is judged now.

    Args:
        records: the batch's, as RECORDS.
        waiting: what waits (HELD) of the batch's meters.
        bound: the model's.

    Returns:
        All records, the readings that are judged now in the order in which they are, and the moves.
    """
    records = pa.concat_tables([_records(waiting).cast(records.schema), records])
    rows = np.flatnonzero(~np.asarray(records["reason"].is_valid()))
    every = group(records, rows)
    held = every.row < waiting.num_rows
    suspect = np.zeros(len(held), np.bool_)
    suspect[held] = np.asarray(waiting["suspect"])[every.row[held]]
    order = reorder(every.meter, every.at, held, suspect, bound)
    stays = ~order.refused
    stays[order.released] = False
    news = stays & (~held | (order.suspect != suspect))
    left = every.row[held & ~stays]
    gone = records.select(["meter_id", "partition", "offset"]).take(pa.array(left))
    moves = Moves(
        waiting.num_rows,
        every.row[stays & ~held],
        left,
        every.row[order.refused],
        _held(records, every, news, order.suspect),
        gone.rename_columns(tables.RELEASED.names).cast(tables.RELEASED),
    )
    return records, _chosen(every, order.released), moves


def _records(waiting: pa.Table) -> pa.Table:
    """Rows of `held_readings` as the records that they were."""
    flat = np.frombuffer(b"".join(waiting["channels"].to_pylist()), "<f8")
    offsets = np.arange(waiting.num_rows + 1, dtype=np.int32) * len(CHANNELS)
    columns = [waiting[name] for name in ("partition", "record_offset", "record_key", "raw", "meter_id")]
    columns += [pa.nulls(waiting.num_rows, pa.string()), waiting["at"]]
    columns.append(pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat, from_pandas=True)))
    return pa.table(columns, schema=RECORDS)


def _held(records: pa.Table, every: Grouped, which: NDArray[np.bool_], suspect: NDArray[np.bool_]) -> pa.Table:
    chosen = records.take(pa.array(every.row[which]))
    channels = np.ascontiguousarray(every.channels[which], "<f8")
    columns = [chosen[name] for name in ("partition", "offset", "key", "value", "meter_id", "at")]
    columns += [pa.array([row.tobytes() for row in channels], pa.binary()), pa.array(suspect[which])]
    return pa.table(columns, names=tables.HELD.names).cast(tables.HELD)


def _chosen(every: Grouped, rows: NDArray[np.int64]) -> Grouped:
    """Some readings, in the order given, and the meters that have one among them."""
    present, counts = np.unique(every.meter[rows], return_counts=True)
    return Grouped(
        every.meter_ids.take(pa.array(present)),
        np.append(0, np.cumsum(counts)),
        every.at[rows],
        every.channels[rows],
        every.row[rows],
    )
