"""What a segment's closed slots are worth: their codes, their statistics, and what the tree models say of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.catalogue import SLOW_SERIES_ONLY, STATISTICS
from meterwatch.detection.kinds import SUSPICIOUS, packed
from meterwatch.detection.novelty import novel
from meterwatch.detection.sequence import scaled
from meterwatch.detection.slots import COARSE, DEVIATION, MEAN, decode, encode, from_bytes, to_bytes
from meterwatch.detection.slotting import FILL, Closing, accumulate
from meterwatch.detection.statistics import deviations, suspicious

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from meterwatch.detection.expecting import View
    from meterwatch.detection.rounds import Models, Trace
    from meterwatch.detection.statistics import Window

    Floats = NDArray[np.float64]

_COARSE = np.array(list(COARSE))
STALE = 8  # slots: an older judgement of a slot says nothing of a reading


def codes_of(view: View, closing: Closing, residual: Floats) -> NDArray[np.int16]:
    """The closed slots' codes, (series, closings)."""
    kw, kvar, volt, ampere, *sub = view.channels
    inside = sub[0] + sub[1] + sub[2]  # watt hours; over the cadence they are power: 1 Wh = 3.6e6 mW s
    rest = view.mw - np.rint(_or_zero(inside) * 3.6e6 / view.cadence).astype(np.int64)
    apparent = volt * ampere / 1e3
    mismatch = np.rint(_or_zero(np.abs(apparent - np.hypot(kw, _or_zero(kvar)))) * 1e6)
    parts = [
        view.mw,
        rest,
        np.rint(_or_zero(volt) * 1e3).astype(np.int64),
        np.minimum(mismatch, 1e12).astype(np.int64),
        np.rint(residual * 1e3).astype(np.int64),
        np.rint(_or_zero(kvar) * 1e6).astype(np.int64),
    ]
    ready = view.ready[view.meter]
    known = [~np.isnan(kw), ~np.isnan(inside), ~np.isnan(volt), ~np.isnan(apparent), ready, ~np.isnan(kvar)]
    return accumulate(view.hot, closing, view.slot, parts, known, view.run)


def _or_zero(values: Floats) -> Floats:
    return np.where(np.isnan(values), 0.0, values)


def add_deviation(view: View, codes: NDArray[np.int16], closing: Closing, context: dict[str, Floats]) -> None:
    """How far each closed slot is from what is usual there, on the scaled axis, in thousandths."""
    if not len(closing.meter):
        return
    days, weeks = context["slots"][0]
    unit = view.level[closing.meter]
    distance = np.abs(scaled(decode(codes[MEAN]), unit) - scaled(np.where(np.isnan(weeks), days, weeks), unit))
    known = view.ready[closing.meter] & ~np.isnan(distance)
    codes[DEVIATION, known] = encode(np.rint(distance[known] * 1e3).astype(np.int64))


def write(view: View, closing: Closing, codes: NDArray[np.int16]) -> None:
    """Put closed slots' codes where they belong in the day, coarse series as a byte will hold them."""
    if not len(closing.meter):
        return
    codes[_COARSE] = from_bytes(to_bytes(codes[_COARSE], _COARSE), _COARSE)
    series, target = np.arange(len(codes))[:, None], view.hot["hot"]
    for ahead in range(FILL):
        fill = np.flatnonzero(closing.slot + ahead < closing.until)
        place = closing.slot[fill] + ahead - view.base[closing.meter[fill]]
        fill, place = fill[place >= 0], place[place >= 0]
        target[closing.meter[fill][None], series, place[None]] = codes[:, fill]


def judge_slots(
    view: View, models: Models, threshold: float, window: Window, closing: Closing, trace: Trace | None
) -> None:
    """Statistics, forest, weigher and kind for each closed slot of a ready meter, into `closing`."""
    place = closing.until - 1 - view.base[closing.meter]
    rows = np.flatnonzero(view.ready[closing.meter] & (place >= 0))
    if not len(rows):
        return
    usual = np.empty((4, len(STATISTICS), len(rows))) if trace is not None and trace.want_usual else None
    features = np.ascontiguousarray(deviations(window, closing.meter[rows], place[rows], usual).T)
    closing.why[rows] = np.argmax(np.nan_to_num(features, nan=-np.inf), axis=1)
    if trace is not None:
        trace.slot_meter.append(window.rows[closing.meter[rows]])
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


def latest(view: View, closing: Closing) -> tuple[Floats, NDArray[np.int16]]:
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
