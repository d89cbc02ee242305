"""Multi-scale statistics of a closed slot, each against its own trailing context.

Everything here is a function of the slot series alone: whole numbers in, so that any cut of the stream gives the
same bits. A statistic's context is its own value at the same slot of the eight days before, and that of the seven weeks
before (four, where no more is remembered), neighbouring slots included, anomalous slots left out. What comes out is
how many robust deviations the value lies on its suspicious side of the nearer of the two, so that neither a week of
absence nor a rare weekday makes all else strange; NaN where there is no context yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.memory import LENGTHS
from meterwatch.detection.params import HISTORY, HOT, SLOTS_A_DAY
from meterwatch.detection.slots import (
    DEVIATION,
    MAX,
    MEAN,
    MIN,
    MISMATCH,
    MISSING,
    RESIDUAL,
    REST,
    RUN,
    VOLTAGE,
    decode,
)

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
MANY_TOGETHER = 32  # of meters with a few slots each: what a call costs counts for more
FEW_SLOTS = 4


@dataclass(frozen=True, slots=True)
class Statistic:
    """One number of the trailing `window` slots of a series; `side` +1: suspicious when high, -1: when low."""

    name: str
    series: int
    how: str  # mean, max, min, rough (mean absolute step), span (mean of max - min)
    window: int  # slots
    side: int
    log: bool  # compared as a ratio rather than as a difference
    words: str  # what a person reads


def _hours(window: int) -> str:
    return f"{window * 15} min" if window < 4 else f"{window // 4} h"  # noqa: PLR2004 - an hour has four slots


def _catalogue() -> tuple[Statistic, ...]:
    rows: list[Statistic] = []

    def add(series: int, how: str, windows: tuple[int, ...], side: int, words: str, *, log: bool = True) -> None:
        word = "high" if side > 0 else "low"
        name = {
            MEAN: "consumption" if log and side > 0 else "power",
            MAX: "peak",
            MIN: "floor",
            RUN: "frozen",
            DEVIATION: "shape",
            REST: "rest",
        }.get(series, {VOLTAGE: "voltage", MISMATCH: "mismatch", RESIDUAL: "residual"}.get(series, ""))
        label = {"rough": "roughness", "span": "span"}.get(how, name)
        rows.extend(
            Statistic(f"{label}_{word}_{w * 15}m", series, how, w, side, log, f"{words} over {_hours(w)}")
            for w in windows
        )

    add(MEAN, "mean", (1, 2, 4, 8, 16, 48, 96), 1, "more power than usual", log=False)
    add(MEAN, "mean", (4, 16, 32, 96, 192, 288), -1, "less power than usual")
    add(MEAN, "mean", (96, 288), 1, "consumption raised")
    add(MEAN, "rough", (16, 96), 1, "more unsteady than usual")
    add(MEAN, "rough", (16, 96), -1, "steadier than usual")
    add(MAX, "max", (4, 16, 32, 96), -1, "nothing switched on")
    add(MIN, "min", (4, 16, 48, 96), 1, "base load raised")
    add(MIN, "min", (16, 96), -1, "base load sunk")
    add(MAX, "span", (4, 16), 1, "more switching than usual")
    add(MAX, "span", (4, 16), -1, "less switching than usual")
    add(RUN, "mean", (1,), 1, "the same reading again and again")
    add(DEVIATION, "mean", (16, 32, 96), 1, "an unusual course of the day")
    add(REST, "mean", (1, 16), -1, "sub-meters above the total", log=False)
    add(REST, "mean", (16, 96), 1, "more outside the sub-meters than usual", log=False)
    add(VOLTAGE, "mean", (1, 4), -1, "low voltage", log=False)
    add(VOLTAGE, "mean", (1,), 1, "high voltage", log=False)
    add(MISMATCH, "mean", (1, 4), 1, "power does not fit voltage and current")
    add(RESIDUAL, "mean", (1, 4, 16), 1, "above the expected", log=False)
    add(RESIDUAL, "mean", (4, 16), -1, "below the expected", log=False)
    return tuple(rows)


STATISTICS = _catalogue()
# Two sides of one number are measured once: series, how, window, log.
_MEASURES = list(dict.fromkeys((s.series, s.how, s.window, s.log) for s in STATISTICS))
_MEASURE_OF = np.array([_MEASURES.index((s.series, s.how, s.window, s.log)) for s in STATISTICS])
_SIDES = np.array([s.side for s in STATISTICS], np.float64)
ORDINARY = 1.0  # robust deviations up to which nothing is suspicious
SLOW_SERIES_ONLY = np.array([s.series != RESIDUAL for s in STATISTICS])  # what there is before a sequence model


@dataclass(frozen=True, slots=True)
class Window:
    """The slot series of some meters laid out for look-ups: history, then the slots since the profile changed."""

    codes: list[NDArray[np.int16]]  # per series (m, length + HOT)
    usable: NDArray[np.bool_]  # (m, HISTORY + HOT) False: anomalous, and not accepted as the new normal
    level: Floats  # (m,) the meter's usual power, mW


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
    look = _Look(some, places)
    values = np.empty((len(_MEASURES), *places.shape))
    floors = np.empty((len(_MEASURES), len(m)))
    for i, (series, how, window_slots, log) in enumerate(_MEASURES):
        raw, valid = look.up(series, how, window_slots)
        if log:
            raw = np.sign(raw) * np.log1p(np.abs(raw) / _unit(series, level)[:, None, None])
        values[i] = np.where(valid & usable, raw, np.nan)
        floors[i] = 0.1 if log else _floor(series, level)
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


class _Look:
    """Looks statistics up at places of some meters' series; what several of them share is made once."""

    def __init__(self, window: Window, places: NDArray[np.int64]) -> None:
        self._window = window
        self._places = places  # (meters, width, lags), counted from the newest change of the profile
        self._tables: dict[tuple[int, str], NDArray[np.int64]] = {}
        self._flat: dict[tuple[int, int], tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]] = {}
        self._known: dict[tuple[int, int], tuple[NDArray[np.int64], NDArray[np.bool_]]] = {}

    def _span(self, length: int, w: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Flat places of a window's end and begin in running sums over `length` + HOT slots, and if it is inside."""
        if (length, w) not in self._flat:
            width = length + HOT + 1
            places = np.minimum(length + self._places, width - 2)
            inside = places + 1 >= w
            end = np.arange(len(places))[:, None, None] * width + np.maximum(places, -1) + 1
            self._flat[length, w] = (end, np.where(inside, end - w, end), inside)
        return self._flat[length, w]

    def _count(self, k: int, w: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """How many slots of the window are known, and where they are enough."""
        if (k, w) not in self._known:
            end, begin, inside = self._span(LENGTHS[k], w)
            count = _table(self._window, self._tables, k, "count").ravel()
            known = count.take(end) - count.take(begin)
            self._known[k, w] = (known, inside & (2 * known >= w))
        return self._known[k, w]

    def up(self, k: int, how: str, w: int) -> tuple[Floats, NDArray[np.bool_]]:
        """The statistic with its window ending at the places, and where at least half of its slots are known."""
        end, begin, _ = self._span(LENGTHS[k], w)
        known, valid = self._count(k, w)
        if how in ("max", "min"):
            levels = w.bit_length() - 1
            table = _table(self._window, self._tables, k, f"{how}{levels}")
            row = np.arange(len(table))[:, None, None]  # these tables are one shorter a meter
            last = end - row - 1
            code = table.ravel().take(np.maximum(last, 0))
            if w != 1 << levels:
                first = np.where(valid, last - w + (1 << levels), np.maximum(last, 0))
                pick = np.maximum if how == "max" else np.minimum
                code = pick(code, table.ravel().take(first))
            return decode(code.astype(np.int16)).astype(np.float64), valid & (np.abs(code) != -int(MISSING))
        table = _table(self._window, self._tables, k, how).ravel()
        return (table.take(end) - table.take(begin)) / np.maximum(known, 1), valid


def _table(window: Window, tables: dict[tuple[int, str], NDArray[np.int64]], k: int, how: str) -> NDArray[np.int64]:
    """Running sums (m, width + 1), or sliding extremes over 2**level slots (m, width); made once a call."""
    if (k, how) in tables:
        return tables[k, how]
    codes = window.codes[k]
    if how[:3] in ("max", "min"):
        level = int(how[3:])
        if level == 0:
            edge = -32_768 if how[:3] == "max" else 32_768  # a missing slot is never the extreme
            table = np.where(codes == MISSING, edge, codes.astype(np.int64))
        else:
            half = _table(window, tables, k, f"{how[:3]}{level - 1}")
            step = 1 << (level - 1)
            pick = np.maximum if how[:3] == "max" else np.minimum
            table = half.copy()
            table[:, step:] = pick(half[:, step:], half[:, :-step])
    else:
        present = codes != MISSING
        if how == "count":
            steps = present.astype(np.int64)
        elif how == "mean":
            steps = decode(codes)
        elif how == "rough":
            power = decode(codes)
            steps = np.zeros_like(power)
            both = present[:, 1:] & present[:, :-1]
            steps[:, 1:] = np.where(both, np.abs(power[:, 1:] - power[:, :-1]), 0)
        else:  # span
            steps = decode(codes) - decode(window.codes[MIN])
        table = np.zeros((codes.shape[0], codes.shape[1] + 1), np.int64)
        np.cumsum(steps, axis=1, out=table[:, 1:])
    tables[k, how] = table
    return table


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
