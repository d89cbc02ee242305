"""A segment: readings of some meters within each one's roll day, judged at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.kinds import FAST, SUSPICIOUS, kind_of, packed
from meterwatch.detection.memory import NEVER
from meterwatch.detection.novelty import novel
from meterwatch.detection.ordering import append
from meterwatch.detection.params import HOT, SLOT_S, SLOTS_A_DAY
from meterwatch.detection.readings import GAP, SCORED, WARMING_UP
from meterwatch.detection.sequence import past_inputs, scaled, time_inputs, unscaled, windows
from meterwatch.detection.slots import DEVIATION, MEAN, decode, encode
from meterwatch.detection.slotting import FILL, Closing, accumulate, before, close, running_max
from meterwatch.detection.statistics import (
    SLOW_SERIES_ONLY,
    STATISTICS,
    Window,
    deviations,
    lay_out,
    slot_context,
    suspicious,
)
from meterwatch.detection.thresholds import FAST_GIVES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from meterwatch.detection.memory import Memory
    from meterwatch.detection.params import DetectorParams
    from meterwatch.detection.rounds import Judged, Models, Trace

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

STALE = 8  # slots: an older judgement of a slot says nothing of a reading
LONG_ENOUGH = 35  # days of history with which every context is there
LOWEST, HIGHEST = -6.0, 9.0  # log10 of months that a score may say
NARROWEST = 0.05  # half width of the band on the scaled axis
FARTHEST = 100.0  # half widths: beyond says no more
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


@dataclass(frozen=True, slots=True)
class _View:
    """The segment's readings with power, and what is known of their meters."""

    hot: NDArray[np.void]  # (a,) copies of the meters' records, written back at the end
    ready: NDArray[np.bool_]  # (a,) the warm-up is over
    base: Ints  # (a,) first slot of the roll day
    level: Floats  # (a,) mW
    first: Ints  # (a,) place of the meter's first reading
    counts: Ints  # (a,)
    meter: Ints  # (n,)
    at: Ints
    slot: Ints
    mw: Ints
    channels: Floats  # (7, n)
    run: Ints  # readings in a row that were the same
    previous: Ints  # time of the reading before
    cadence: Ints


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
    residual = _expect(view, models, context, scored, judged, where, trace)
    codes = _codes(view, closing, residual)
    if window is not None:
        _deviation_codes(view, codes, closing, context)
    _write(view, closing, codes)
    if window is not None and len(closing.meter):
        _judge_slots(view, models, params.threshold, window, closing, trace)
    if models.fast is not None and models.slow is not None:
        slow, why = _latest(view, closing)
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


