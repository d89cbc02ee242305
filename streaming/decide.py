"""What becomes of each record: stored, a duplicate, or rejected with a reason. Pure, but for one look-up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterwatch.detection.memory import NEVER
from meterwatch.detection.ordering import CONFLICT
from meterwatch.detection.readings import DUPLICATE, GAP, LATE, REJECTED, SCORED, WARMING_UP
from meterwatch.storage.known import ABSENT, CANDIDATES, OTHER, SAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from streaming.scoring import Grouped, Scored

    Held = Callable[[pa.Table], NDArray[np.int8]]

TOO_OLD = "too_old"
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
    before: NDArray[np.int64] = before_batch.to_numpy()[readings.meter]
    return np.where(is_mine, readings.at[places], before)


def _newest_before(readings: Grouped, in_order: NDArray[np.bool_], before_batch: pa.ChunkedArray) -> NDArray[np.int64]:
    """(n,) The newest reading in order of its meter before each one; NEVER where there is none.

    Args:
        readings: of the batch.
        in_order: (n,) those of them that count.
        before_batch: (m,) the meters' newest before them, NEVER where there is none.
    """
    base = readings.meter * _SPAN
    before = base + before_batch.to_numpy()[readings.meter]
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
    return pa.table(columns, schema=CANDIDATES)


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
