"""Multi-scale statistics of a closed slot, each against its own trailing context.

Everything here is a function of the slot series alone: whole numbers in, so that any cut of the stream gives the
same bits. A statistic's context is its own value at the same slot of the eight days before, and that of the seven weeks
before (four, where no more is remembered), neighbouring slots included, anomalous slots left out. What comes out is
how many robust deviations the value lies on its suspicious side of the nearer of the two, so that neither a week of
absence nor a rare weekday makes all else strange; NaN where there is no context yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.catalogue import STATISTICS
from meterwatch.detection.lookups import Look, Window
from meterwatch.detection.params import HISTORY, HOT, SLOTS_A_DAY
from meterwatch.detection.slots import DEVIATION, MEAN, MISSING, RESIDUAL, RUN, VOLTAGE, decode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NEIGHBOURS = (-1, 0, 1)
DAYS = np.arange(1, 9) * SLOTS_A_DAY
WEEKS = np.arange(1, 8) * 7 * SLOTS_A_DAY
LAGS = np.unique(np.concatenate([[0], DAYS, WEEKS]))  # at which a statistic is looked up; 0 is the judged slot
_OF_DAYS, _OF_WEEKS = np.searchsorted(LAGS, DAYS), np.searchsorted(LAGS, WEEKS)
LEAST_CONTEXT = 10  # values: four periods with two or three neighbours each
CLIP = 50.0  # robust deviations beyond say no more
TOGETHER = 2  # meters laid out at a time: their tables stay in the processor's cache
MANY_TOGETHER = 64  # of meters with a few slots each: what a call costs counts for more
FEW_SLOTS = 4


# Two sides of one number are measured once: series, how, window, log.
_MEASURES = list(dict.fromkeys((s.series, s.how, s.window, s.log) for s in STATISTICS))
_MEASURE_OF = np.array([_MEASURES.index((s.series, s.how, s.window, s.log)) for s in STATISTICS])
_SIDES = np.array([s.side for s in STATISTICS], np.float64)
ORDINARY = 1.0  # robust deviations up to which nothing is suspicious


def lay_out(
    series: list[NDArray[np.int16]],
    flag: NDArray[np.uint8],
    hot: NDArray[np.int16],
    level: NDArray[np.int64],
    acceptance_days: int,
) -> Window:
    """Join history and hot slots, (m, length) and (m, series, HOT) → `Window`."""
    codes = [np.concatenate([row, hot[:, k]], axis=1) for k, row in enumerate(series)]
    # Today's flags wait for the profile's next change, so that the same slot has one context however it is reached.
    accepted = flag[:, -28 * SLOTS_A_DAY :].sum(axis=1, dtype=np.int64) >= acceptance_days * SLOTS_A_DAY
    usable = np.ones((len(flag), HISTORY + hot.shape[2]), np.bool_)
    usable[:, :HISTORY] = (flag == 0) | accepted[:, None]
    return Window(codes, usable, np.maximum(level, 1000).astype(np.float64))


def slot_context(window: Window, m: NDArray[np.int64], slot: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """What mean power is usual at hot slots `slot` of meters `m`, from days and from weeks before.

    Returns:
        Three (2, n) arrays, days then weeks: median, lower and upper quartile in mW, NaN where unknown.
    """
    position = HISTORY + slot
    out = np.empty((3, 2, len(m)))
    for row, lags in enumerate((DAYS, WEEKS)):
        places = position[:, None] - (lags[:, None] + np.array(NEIGHBOURS)).ravel()
        codes = window.codes[MEAN][m[:, None], places]
        valid = (codes != MISSING) & window.usable[m[:, None], places] & (places < HISTORY)
        values = np.where(valid, decode(codes).astype(np.float64), np.nan)
        out[:, row] = _quartiles(values, 3)
    return out[0], out[1], out[2]


def deviations(window: Window, m: NDArray[np.int64], slot: NDArray[np.int64], usual: Floats | None = None) -> Floats:
    """Every statistic at hot slots `slot` of meters `m` in robust deviations, (n,) → (statistics, n).

    Args:
        window: the meters' slots.
        m: rows of `window`, never falling.
        slot: slots since the profile changed.
        usual: (4, statistics, n), filled where given, in thousandths: each statistic's value, and the median, lower
            and upper quartile of the context that it was compared with.
    """
    out = np.empty((len(STATISTICS), len(m)))
    rows, first = np.unique(m, return_index=True)
    edges = np.append(first, len(m))
    together = MANY_TOGETHER if len(m) <= FEW_SLOTS * len(rows) else TOGETHER
    for start in range(0, len(rows), together):
        some = rows[start : start + together]
        part = slice(edges[start], edges[min(start + together, len(rows))])
        owner = np.searchsorted(some, m[part])
        lowest = np.full(len(some), HOT)
        np.minimum.at(lowest, owner, slot[part])
        shown = None if usual is None else usual[:, :, part]
        out[:, part] = _block(window, some, lowest, owner, slot[part] - lowest[owner], shown)
    return out


def suspicious(deviation: Floats) -> Floats:
    """What tree models look at: what is ordinary, or not known, is all one.

    How ordinary a slow statistic is changes from day to day, and would tell a model the day rather than the fault.
    """
    clipped: Floats = np.fmax(deviation, ORDINARY)
    return clipped


def _block(
    window: Window,
    m: NDArray[np.int64],
    lowest: NDArray[np.int64],
    owner: NDArray[np.int64],
    column: NDArray[np.int64],
    usual: Floats | None,
) -> Floats:
    """Every statistic at slots `lowest[owner] + column` of meters `m[owner]`, (n,) → (statistics, n)."""
    level = window.level[m]
    some = Window([codes[m] for codes in window.codes], window.usable[m], level)
    # A neighbour on both sides; what the last ones reach beyond is never looked at.
    slots = lowest[:, None] - 1 + np.arange(int(column.max()) + 3)
    places = slots[:, :, None] - LAGS
    row = np.arange(len(m))[:, None, None]
    usable = some.usable[row, np.minimum(HISTORY + places, some.usable.shape[1] - 1)]
    usable[:, :, 0] = True
    look = Look(some, places)
    values = np.empty((len(_MEASURES), *places.shape))
    floors = np.empty((len(_MEASURES), len(m)))
    for i, (series, how, window_slots, log) in enumerate(_MEASURES):
        floors[i] = 0.1 if log else _floor(series, level)
        if look.is_empty(series):
            values[i] = np.nan
            continue
        raw, valid = look.up(series, how, window_slots)
        if log:
            raw = np.sign(raw) * np.log1p(np.abs(raw) / _unit(series, level)[:, None, None])
        values[i] = np.where(valid & usable, raw, np.nan)
    near = values[:, owner[:, None], column[:, None] + np.arange(3)]
    now, floors = np.ascontiguousarray(near[:, :, 1, 0]), floors[:, owner]
    contexts = [_quartiles(near.take(lags, axis=3).reshape(*now.shape, -1), LEAST_CONTEXT)
                for lags in (_OF_DAYS, _OF_WEEKS)]  # fmt: skip
    side = _SIDES[:, None]
    days, weeks = (_deviation(now, context, floors)[_MEASURE_OF] * side for context in contexts)
    if usual is not None:
        usual[:] = _shown(now, contexts, np.isnan(days) | (weeks <= days), level[owner])
    nearer: Floats = np.clip(np.fmin(days, weeks), -CLIP, CLIP)
    return nearer


def _shown(now: Floats, contexts: list[Floats], weeks: NDArray[np.bool_], level: Floats) -> Floats:
    """Value and quartiles of the context that counted (`weeks` (statistics, n): that of weeks), (4, statistics, n)."""
    compared = [np.concatenate([now[None], context])[:, _MEASURE_OF] for context in contexts]
    out = np.where(weeks, compared[1], compared[0])
    for k, statistic in enumerate(STATISTICS):
        if statistic.log:
            out[:, k] = np.sign(out[:, k]) * np.expm1(np.abs(out[:, k])) * _unit(statistic.series, level)
    return out


def _unit(series: int, level: Floats) -> Floats:
    """What counts as small before the logarithm, (meters,), in thousandths."""
    return np.full(len(level), 1000.0) if series in (RUN, DEVIATION) else 0.02 * level


def _floor(series: int, level: Floats) -> Floats | float:
    if series == VOLTAGE:
        return 500.0  # half a volt, in millivolts
    if series == RESIDUAL:
        return 50.0  # a twentieth of the band's half width, in thousandths
    return 0.05 * level


def _quartiles(values: Floats, least: int) -> Floats:
    """Median, lower and upper quartile over the last axis, NaN left out; (…, c) → (3, …)."""
    ordered = np.sort(values, axis=-1)  # NaN last
    width = ordered.shape[-1]
    flat = ordered.reshape(-1, width)
    count = (width - np.isnan(flat).sum(axis=1)).astype(np.int64)
    safe = np.maximum(count, 1)
    row = np.arange(len(flat)) * width

    def at(place: NDArray[np.int64]) -> Floats:
        picked: Floats = flat.ravel().take(row + place)
        return picked

    out = np.stack([(at((safe - 1) // 2) + at(safe // 2)) / 2, at(safe // 4), at((3 * safe) // 4 - (safe % 4 == 0))])
    out[:, count < least] = np.nan
    return out.reshape(3, *values.shape[:-1])


def _deviation(now: Floats, context: Floats, floors: Floats) -> Floats:
    """How far `now` (s, n) is from its context's quartiles (3, s, n), in robust spreads and `floors` (s, n)."""
    middle, low, high = context
    distance: Floats = (now - middle) / ((high - low) / 1.349 + floors)
    return distance