def _view(memory: Memory, segment: Segment, power: NDArray[np.bool_]) -> _View:
    hot = memory.hot[segment.active]
    meter, at = segment.meter[power], segment.at[power]
    previous = before(meter, at, hot["last_power_at"])
    return _View(
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


def _who_is_judged(view: _View, params: DetectorParams, judged: Judged, where: Ints) -> tuple[Ints, NDArray[np.bool_]]:
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


def _carry(view: _View, resumed: Ints) -> None:
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
    memory: Memory, segment: Segment, view: _View, params: DetectorParams, closing: Closing
) -> tuple[Window | None, dict[str, Floats]]:
    """The usual power of each reading's and each closing slot; None where no meter is ready."""
    if not view.ready.any():
        return None, {}
    rows = segment.active
    series = [one[rows] for one in memory.series]
    window = lay_out(series, memory.flag[rows], view.hot["hot"], view.hot["level"], params.acceptance_days)
    owner = np.concatenate([view.meter, closing.meter])
    within = np.clip(np.concatenate([view.slot, closing.slot]) - view.base[owner], 0, SLOTS_A_DAY - 1)
    distinct, inverse = np.unique(owner * SLOTS_A_DAY + within, return_inverse=True)
    found = np.stack(slot_context(window, distinct // SLOTS_A_DAY, distinct % SLOTS_A_DAY))[:, :, inverse]
    n = len(view.meter)
    return window, {"readings": found[:, :, :n], "slots": found[:, :, n:]}


def _expect(
    view: _View,
    models: Models,
    context: dict[str, Floats],
    scored: NDArray[np.bool_],
    judged: Judged,
    where: Ints,
    trace: Trace | None,
) -> Floats:
    """Fill in what is expected; answer each reading's distance from it in half widths of the band, 0 if unready."""
    if not view.ready.any() or (models.sequence is None and not (trace and trace.want_inputs)):
        return np.zeros(len(view.at))
    middle, low, high = _bounds(view, models, context["readings"], trace)
    if models.sequence is None:
        return np.zeros(len(view.at))
    level = view.level[view.meter]
    own = scaled(view.mw, level)
    half = np.maximum(np.where(own >= middle, high - middle, middle - low), NARROWEST)
    residual = np.where(view.ready[view.meter], np.clip((own - middle) / half, -FARTHEST, FARTHEST), 0.0)
    bounds = [np.rint(unscaled(part, level)) for part in (middle, low, high)]
    for target, part in zip((judged.expected, judged.lower, judged.upper), bounds, strict=True):
        target[where] = np.where(scored, part / 1e6, np.nan)
    excess = (view.mw - np.nan_to_num(bounds[0])).astype(np.int64)
    judged.energy[where] = np.where(scored, excess * view.cadence // 1000, 0)
    return residual


def _bounds(view: _View, models: Models, context: Floats, trace: Trace | None) -> Floats:
    """Median, lower and upper bound of each reading on the scaled axis, (3, n); NaN for unready meters."""
    out = np.full((3, len(view.at)), np.nan)
    first, counts, cadence = view.first, view.counts, view.cadence.astype(np.float64)
    time = time_inputs(view.at, (context[0], context[1], context[2]), view.level[view.meter], cadence)
    judged = np.flatnonzero(view.ready & (counts > 0))
    # Meters with about as many readings go through the network together.
    size = np.maximum(1 << np.ceil(np.log2(counts[judged])).astype(np.int64), 16)
    if len(judged) == 1:
        size = counts[judged]
    for length in np.unique(size).tolist():
        rows = judged[size == length]
        past_mw = windows(view.hot["past_mw"][rows], view.mw, first[rows], counts[rows], length)
        past_at = windows(view.hot["past_at"][rows], view.at, first[rows], counts[rows], length)
        past = past_inputs(past_mw, past_at, view.level[rows], cadence[first[rows]])
        source = first[rows][:, None] + np.minimum(np.arange(length), counts[rows][:, None] - 1)
        inputs = np.ascontiguousarray(time[:, source].transpose(1, 0, 2))
        if trace is not None and trace.want_inputs:
            target = scaled(view.mw[source], view.level[rows][:, None]).astype(np.float32)
            trace.past.append((counts[rows], past, inputs, target, view.at[source]))
        if models.sequence is not None:
            answer = models.sequence.expect(past, inputs)
            inside = np.arange(length) < counts[rows][:, None]
            out[:, source[inside]] = answer.transpose(1, 0, 2)[:, inside]
    return out


def _codes(view: _View, closing: Closing, residual: Floats) -> NDArray[np.int16]:
    """The closed slots' codes, (series, closings)."""
    kw, kvar, volt, ampere, *sub = view.channels
    inside = sub[0] + sub[1] + sub[2]  # watt hours; over the cadence they are power: 1 Wh = 3.6e6 mW s
    rest = view.mw - np.rint(np.nan_to_num(inside) * 3.6e6 / view.cadence).astype(np.int64)
    apparent = volt * ampere / 1e3
    mismatch = np.rint(np.nan_to_num(np.abs(apparent - np.hypot(kw, np.nan_to_num(kvar)))) * 1e6)
    parts = [
        view.mw,
        rest,
        np.rint(np.nan_to_num(volt) * 1e3).astype(np.int64),
        np.minimum(mismatch, 1e12).astype(np.int64),
        np.rint(residual * 1e3).astype(np.int64),
    ]
    known = [~np.isnan(kw), ~np.isnan(inside), ~np.isnan(volt), ~np.isnan(apparent), view.ready[view.meter]]
    return accumulate(view.hot, closing, view.slot, parts, known, view.run)


def _deviation_codes(view: _View, codes: NDArray[np.int16], closing: Closing, context: dict[str, Floats]) -> None:
    """How far each closed slot is from what is usual there, on the scaled axis, in thousandths."""
    days, weeks = context["slots"][0]
    unit = view.level[closing.meter]
    distance = np.abs(scaled(decode(codes[MEAN]), unit) - scaled(np.where(np.isnan(weeks), days, weeks), unit))
    known = view.ready[closing.meter] & ~np.isnan(distance)
    codes[DEVIATION, known] = encode(np.rint(distance[known] * 1e3).astype(np.int64))


def _write(view: _View, closing: Closing, codes: NDArray[np.int16]) -> None:
    """Put closed slots' codes where they belong in the day."""
    series, target = np.arange(len(codes))[:, None], view.hot["hot"]
    for ahead in range(FILL):
        fill = np.flatnonzero(closing.slot + ahead < closing.until)
        place = closing.slot[fill] + ahead - view.base[closing.meter[fill]]
        fill, place = fill[place >= 0], place[place >= 0]
        target[closing.meter[fill][None], series, place[None]] = codes[:, fill]


def _judge_slots(
    view: _View, models: Models, threshold: float, window: Window, closing: Closing, trace: Trace | None
) -> None:
    """Statistics, forest, weigher and kind for each closed slot of a ready meter, into `closing`."""
    place = closing.until - 1 - view.base[closing.meter]
    rows = np.flatnonzero(view.ready[closing.meter] & (place >= 0))
    if not len(rows):
        return
    for k, codes in enumerate(window.codes):
        codes[:, -HOT:] = view.hot["hot"][:, k]
    usual = np.empty((4, len(STATISTICS), len(rows))) if trace is not None and trace.want_usual else None
    features = np.ascontiguousarray(deviations(window, closing.meter[rows], place[rows], usual).T)
    closing.why[rows] = np.argmax(np.nan_to_num(features, nan=-np.inf), axis=1)
    if trace is not None:
        trace.slot_meter.append(closing.meter[rows])
        trace.slot_at.append(view.at[closing.by[rows]])
        trace.deviations.append(features.astype(np.float32))
        if usual is not None:
            trace.usual.append(usual)
    if models.forest is None:
        return
    looked_at = suspicious(features)
    seldom = models.forest.score(looked_at[:, SLOW_SERIES_ONLY])
    if trace is not None:
        trace.forest.append(seldom)
    if models.weigher is None or models.slow is None:
        return
    hot, meter = view.hot, closing.meter[rows]
    seen = np.column_stack([looked_at, seldom])
    raw = models.weigher.score(seen)
    weighed, hot["peaks"], hot["peak_hour"] = novel(
        hot["peaks"], hot["peak_hour"], meter, view.at[closing.by[rows]], raw
    )
    closing.score[rows] = models.slow.period(weighed)
    strange = np.flatnonzero(closing.score[rows] - models.offset >= threshold + SUSPICIOUS)
    if models.kinds is not None and len(strange):
        some = rows[strange]
        closing.why[some] = packed(closing.why[some], models.kinds.probable(seen[strange]))
    if trace is not None:
        trace.raw.append(raw)
        trace.weighed.append(weighed)


def _latest(view: _View, closing: Closing) -> tuple[Floats, NDArray[np.int16]]:
    """The score of the newest judged slot at each reading, NaN where there is none or it is stale."""
    hot, meter = view.hot, view.meter
    good = np.flatnonzero(~np.isnan(closing.score))
    score, since, why = hot["slow_score"][meter], hot["slow_slot"][meter], hot["slow_why"][meter]
    if len(good):
        index = np.searchsorted(closing.by[good], np.arange(len(meter)), side="right") - 1
        pick = good[np.maximum(index, 0)]
        mine = (index >= 0) & (closing.meter[pick] == meter)
        score = np.where(mine, closing.score[pick], score)
        since = np.where(mine, closing.slot[pick], since)
        why = np.where(mine, closing.why[pick], why)
        tail = good[np.append(closing.meter[good][1:] != closing.meter[good][:-1], True)]
        owner = closing.meter[tail]
        hot["slow_score"][owner], hot["slow_slot"][owner] = closing.score[tail], closing.slot[tail]
        hot["slow_why"][owner] = closing.why[tail]
    return np.where(view.slot - since <= STALE, score, np.nan), why


def _flag(view: _View, anomalous: NDArray[np.bool_]) -> None:
    """Mark the slots that an anomalous reading fills: they will not teach what is usual."""
    until = np.maximum((view.at + view.cadence) // SLOT_S, view.slot + 1)
    for ahead in range(FILL):
        mine = np.flatnonzero(anomalous & (view.slot + ahead < until))
        owner = view.meter[mine]
        view.hot["hot_flag"][owner, view.slot[mine] + ahead - view.base[owner]] = 1
