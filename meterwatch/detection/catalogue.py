"""The statistics there are: of which series, over how long, on which side they are suspicious, in what words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meterwatch.detection.slots import (
    DEVIATION,
    MAX,
    MEAN,
    MIN,
    MISMATCH,
    REACTIVE,
    RESIDUAL,
    REST,
    RUN,
    VOLTAGE,
)


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
            VOLTAGE: "voltage",
            MISMATCH: "mismatch",
            RESIDUAL: "residual",
            REACTIVE: "reactive",
        }[series]
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
    add(REACTIVE, "mean", (1, 2, 4, 8, 16, 48, 96), 1, "more reactive power than usual", log=False)
    add(REACTIVE, "mean", (4, 16, 96), -1, "less reactive power than usual")
    return tuple(rows)


STATISTICS = _catalogue()
SLOW_SERIES_ONLY = np.array([s.series != RESIDUAL for s in STATISTICS])  # what there is before a sequence model
