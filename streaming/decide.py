"""What becomes of each record: stored, a duplicate, or rejected with a reason. Pure, but for one look-up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterwatch.detection.memory import NEVER, meter_digest
from meterwatch.detection.ordering import CLOCK_JUMP, CONFLICT
from meterwatch.detection.readings import DUPLICATE, GAP, LATE, REJECTED, SCORED, STATUSES, WARMING_UP
from meterwatch.storage import meters
from meterwatch.storage.meters import ABSENT, OTHER, SAME, Advance, Batch
from streaming.scoring import NUMBERS
from streaming.waiting import NOBODY, Moves

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from streaming.scoring import Grouped, Scored

    Held = Callable[[pa.Table], NDArray[np.int8]]

TOO_OLD = "too_old"
WEEK = 7 * 86_400
_SPAN = 2**42  # more than any time in seconds: keeps the meters apart in one running maximum


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of the readings of a `Grouped`, in its order; each is exactly one of the three."""

    stored: NDArray[np.bool_]
    duplicate: NDArray[np.bool_]
    rejected: NDArray[np.bool_]
    late: NDArray[np.bool_]  # stored, but not in order
    in_order: NDArray[np.bool_]  # the state has moved on with it, stored or not
    anew: NDArray[np.bool_]  # in order, though no newer than the one before: its meter starts anew from there
    reason: pa.Array  # of the rejected ones; null elsewhere


def decide(readings: Grouped, scored: Scored, held: Held, keep_s: int = 0) -> Outcome:
    """Settle what the service, which has no table, could not: is an old reading new to us, a repetition, or a conflict?

    Readings that the service took in order are stored, but where a meter went back after its clock was wrong: what is
    no newer than all before may be known. Of those, and of the others, the table decides, and before it the records of
    this batch that arrived earlier: the first value for a time holds. What is older than its meter's newest reading
    before it by more than `keep_s` (0: no limit) is too old, whatever the table still has.
    """
    status, reason = scored.status, scored.verdicts["reason"].combine_chunks()
    in_order = np.isin(status, (SCORED, WARMING_UP, GAP))
    conflict = (status == REJECTED) & np.asarray(pc.fill_null(pc.equal(reason, CONFLICT), False))  # noqa: FBT003
    open_ = np.isin(status, (LATE, DUPLICATE)) | conflict
    same, other, late, old, anew = np.zeros((5, len(status)), bool)
    if keep_s and open_.any():
        old = open_ & (readings.at < _last_before(readings, in_order, scored.before["at"]) - keep_s)
        open_ &= ~old
    again = in_order & (readings.at <= _newest_before(readings, in_order, scored.before["furthest_at"]))
    asked = open_ | again
    if again.any():
        anew = again & (readings.at <= _last_before(readings, in_order, scored.before["at"]))
    if asked.any():
        found = np.full(len(status), ABSENT, np.int8)
        found[asked] = held(_candidates(readings, np.flatnonzero(asked)))
        absent = asked & (found == ABSENT)
        holder = _holders(readings, (in_order & ~again) | absent)
        repeats = equal(readings.channels, readings.channels[holder]).all(axis=1)
        first = holder == np.arange(len(status))
        late = open_ & absent & first
        same = (asked & (found == SAME)) | (absent & ~first & repeats)
        other = (asked & (found == OTHER)) | (absent & ~first & ~repeats)
    rejected = ((status == REJECTED) & ~open_) | other | old
    reason = pc.if_else(pa.array(other), CONFLICT, pc.if_else(pa.array(old), TOO_OLD, reason))
    reason = pc.if_else(pa.array(rejected), reason, pa.scalar(None, pa.string()))
    return Outcome((in_order & ~same & ~other) | late, same, rejected, late, in_order, anew, reason)


def _last_before(readings: Grouped, in_order: NDArray[np.bool_], before_batch: pa.ChunkedArray) -> NDArray[np.int64]:
    """(n,) The last reading in order of its meter before each one: where its state stands. As `_newest_before`."""
    places = np.append(-1, np.maximum.accumulate(np.where(in_order, np.arange(len(in_order)), -1))[:-1])
    is_mine = places >= readings.bounds[:-1][readings.meter]
    before: NDArray[np.int64] = before_batch.fill_null(NEVER).to_numpy()[readings.meter]
    return np.where(is_mine, readings.at[places], before)


def _newest_before(readings: Grouped, in_order: NDArray[np.bool_], before_batch: pa.ChunkedArray) -> NDArray[np.int64]:
    """(n,) The newest reading in order of its meter before each one; NEVER where there is none.

    Args:
        readings: of the batch.
        in_order: (n,) those of them that count.
        before_batch: (m,) the meters' newest before them, null where there is none.
    """
    base = readings.meter * _SPAN
    before = base + before_batch.fill_null(NEVER).to_numpy()[readings.meter]
    top = np.maximum.accumulate(base + np.where(in_order, readings.at, NEVER))
    before[1:] = np.maximum(before[1:], top[:-1])
    newest: NDArray[np.int64] = before - base
    return newest


def _candidates(readings: Grouped, rows: NDArray[np.int64]) -> pa.Table:
    columns = [
        readings.meter_ids.take(pa.array(readings.meter[rows])),
        pa.array(readings.at[rows]),
        *(pa.array(column, from_pandas=True) for column in readings.channels[rows].T),
    ]
    return pa.table(columns, schema=meters.CANDIDATES)


