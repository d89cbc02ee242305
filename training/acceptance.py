"""How long a lasting change is told, and when it is told no more: what becomes of `acceptance_days`, measured.

A theft of two weeks should be told day after day; a heat pump, from one day on, should ring no more once the stated
time is over. Both are put into real readings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.fault_physics import Meter, Window
from meterwatch.detection.faults import inject_one
from training.series import Series, together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterwatch.detection.detector import Detector
    from meterwatch.detection.readings import Observation

DAY_S, HOUR_S = 86_400, 3_600
THEFT_DAYS, PUMP_DAYS = 14, 56
THEFTS = {0.3: 0.0, 0.4: 0.25, 0.5: 0.5, 0.6: 0.75}  # share that flows past the meter: severity
PUMPS_KW = (1.0, 1.5, 2.0)
STARTS = 3  # places in the series at which each theft begins
SETTLED_DAYS = 2  # before a heat pump


@dataclass(frozen=True, slots=True)
class Change:
    """One lasting change as it was judged, day by day from its first reading on."""

    kind: str  # theft, heat pump
    size: float  # missing share, kW
    highest: tuple[float, ...]  # the day's highest score, NaN where none was judged
    threshold: float

    @property
    def told(self) -> list[int]:
        """The days, from 1, on which it was anomalous at least once."""
        return [day for day, score in enumerate(self.highest, start=1) if score >= self.threshold]


def changes(detector: Detector, known: Observation, series: Series) -> list[Change]:
    """Each change in a series that follows what is `known`; none that is longer than the series."""
    out = []
    first, end = int(series.at[0]) + SETTLED_DAYS * DAY_S, int(series.at[-1]) + 1
    latest = end - THEFT_DAYS * DAY_S
    for start in np.linspace(first, latest, STARTS).astype(np.int64).tolist() if latest >= first else []:
        for size, severity in THEFTS.items():
            lasts = THEFT_DAYS * DAY_S
            channels, _ = inject_one(series.at, series.channels, "theft", start, 1, severity, duration_s=lasts)
            changed = Series(series.meter_id, series.at, channels)
            out.append(_judged(detector, known, changed, ("theft", size), start, THEFT_DAYS))
    if end - first >= PUMP_DAYS * DAY_S:
        for seed, kw in enumerate(PUMPS_KW):
            changed = heat_pump(series, first, kw, seed)
            out.append(_judged(detector, known, changed, ("heat pump", kw), first, PUMP_DAYS))
    return out


def heat_pump(series: Series, start: int, kw: float, seed: int) -> Series:
    """A load that runs a changing part of each hour from `start` on, behind no sub-meter."""
    first = int(np.searchsorted(series.at, start))
    channels = series.channels.copy()
    meter = Meter.of(series.at, channels)
    window = Window(series.at[first:], channels[:, first:], channels[:, max(first - 1, 0)].copy(), meter)
    hour = window.at // HOUR_S - window.at[0] // HOUR_S
    runs = np.random.default_rng(seed).uniform(0.25, 0.75, int(hour[-1]) + 1)[hour]
    window.add_load(kw * (window.at % HOUR_S < runs * HOUR_S), 0.95, None)
    window.round_off()
    return Series(series.meter_id, series.at, channels)


def figures(found: Sequence[Change]) -> dict[str, float]:
    """Of thefts the share of days on which they were told, by size; of heat pumps the last day on which one was."""
    out = {}
    for size in THEFTS:
        told = [len(change.told) / THEFT_DAYS for change in found if (change.kind, change.size) == ("theft", size)]
        if told:
            out[f"lasting_theft_{size:.0%}_days_told".replace("%", "")] = float(np.mean(told))
    for kw in PUMPS_KW:
        last = [max(change.told, default=0) for change in found if (change.kind, change.size) == ("heat pump", kw)]
        if last:
            out[f"lasting_heat_pump_{kw:g}_kw_last_day"] = float(max(last))
    return out


def rows(found: Sequence[Change]) -> list[list[str]]:
    """Kind, size, day from 1 and the highest score of that day, the mean over places."""
    out = []
    for kind, size in dict.fromkeys((change.kind, change.size) for change in found):
        days = np.array([change.highest for change in found if (change.kind, change.size) == (kind, size)])
        out += [[kind, f"{size:g}", str(day), f"{score:.6f}"] for day, score in enumerate(days.mean(axis=0), start=1)]
    return out


def _judged(
    detector: Detector, known: Observation, series: Series, what: tuple[str, float], start: int, days: int
) -> Change:
    score = detector.observe([series.meter_id], known.states, known.profiles, together([series])).verdicts.score
    edges = np.searchsorted(series.at, start + DAY_S * np.arange(days + 1))
    parts = (score[edges[day] : edges[day + 1]] for day in range(days))
    highest = tuple(float(np.nanmax(part)) if np.isfinite(part).any() else float("nan") for part in parts)
    return Change(*what, highest, detector.params.threshold)
