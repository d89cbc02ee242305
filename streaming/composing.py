"""All that is written for a batch: from what becomes of each record, the rows of every table."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterwatch.detection.memory import NEVER
from meterwatch.detection.ordering import CLOCK_JUMP, CONFLICT
from meterwatch.detection.readings import GAP, LATE, SCORED, STATUSES
from meterwatch.storage import tables
from meterwatch.storage.tables import Advance, Batch
from streaming.scoring import NUMBERS
from streaming.waiting import NOBODY, Moves

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from streaming.decide import Outcome
    from streaming.scoring import Grouped, Scored

WEEK = 7 * 86_400
_NOTHING = {
    "readings": tables.READINGS.empty_table(),
    "verdicts": tables.VERDICTS.empty_table(),
    "events": tables.EVENTS.empty_table(),
    "states": tables.STATES.empty_table(),
    "profiles": tables.PROFILES.empty_table(),
    "snapshots": tables.SNAPSHOTS.empty_table(),
}


def compose(
    records: pa.Table,
    judged: tuple[Grouped, Scored, Outcome] | None,
    source: tuple[str, str],
    ledger: Mapping[int, int],
    moves: Moves = NOBODY,
) -> Batch:
    """Put together all that is written for a batch.

    Args:
        records: the batch's records as `parse` made them, none of them accounted for yet; before them what waited.
        judged: its readings with what became of them; None where it has none.
        source: topic id and topic.
        ledger: partition to next_offset, as it is before this batch.
        moves: who waits to be put in order.
    """
    rejected = [_rejected(records, np.flatnonzero(records["reason"].is_valid()), None)]
    parts, duplicate = _NOTHING, np.zeros(0, np.int64)
    if judged is not None:
        readings, scored, outcome = judged
        duplicate = readings.row[outcome.duplicate]
        rejected.append(
            _rejected(records, readings.row[outcome.rejected], outcome.reason.filter(pa.array(outcome.rejected)))
        )
        parts = {
            "readings": _readings(records, readings, outcome),
            "verdicts": _verdicts(readings, scored, outcome),
            "events": scored.events.select(tables.EVENTS.names).cast(tables.EVENTS),
            "states": _states(readings, scored, outcome),
            "profiles": _profiles(scored),
            "snapshots": _snapshots(readings, scored, outcome),
        }
    rejected.append(_rejected(records, moves.refused, pa.repeat(CLOCK_JUMP, len(moves.refused))))
    quarantine = pa.concat_tables(rejected)
    advances = _advances(records, parts, duplicate, quarantine, ledger, moves)
    return Batch(*source, **parts, rejected=quarantine, advances=advances, held=moves.held, released=moves.released)


def _readings(records: pa.Table, readings: Grouped, outcome: Outcome) -> pa.Table:
    places = records.select(["partition", "offset"]).take(pa.array(readings.row[outcome.stored]))
    keys = _keys(readings, outcome)
    channels = [pa.array(column, from_pandas=True) for column in readings.channels[outcome.stored].T]
    return pa.table([*keys, *channels, places["partition"], places["offset"]], schema=tables.READINGS)


def _keys(readings: Grouped, outcome: Outcome) -> list[pa.Array]:
    meter = readings.meter[outcome.stored]
    return [readings.meter_ids.take(pa.array(meter)), pa.array(readings.at[outcome.stored])]


def _verdicts(readings: Grouped, scored: Scored, outcome: Outcome) -> pa.Table:
    """The service's verdicts on what is stored; a late one has no numbers and nothing to say."""
    rows = pa.array(np.flatnonzero(outcome.stored))
    is_late, unscored = pa.array(outcome.late), pa.array(scored.status != SCORED)
    status = np.where(outcome.late, LATE, scored.status)
    columns = {"status": pa.array(STATUSES).take(pa.array(status))}
    for name in (*NUMBERS, "anomalous"):
        column = scored.verdicts[name].combine_chunks()
        columns[name] = pc.if_else(unscored, pa.scalar(None, column.type), column)
    reason = scored.verdicts["reason"].combine_chunks()
    silent = pc.or_(is_late, pc.fill_null(pc.equal(reason, ""), True))  # noqa: FBT003
    columns["reason"] = pc.if_else(silent, pa.scalar(None, pa.string()), reason)
    columns["model_version"] = scored.verdicts["model_version"].combine_chunks()
    keys = dict(zip(("meter_id", "at"), _keys(readings, outcome), strict=True))
    chosen = {name: column.take(rows) for name, column in columns.items()}
    return pa.table({**keys, **chosen}).select(tables.VERDICTS.names).cast(tables.VERDICTS)


