"""A call's accepted readings, a meter-day at a time.

A meter's profile changes only where its roll day does, at a slot of the day of its own. Between two such moments
every context is fixed, so a round judges all readings of all meters up to their next moment at once; the same
arithmetic is done in the same order whether a round holds a day or a single reading.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.kinds import FAST
from meterwatch.detection.memory import BEYOND, NEVER, NO_DAY, Memory
from meterwatch.detection.params import HISTORY, HOT, SLOT_S, SLOTS_A_DAY, DetectorParams
from meterwatch.detection.readings import GAP, Readings
from meterwatch.detection.segment import LONGEST_CADENCE, Segment, judge_segment
from meterwatch.detection.slots import LENGTHS, MISSING
from meterwatch.detection.statistics import levels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from meterwatch.detection.forest import Trees
    from meterwatch.detection.kinds import Kinds
    from meterwatch.detection.sequence import SequenceModel
    from meterwatch.detection.thresholds import Tail

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

FEWEST_PAUSES = 8  # behind a settled cadence


@dataclass(frozen=True, slots=True)
class Models:
    """What was learned. Training runs with parts that are not there yet; a bundle has them all."""

    sequence: SequenceModel | None = None
    forest: Trees | None = None
    weigher: Trees | None = None
    kinds: Kinds | None = None  # none in bundles made before they were taught
    slow: Tail | None = None
    fast: Tail | None = None
    offset: float = 0.0  # taken off the larger of both periods: two chances to be wrong are not one


@dataclass(slots=True)
class Trace:
    """What training learns from, a block a round; meters as rows of the call."""

    slot_meter: list[Ints] = field(default_factory=list)
    slot_at: list[Ints] = field(default_factory=list)  # time of the reading that closed the slot
    deviations: list[Floats] = field(default_factory=list)  # (n, statistics)
    forest: list[Floats] = field(default_factory=list)  # (n,)
    raw: list[Floats] = field(default_factory=list)  # (n,) output of the weigher
    weighed: list[Floats] = field(default_factory=list)  # (n,) less what the last day had told already
    usual: list[Floats] = field(default_factory=list)  # (4, statistics, n) as `deviations` fills it
    past: list[tuple[Ints, NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], Ints]] = field(
        default_factory=list
    )  # counts (m,), past and time inputs, target and time (m, length); beyond a meter's count they repeat
    reading_at: list[Ints] = field(default_factory=list)
    reading_meter: list[Ints] = field(default_factory=list)
    residual: list[Floats] = field(default_factory=list)  # in half widths of the band
    slow: list[Floats] = field(default_factory=list)  # of each reading, log10 of months: its slot's, NaN where stale
    fast: list[Floats] = field(default_factory=list)  # and its own, the larger one less an offset is the score
    want_inputs: bool = False  # keep the sequence model's inputs and targets in `past`
    want_usual: bool = False  # keep what each statistic was compared with in `usual`


@dataclass(frozen=True, slots=True)
class Judged:
    """Per accepted reading, in their order."""

    status: NDArray[np.int8]
    score: Floats
    expected: Floats
    lower: Floats
    upper: Floats
    why: NDArray[np.int16]  # as `kinds.packed`
    energy: Ints  # (actual - expected) x cadence in J
    left: Ints  # readings until the warm-up is over
    absent: Ints  # 1: too soon after an absence
    days: Ints  # of a short history, -1: long enough

    @classmethod
    def empty(cls, n: int) -> Judged:
        """Room for n readings."""

        def unknown() -> Floats:
            return np.full(n, np.nan)

        def none() -> Ints:
            return np.zeros(n, np.int64)

        return cls(
            np.full(n, GAP, np.int8),
            unknown(),
            unknown(),
            unknown(),
            unknown(),
            np.full(n, FAST, np.int16),
            none(),
            none(),
            none(),
            np.full(n, -1),
        )


def run_rounds(
    memory: Memory,
    models: Models,
    params: DetectorParams,
    readings: Readings,
    hashes: NDArray[np.uint32],
    accepted: Ints,
    anew: NDArray[np.bool_],
    trace: Trace | None,
) -> Judged:
    """Judge the accepted readings and move `memory` on; where `anew` (of all readings), it is forgotten first."""
    meter, at = readings.meter[accepted], readings.at[accepted]
    judged = Judged.empty(len(accepted))
    if not len(accepted):
        return judged
    power = ~np.isnan(readings.channels[0, accepted])
    day = (at // SLOT_S - memory.roll_slot[meter]) // SLOTS_A_DAY
    pointer = np.searchsorted(meter, np.arange(len(memory.hot)))
    stop = np.append(pointer[1:], len(meter))
    turn = np.flatnonzero((meter[1:] != meter[:-1]) | (day[1:] != day[:-1]) | anew[accepted[1:]]) + 1
    turn = np.append(turn, len(meter))
    while len(active := np.flatnonzero(pointer < stop)):
        begin = pointer[active]
        end = turn[np.searchsorted(turn, begin, side="right")]
        if (forgets := anew[accepted[begin]]).any():
            memory.forget(active[forgets])
        _roll(memory, active, day[begin])
        unready = memory.hot["level"][active] == 0
        for i in np.flatnonzero(unready).tolist():
            end[i] = (
                _warm_up(memory, int(active[i]), at[begin[i] : end[i]], power[begin[i] : end[i]], params) + begin[i]
            )
        counts = end - begin
        local = np.repeat(np.arange(len(active)), counts)
        place = (
            np.arange(len(local)) - np.repeat(np.append(0, np.cumsum(counts)[:-1]), counts) + np.repeat(begin, counts)
        )
        rows = accepted[place]
        segment = Segment(active, local, at[place], readings.channels[:, rows], hashes[rows])
        judge_segment(memory, models, params, segment, judged, place, trace)
        pointer[active] = end
    return judged


def _roll(memory: Memory, active: Ints, day: Ints) -> None:
    """Move the profile of each meter whose roll day changed: yesterday's slots join the history."""
    hot = memory.hot
    old = hot["day"][active].astype(np.int64)
    fresh = old == NO_DAY
    hot["first_day"][active[fresh]] = day[fresh]
    move = ~fresh & (day != old)
    rows = active[move]
    hot["day"][active] = day
    if not len(rows):
        return
    # A slot that is still open when its day is over lacked its last reading: it is not remembered.
    hot["counts"][rows], hot["sums"][rows], hot["slot"][rows], hot["slot_run"][rows] = 0, 0, NEVER, 0
    hot["largest"][rows], hot["least"][rows] = -BEYOND, BEYOND
    shift = np.minimum((day - old)[move] * SLOTS_A_DAY, HISTORY + HOT)
    for k, length in enumerate(LENGTHS):
        memory.series[k][rows] = _shifted(memory.series[k][rows], hot["hot"][rows, k], shift, length, MISSING)
    memory.flag[rows] = _shifted(memory.flag[rows], hot["hot_flag"][rows], shift, HISTORY, np.uint8(0))
    beyond = np.arange(HOT) + shift[:, None]
    keep, source = beyond < HOT, np.minimum(beyond, HOT - 1)
    hot["hot"][rows] = np.where(keep[:, None], np.take_along_axis(hot["hot"][rows], source[:, None], axis=2), MISSING)
    hot["hot_flag"][rows] = np.where(keep, np.take_along_axis(hot["hot_flag"][rows], source, axis=1), 0)
    memory.changed[rows] = True
    _settle(hot, rows)
    ready = rows[hot["level"][rows] > 0]
    if len(ready):
        hot["level"][ready] = levels(memory, ready)


