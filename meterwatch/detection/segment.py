"""A segment: readings of some meters within each one's roll day, judged at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.closed_slots import add_deviation, codes_of, judge_slots, latest, write
from meterwatch.detection.expecting import View, expect
from meterwatch.detection.kinds import FAST, kind_of, packed
from meterwatch.detection.memory import NEVER
from meterwatch.detection.ordering import append
from meterwatch.detection.params import SLOT_S, SLOTS_A_DAY
from meterwatch.detection.readings import GAP, SCORED, WARMING_UP
from meterwatch.detection.slotting import FILL, Closing, before, close, running_max
from meterwatch.detection.statistics import Window, slot_context
from meterwatch.detection.thresholds import FAST_GIVES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from meterwatch.detection.memory import Memory
    from meterwatch.detection.params import DetectorParams
    from meterwatch.detection.rounds import Judged, Models, Trace

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

LONG_ENOUGH = 35  # days of history with which every context is there
LOWEST, HIGHEST = -6.0, 9.0  # log10 of months that a score may say
LONGEST_CADENCE = 3_600
_SUDDEN = np.array(FAST, np.int16)


@dataclass(frozen=True, slots=True)
class Segment:
    """Readings of the meters `active`, each within one roll day."""

    active: Ints  # (a,) rows of the call's meters
    meter: Ints  # (n,) index into `active`
    at: Ints  # (n,)
    channels: Floats  # (7, n)
    hashes: NDArray[np.uint32]  # (n,)


def judge_segment(
    memory: Memory,
    models: Models,
    params: DetectorParams,
    segment: Segment,
    judged: Judged,
    place: Ints,
    trace: Trace | None,
) -> None:
    """Judge the segment into `judged` at `place` and move the meters' memory on."""
    power = ~np.isnan(segment.channels[0])
    if not power.any():
        return  # a gap each, as `judged` says from the start
    view = _view(memory, segment, power)
    where = place[power]
    resumed, scored = _who_is_judged(view, params, judged, where)
    closing = close(view.hot, view.meter, view.at, view.cadence)
    window, context = _contexts(memory, segment, view, params, closing)
    residual = expect(view, models, context, scored, judged, where, trace)
    codes = codes_of(view, closing, residual)
    if window is not None:
        add_deviation(view, codes, closing, context)
    write(view, closing, codes)
    if window is not None and len(closing.meter):
        judge_slots(view, models, params.threshold, window, closing, trace)
    if models.fast is not None and models.slow is not None:
        slow, why = latest(view, closing)
        fast = models.fast.period(np.abs(residual)) - FAST_GIVES
        score = np.clip(np.fmax(fast, slow) - models.offset, LOWEST, HIGHEST)
        judged.score[where] = np.where(scored, score, np.nan)
        # A sudden reading has the kind of its slot, as long as that says something of it.
        kind = np.where(np.isnan(slow), 0, kind_of(why)).astype(np.int16)
        judged.why[where] = np.where(np.nan_to_num(slow, nan=-np.inf) >= fast, why, packed(_SUDDEN, kind))
        _flag(view, scored & (score >= params.threshold))
        if trace is not None:
            trace.slow.append(slow)
            trace.fast.append(fast)
    if trace is not None:
        trace.reading_meter.append(segment.active[view.meter])
        trace.reading_at.append(view.at)
        trace.residual.append(np.where(scored, residual, np.nan))
    _carry(view, resumed)
    memory.hot[segment.active] = view.hot


def _view(memory: Memory, segment: Segment, power: NDArray[np.bool_]) -> View:
    hot = memory.hot[segment.active]
    meter, at = segment.meter[power], segment.at[power]
    previous = before(meter, at, hot["last_power_at"])
    return View(
        hot=hot,
        ready=hot["level"] > 0,
        base=hot["day"].astype(np.int64) * SLOTS_A_DAY + memory.roll_slot[segment.active],
        level=np.maximum(hot["level"], 1000).astype(np.float64),
        first=np.searchsorted(meter, np.arange(len(hot))),
        counts=np.bincount(meter, minlength=len(hot)),
        meter=meter,
        at=at,
        slot=at // SLOT_S,
        mw=np.rint(segment.channels[0, power] * 1e6).astype(np.int64),
        channels=segment.channels[:, power],
        run=_runs(hot, meter, segment.hashes[power]),
        previous=previous,
        cadence=_cadence(hot, meter, at, previous),
    )


