"""`Detector.observe` with all its models: readings a second in bulk, one reading at a time, a public peer beside it.

    python -m benchmarks.detector [--bundle DIR] [--out benchmarks/results/detector.txt]

Bulk is one process that judges a meter's minutes a call, and half-hourly meters a call. One reading at a time is what
a live meter costs: its state is decoded, one reading judged, the state encoded. The peer is scikit-learn's
IsolationForest (`score_samples`) on the seven channels of the same readings, fitted on the same history, as the
original project used it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.ensemble import IsolationForest

from benchmarks._report import RESULTS, keep, machine
from meterwatch.detection.detector import Detector
from meterwatch.detection.readings import Readings
from training import prepared
from training.native import BUNDLE
from training.series import Series, together

if TYPE_CHECKING:
    from collections.abc import Callable

DAY_S = 86_400
BULK_DAYS, HALF_HOURLY, HISTORY_DAYS = 120, 20, 60
ONE_BY_ONE = 1500
ROUNDS = 3


def half_hourly(series: Series) -> Series:
    """The same meter read every half hour."""
    keep = np.flatnonzero(series.at % 1800 == 0)
    alone = np.full((7, len(keep)), np.nan)
    alone[0] = series.channels[0, keep]
    return Series(series.meter_id, series.at[keep], alone)


def rates_of(rounds: int, run: Callable[[], int]) -> list[float]:
    """Readings a second of each round, rising."""
    out = []
    for _ in range(rounds):
        start = time.perf_counter()
        readings = run()
        out.append(readings / (time.perf_counter() - start))
    return sorted(out)


def one_by_one(detector: Detector, history: Series, live: Series) -> list[float]:
    """Milliseconds of each reading judged alone, rising."""
    known = detector.observe(["m"], [None], [None], together([history]))
    state, profile = known.states[0], known.profiles[0]
    meter, out = np.zeros(1, np.int64), []
    for i in range(len(live.at)):
        reading = Readings(meter, live.at[i : i + 1], live.channels[:, i : i + 1])
        start = time.perf_counter()
        seen = detector.observe(["m"], [state], [profile], reading)
        out.append(1000 * (time.perf_counter() - start))
        state, profile = seen.states[0], seen.profiles[0] or profile
    return sorted(out[len(out) // 10 :])


def _rates(rising: list[float]) -> str:
    return f"{rising[len(rising) // 2]:>10,.0f} readings/s ({rising[0]:,.0f} to {rising[-1]:,.0f})"


def _times(rising: list[float]) -> str:
    return f"p50 {rising[len(rising) // 2]:.2f} ms, p99 {rising[int(len(rising) * 0.99)]:.2f} ms"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    parser.add_argument("--out", type=Path, default=RESULTS / "detector.txt")
    told = parser.parse_args()
    where = machine()
    detector, series = Detector.load(told.bundle), prepared.read().series
    start = int(series.at[0])
    minutes = series.between(start, start + BULK_DAYS * DAY_S)
    seldom = half_hourly(minutes)
    others = [Series(f"m{i}", seldom.at, seldom.channels) for i in range(HALF_HOURLY)]

    def observe(meters: list[Series]) -> int:
        nothing: list[Any] = [None] * len(meters)
        detector.observe([one.meter_id for one in meters], nothing, nothing, together(meters))
        return sum(len(one.at) for one in meters)

    history = series.between(start, start + HISTORY_DAYS * DAY_S)
    live = series.between(start + HISTORY_DAYS * DAY_S, start + HISTORY_DAYS * DAY_S + ONE_BY_ONE * 60)
    known = np.isfinite(history.channels).all(axis=0)
    forest = IsolationForest(random_state=1).fit(history.channels[:, known].T)
    rows = minutes.channels[:, np.isfinite(minutes.channels).all(axis=0)].T
    alone = []
    for row in rows[:200]:
        begin = time.perf_counter()
        forest.score_samples(row[None])
        alone.append(1000 * (time.perf_counter() - begin))
    bulk, many = rates_of(ROUNDS, lambda: observe([minutes])), rates_of(ROUNDS, lambda: observe(others))
    peer = rates_of(1, lambda: len(forest.score_samples(rows)))
    single = one_by_one(detector, history, live)
    lines = [
        f"{where}; one process",
        f"bulk: median of {ROUNDS} rounds (least to most)",
        "",
        f"observe, minutes of one meter, {BULK_DAYS} days     {_rates(bulk)}",
        f"observe, {HALF_HOURLY} half-hourly meters, {BULK_DAYS} days    {_rates(many)}",
        f"IsolationForest, the same minutes          {_rates(peer)}",
        f"observe, one reading a call                {_times(single)}",
        f"IsolationForest, one reading a call        {_times(sorted(alone))}",
    ]
    keep("\n".join(lines), told.out)


if __name__ == "__main__":
    main()
