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
from meterwatch.detection.params import HISTORY, SLOTS_A_DAY
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
DAYS = np.array([SLOTS_A_DAY * k + b for k in range(1, 9) for b in NEIGHBOURS])
WEEKS = np.array([7 * SLOTS_A_DAY * k + b for k in range(1, 8) for b in NEIGHBOURS])
FOUR_WEEKS = WEEKS[: 4 * len(NEIGHBOURS)]  # of the series that are remembered so long
LEAST_CONTEXT = 10  # values: four periods with two or three neighbours each
CLIP = 50.0  # robust deviations beyond say no more


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
        places = position[:, None] - lags
        codes = window.codes[MEAN][m[:, None], places]
        valid = (codes != MISSING) & window.usable[m[:, None], places] & (places < HISTORY)
        values = np.where(valid, decode(codes).astype(np.float64), np.nan)
        out[:, row] = _quartiles(values, 3)
    return out[0], out[1], out[2]


def deviations(window: Window, m: NDArray[np.int64], slot: NDArray[np.int64]) -> Floats:
    """Every statistic at hot slots `slot` of meters `m` in robust deviations, (n,) → (statistics, n)."""
    lags = np.concatenate([[0], DAYS, WEEKS])
    usable = window.usable[m[:, None], HISTORY + slot[:, None] - lags]
    usable[:, 0] = True
    level = window.level[m][:, None]
    tables: dict[tuple[int, str], NDArray[np.int64]] = {}
    values = np.full((len(STATISTICS), len(m), len(lags)), np.nan)
    for row, statistic in enumerate(STATISTICS):
        reach = slice(0, 1 + len(DAYS) + len(WEEKS if statistic.series == MEAN else FOUR_WEEKS))
        places = LENGTHS[statistic.series] + slot[:, None] - lags[reach]
        raw, valid = _values(window, tables, statistic, m, places)
        if statistic.log:
            small = 1000.0 if statistic.series in (RUN, DEVIATION) else 0.02 * level
            raw = np.sign(raw) * np.log1p(np.abs(raw) / small)
        values[row, :, reach] = np.where(valid & usable[:, reach], raw, np.nan)
    floors = np.empty((len(STATISTICS), len(m)))
    for row, statistic in enumerate(STATISTICS):
        floors[row] = 0.1 if statistic.log else _floor(statistic, level[:, 0])
    days = _deviation(values[:, :, : 1 + len(DAYS)], floors)
    weeks = _deviation(np.concatenate([values[:, :, :1], values[:, :, 1 + len(DAYS) :]], axis=2), floors)
    sides = np.array([s.side for s in STATISTICS], np.float64)[:, None]
    return np.clip(np.fmin(days * sides, weeks * sides), -CLIP, CLIP)


def _floor(statistic: Statistic, level: Floats) -> Floats | float:
    if statistic.series == VOLTAGE:
        return 500.0  # half a volt, in millivolts
    if statistic.series == RESIDUAL:
        return 50.0  # a twentieth of the band's half width, in thousandths
    return 0.05 * level


def _values(
    window: Window,
    tables: dict[tuple[int, str], NDArray[np.int64]],
    statistic: Statistic,
    m: NDArray[np.int64],
    places: NDArray[np.int64],
) -> tuple[Floats, NDArray[np.bool_]]:
    """The statistic with its window ending at `places`, and where at least half of its slots are known."""
    w, k = statistic.window, statistic.series
    count = _table(window, tables, k, "count")
    width = count.shape[1]
    end = m[:, None] * width + places + 1
    inside = places + 1 >= w
    begin = np.where(inside, end - w, end)
    known = count.ravel()[end] - count.ravel()[begin]
    valid = inside & (2 * known >= w)
    if statistic.how in ("max", "min"):
        levels = w.bit_length() - 1
        table = _table(window, tables, k, f"{statistic.how}{levels}").ravel()
        pick = np.maximum if statistic.how == "max" else np.minimum
        wide = m[:, None] * (width - 1)
        ends = wide + places
        starts = np.where(inside, ends - w + (1 << levels), ends)
        code = pick(table[ends], table[starts])
        return decode(code.astype(np.int16)).astype(np.float64), valid & (np.abs(code) != -int(MISSING))
    table = _table(window, tables, k, statistic.how).ravel()
    return (table[end] - table[begin]) / np.maximum(known, 1), valid


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
    count = (~np.isnan(values)).sum(axis=-1)
    ordered = np.sort(values, axis=-1)  # NaN last
    safe = np.maximum(count, 1)

    def at(place: NDArray[np.int64]) -> Floats:
        return np.take_along_axis(ordered, place[..., None], axis=-1)[..., 0]

    middle = (at((safe - 1) // 2) + at(safe // 2)) / 2
    out = np.stack([middle, at(safe // 4), at((3 * safe) // 4 - (safe % 4 == 0))])
    out[:, count < least] = np.nan
    return out


def _deviation(values: Floats, floors: Floats) -> Floats:
    """(s, n, 1 + c) with the judged value first → (s, n): (value - median) / (robust spread + floor)."""
    middle, low, high = _quartiles(values[:, :, 1:], LEAST_CONTEXT)
    distance: Floats = (values[:, :, 0] - middle) / ((high - low) / 1.349 + floors)
    return distance