def _holders(readings: Grouped, eligible: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(n,) For each eligible reading the first eligible one of the same meter and time; for the others themselves."""
    holder = np.arange(len(eligible))
    rows = np.flatnonzero(eligible)
    meter, at = readings.meter[rows], readings.at[rows]
    order = np.lexsort((rows, at, meter))
    begins = np.ones(len(rows), bool)
    begins[1:] = (np.diff(meter[order]) != 0) | (np.diff(at[order]) != 0)
    firsts = rows[order][begins]
    holder[rows[order]] = firsts[np.cumsum(begins) - 1]
    return holder


def equal(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which numbers are equal; missing equals missing."""
    alike: NDArray[np.bool_] = (one == other) | (np.isnan(one) & np.isnan(other))
    return alike


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
    tables = {
        "readings": meters.READINGS.empty_table(),
        "verdicts": meters.VERDICTS.empty_table(),
        "events": meters.EVENTS.empty_table(),
        "states": meters.STATES.empty_table(),
        "profiles": meters.PROFILES.empty_table(),
        "snapshots": meters.SNAPSHOTS.empty_table(),
    }
    duplicate = np.zeros(0, np.int64)
    if judged is not None:
        readings, scored, outcome = judged
        duplicate = readings.row[outcome.duplicate]
        rejected.append(
            _rejected(records, readings.row[outcome.rejected], outcome.reason.filter(pa.array(outcome.rejected)))
        )
        tables = {
            "readings": _readings(records, readings, outcome),
            "verdicts": _verdicts(readings, scored, outcome),
            "events": scored.events.select(meters.EVENTS.names).cast(meters.EVENTS),
            "states": _states(readings, scored, outcome),
            "profiles": _profiles(scored),
            "snapshots": _snapshots(readings, scored, outcome),
        }
    rejected.append(_rejected(records, moves.refused, pa.repeat(CLOCK_JUMP, len(moves.refused))))
    quarantine = pa.concat_tables(rejected)
    advances = _advances(records, tables, duplicate, quarantine, ledger, moves)
    return Batch(*source, **tables, rejected=quarantine, advances=advances, held=moves.held, released=moves.released)


def _readings(records: pa.Table, readings: Grouped, outcome: Outcome) -> pa.Table:
    places = records.select(["partition", "offset"]).take(pa.array(readings.row[outcome.stored]))
    keys = _keys(readings, outcome)
    channels = [pa.array(column, from_pandas=True) for column in readings.channels[outcome.stored].T]
    return pa.table([*keys, *channels, places["partition"], places["offset"]], schema=meters.READINGS)


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
    return pa.table({**keys, **chosen}).select(meters.VERDICTS.names).cast(meters.VERDICTS)


def _states(readings: Grouped, scored: Scored, outcome: Outcome) -> pa.Table:
    """The new states with the time of their newest reading, and of the furthest one that the batch had."""
    none = ~_any(readings, outcome)
    places = np.where(outcome.in_order, np.arange(len(readings.at)), -1)
    newest = readings.at[np.maximum.reduceat(places, readings.bounds[:-1])]
    table = scored.states.append_column("at", pa.array(newest, mask=none))
    table = table.append_column("furthest_at", pa.array(_furthest(readings, outcome), mask=none))
    return table.select(meters.STATES.names).cast(meters.STATES)


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
    before: NDArray[np.int64] = scored.before["at"].fill_null(NEVER).to_numpy()
    turn = np.array([int.from_bytes(meter_digest(name), "little") % WEEK for name in readings.meter_ids.to_pylist()])
    is_another = (_furthest(readings, outcome) + turn) // WEEK > (before + turn) // WEEK
    entered = np.flatnonzero(_any(readings, outcome) & is_another)
    in_order = np.where(outcome.in_order, readings.at, np.iinfo(np.int64).max)
    first = np.minimum.reduceat(in_order, readings.bounds[:-1])[entered]
    at = np.where(before[entered] > NEVER, before[entered], first - 1)
    states = scored.before.take(pa.array(entered))
    columns = [states["meter_id"], pa.array(at), states["state"], states["profile"]]
    entering = pa.table(columns, names=meters.SNAPSHOTS.names).cast(meters.SNAPSHOTS)
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
    return pa.concat_tables([entering, pa.table([*keys, nothing, nothing], schema=meters.SNAPSHOTS)])


def _profiles(scored: Scored) -> pa.Table:
    changed = scored.states.filter(scored.states["profile"].is_valid())
    return changed.select(meters.PROFILES.names).cast(meters.PROFILES)


def _rejected(records: pa.Table, rows: NDArray[np.int64], reason: pa.Array | None) -> pa.Table:
    """Records kept whole, with the reason given or, without one, their own."""
    chosen = records.take(pa.array(rows))
    reasons = chosen["reason"] if reason is None else reason
    columns = [chosen["partition"], chosen["offset"], chosen["key"], chosen["value"], reasons]
    return pa.table(columns, names=meters.REJECTED.names).cast(meters.REJECTED)


def _advances(
    records: pa.Table,
    tables: Mapping[str, pa.Table],
    duplicate: NDArray[np.int64],
    quarantine: pa.Table,
    ledger: Mapping[int, int],
    moves: Moves,
) -> list[Advance]:
    partition, offset = records["partition"].to_numpy(), records["offset"].to_numpy()
    fresh, following = partition[moves.old :], offset[moves.old :] + 1
    status, reason = tables["verdicts"]["status"], quarantine["reason"]
    stored, refused = tables["readings"]["partition"].to_numpy(), quarantine["partition"].to_numpy()
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