def _states(readings: Grouped, scored: Scored, outcome: Outcome) -> pa.Table:
    """The new states with the time of their newest reading, and of the furthest one that the batch had."""
    none = ~_any(readings, outcome)
    places = np.where(outcome.in_order, np.arange(len(readings.at)), -1)
    newest = readings.at[np.maximum.reduceat(places, readings.bounds[:-1])]
    table = scored.states.append_column("at", pa.array(newest, mask=none))
    table = table.append_column("furthest_at", pa.array(_furthest(readings, outcome), mask=none))
    return table.select(tables.STATES.names).cast(tables.STATES)


def _any(readings: Grouped, outcome: Outcome) -> NDArray[np.bool_]:
    """(m,) Which meters have a reading in order."""
    some: NDArray[np.bool_] = np.logical_or.reduceat(outcome.in_order, readings.bounds[:-1])
    return some


def _furthest(readings: Grouped, outcome: Outcome) -> NDArray[np.int64]:
    """(m,) Each meter's newest time in order."""
    least = np.iinfo(np.int64).min
    newest: NDArray[np.int64] = np.maximum.reduceat(
        np.where(outcome.in_order, readings.at, least), readings.bounds[:-1]
    )
    return newest


def _snapshots(readings: Grouped, scored: Scored, outcome: Outcome) -> pa.Table:
    """The states as they were of the meters that this batch takes into another week of theirs.

    And the beginnings of those that start anew in it. A week begins for each meter at a second of its own, so that a
    hundred thousand of them are not written together.
    """
    before: NDArray[np.int64] = scored.before["at"].to_numpy()
    turn = np.array([crc32(name) % WEEK for name in readings.meter_ids.cast(pa.binary()).to_pylist()])
    is_another = (_furthest(readings, outcome) + turn) // WEEK > (before + turn) // WEEK
    entered = np.flatnonzero(_any(readings, outcome) & is_another)
    in_order = np.where(outcome.in_order, readings.at, np.iinfo(np.int64).max)
    first = np.minimum.reduceat(in_order, readings.bounds[:-1])[entered]
    at = np.where(before[entered] > NEVER, before[entered], first - 1)
    states = scored.before.take(pa.array(entered))
    columns = [states["meter_id"], pa.array(at), states["state"], states["profile"]]
    entering = pa.table(columns, names=tables.SNAPSHOTS.names).cast(tables.SNAPSHOTS)
    anew = np.flatnonzero(outcome.anew)
    if not len(anew):
        return entering
    # What is later than a beginning was told by a wrong clock.
    earliest = np.full(len(readings.meter_ids), np.iinfo(np.int64).max)
    np.minimum.at(earliest, readings.meter[anew], readings.at[anew] - 1)
    entering = entering.filter(pa.array(at < earliest[entered]))
    anew = anew[readings.at[anew] - 1 == earliest[readings.meter[anew]]]
    keys = [readings.meter_ids.take(pa.array(readings.meter[anew])), pa.array(readings.at[anew] - 1)]
    nothing = pa.nulls(len(anew), pa.binary())
    return pa.concat_tables([entering, pa.table([*keys, nothing, nothing], schema=tables.SNAPSHOTS)])


def _profiles(scored: Scored) -> pa.Table:
    changed = scored.states.filter(scored.states["profile"].is_valid())
    return changed.select(tables.PROFILES.names).cast(tables.PROFILES)


def _rejected(records: pa.Table, rows: NDArray[np.int64], reason: pa.Array | None) -> pa.Table:
    """Records kept whole, with the reason given or, without one, their own."""
    chosen = records.take(pa.array(rows))
    reasons = chosen["reason"] if reason is None else reason
    columns = [chosen["partition"], chosen["offset"], chosen["key"], chosen["value"], reasons]
    return pa.table(columns, names=tables.REJECTED.names).cast(tables.REJECTED)


def _advances(
    records: pa.Table,
    parts: Mapping[str, pa.Table],
    duplicate: NDArray[np.int64],
    quarantine: pa.Table,
    ledger: Mapping[int, int],
    moves: Moves,
) -> list[Advance]:
    partition, offset = records["partition"].to_numpy(), records["offset"].to_numpy()
    fresh, following = partition[moves.old :], offset[moves.old :] + 1
    status, reason = parts["verdicts"]["status"], quarantine["reason"]
    stored, refused = parts["readings"]["partition"].to_numpy(), quarantine["partition"].to_numpy()
    counted = {
        "records": fresh,
        "stored": stored,
        "duplicates": partition[duplicate],
        "rejected": refused,
        "late": stored[np.asarray(pc.equal(status, STATUSES[LATE]))],
        "gaps": stored[np.asarray(pc.equal(status, STATUSES[GAP]))],
        "conflicts": refused[np.asarray(pc.equal(reason, CONFLICT))],
    }
    joined, left = partition[moves.joined], partition[moves.left]
    return [
        Advance(
            number,
            ledger.get(number),
            int(following[fresh == number].max(initial=ledger.get(number, 0))),
            **{name: int((where == number).sum()) for name, where in counted.items()},
            held=int((joined == number).sum()) - int((left == number).sum()),
        )
        for number in np.union1d(fresh, left).tolist()
    ]