def _who_is_judged(view: View, params: DetectorParams, judged: Judged, where: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """When each reading's meter last came back from an absence, and which readings get a score."""
    pause = view.at - view.previous
    absent = (view.previous > NEVER) & (pause > np.maximum(params.absence_s, 3 * view.cadence))
    resumed = running_max(view.meter, np.where(absent, view.at, NEVER), view.hot["resumed_at"])
    settling = (resumed > NEVER) & (view.at - resumed < params.settle_s)
    ready = view.ready[view.meter]
    scored = ready & ~settling
    judged.status[where] = np.where(scored, SCORED, np.where(ready, GAP, WARMING_UP))
    seen = view.hot["seen"][view.meter] + np.arange(len(view.at)) - view.first[view.meter] + 1
    judged.left[where] = np.maximum(-(-params.warm_up_s // view.cadence) - seen, 0)
    judged.absent[where] = settling
    age = view.hot["day"].astype(np.int64) - view.hot["first_day"]
    judged.days[where] = np.where(scored & (age < LONG_ENOUGH)[view.meter], age[view.meter], -1)
    return resumed, scored


def _carry(view: View, resumed: Ints) -> None:
    """Leave in the meters' records what the next segment needs."""
    hot, took = view.hot, np.flatnonzero(view.counts)
    final = view.first[took] + view.counts[took] - 1
    hot["last_power_at"][took], hot["resumed_at"][took] = view.at[final], resumed[final]
    provisional = hot["cadence"][took] <= 0
    shortest = np.where(view.cadence[final] < LONGEST_CADENCE, -view.cadence[final], 0)
    hot["cadence"][took[provisional]] = shortest[provisional]
    hot["seen"][took] = np.minimum(hot["seen"][took] + view.counts[took], 2**30)
    append(hot, "past_mw", took, view.first[took], view.counts[took], view.mw)
    append(hot, "past_at", took, view.first[took], view.counts[took], view.at)


def _runs(hot: NDArray[np.void], meter: Ints, hashes: NDArray[np.uint32]) -> Ints:
    """Readings in a row that were the same in every channel."""
    known = before(meter, hashes.astype(np.int64), hot["run_hash"].astype(np.int64))
    same = hashes == known
    index = np.arange(len(meter))
    head = np.append(True, meter[1:] != meter[:-1])
    start = np.maximum.accumulate(np.where(~same | head, index, 0))
    carried = np.where(same & head, hot["run"][meter], 0)[start]
    run = index - start + 1 + carried
    tail = np.flatnonzero(np.append(meter[1:] != meter[:-1], True))
    hot["run"][meter[tail]] = np.minimum(run[tail], 2**30)
    hot["run_hash"][meter[tail]] = hashes[tail]
    return run


def _cadence(hot: NDArray[np.void], meter: Ints, at: Ints, previous: Ints) -> Ints:
    """Seconds that each reading stands for: settled, or the shortest pause so far (an hour until there is one)."""
    settled = hot["cadence"].astype(np.int64)
    cadence = settled[meter]
    for m in np.unique(meter[cadence <= 0]).tolist():
        mine = slice(*np.searchsorted(meter, [m, m + 1]))
        pauses = np.where(previous[mine] == NEVER, LONGEST_CADENCE, at[mine] - previous[mine])
        start = -settled[m] if settled[m] else LONGEST_CADENCE
        cadence[mine] = np.minimum.accumulate(np.minimum(pauses, start))
    return np.clip(cadence, 1, LONGEST_CADENCE)


def _contexts(
    memory: Memory, segment: Segment, view: View, params: DetectorParams, closing: Closing
) -> tuple[Window | None, dict[str, Floats]]:
    """The usual power of each reading's and each closing slot; None where no meter is ready."""
    if not view.ready.any():
        return None, {}
    window = Window(memory.slots, memory.flag, segment.active, view.hot["hot"], view.level, params.acceptance_days)
    owner = np.concatenate([view.meter, closing.meter])
    within = np.clip(np.concatenate([view.slot, closing.slot]) - view.base[owner], 0, SLOTS_A_DAY - 1)
    distinct, inverse = np.unique(owner * SLOTS_A_DAY + within, return_inverse=True)
    found = slot_context(window, distinct // SLOTS_A_DAY, distinct % SLOTS_A_DAY)[:, :, inverse]
    n = len(view.meter)
    return window, {"readings": found[:, :, :n], "slots": found[:, :, n:]}


def _flag(view: View, anomalous: NDArray[np.bool_]) -> None:
    """Mark the slots that an anomalous reading fills: they will not teach what is usual."""
    until = np.maximum((view.at + view.cadence) // SLOT_S, view.slot + 1)
    for ahead in range(FILL):
        mine = np.flatnonzero(anomalous & (view.slot + ahead < until))
        owner = view.meter[mine]
        view.hot["hot_flag"][owner, view.slot[mine] + ahead - view.base[owner]] = 1