def _settle(hot: NDArray[np.void], rows: Ints) -> None:
    """Fix the meters' cadence at their usual pause; one with few pauses behind it keeps what it has."""
    pauses = np.diff(hot["past_at"][rows], axis=1).astype(np.float64)
    pauses[hot["past_at"][rows][:, :-1] == NEVER] = np.nan
    known = (~np.isnan(pauses)).sum(axis=1)
    ordered = np.sort(pauses, axis=1)
    usual = ordered[np.arange(len(rows)), np.maximum(known - 1, 0) // 2]
    settled = known >= FEWEST_PAUSES
    hot["cadence"][rows[settled]] = np.minimum(usual[settled], LONGEST_CADENCE)


def _shifted(
    history: NDArray[np.generic], hot: NDArray[np.generic], shift: Ints, length: int, missing: np.generic
) -> NDArray[np.generic]:
    joined = np.concatenate([history, hot[:, :SLOTS_A_DAY]], axis=1)
    if (shift == SLOTS_A_DAY).all():
        return joined[:, SLOTS_A_DAY:]
    source = np.arange(length) + shift[:, None]
    inside = source < joined.shape[1]
    return np.where(inside, np.take_along_axis(joined, np.minimum(source, joined.shape[1] - 1), axis=1), missing)


def _warm_up(memory: Memory, m: int, at: Ints, power: NDArray[np.bool_], params: DetectorParams) -> int:
    """How many of one unready meter's readings belong to its warm-up; 0: it is over, and its level is set."""
    hot = memory.hot
    times = np.append(hot["last_power_at"][m], at[power])
    pauses = np.diff(times)
    pauses[times[:-1] == NEVER] = LONGEST_CADENCE
    cadence = int(hot["cadence"][m])
    if cadence <= 0:
        running = np.minimum.accumulate(np.minimum(pauses, -cadence or LONGEST_CADENCE))
    else:
        running = np.full(len(pauses), cadence)
    seen = int(hot["seen"][m]) + np.arange(len(pauses))  # before each
    over = np.flatnonzero(seen >= -(-params.warm_up_s // np.maximum(running, 1)))
    if not len(over):
        return len(at)
    first = int(np.flatnonzero(power)[over[0]])
    if first == 0:
        hot["level"][m] = levels(memory, np.array([m]))[0]
        if cadence <= 0:  # from here on a segment has one cadence, whatever readings are cut into it
            hot["cadence"][m] = -cadence or LONGEST_CADENCE
            _settle(hot, np.array([m]))
        return len(at)
    return first
