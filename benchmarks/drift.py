"""How often ordinary days are called drift, and how soon a wrong channel is: `python -m benchmarks.drift`.

After `dvc repro`, whose bundle is made of January to August 2007: the shipped year's days from September on are
compared with its reference as the service compares them, the last 24 hours each hour, beside the mean power of the
weeks before. Then voltage is raised, or power alone, from the midnight of some days on. The figures go to
benchmarks/results/drift.txt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks._report import RESULTS, keep, machine
from meterwatch.detection import drift
from meterwatch.detection.detector import Detector
from meterwatch.detection.drift import DAY_S, FULL_HOURS, HOUR_S, LEVEL_DAYS, SIGNALS
from meterwatch.detection.readings import SCORED
from tests.households import YEAR
from training.meter_files import meters, read_frame
from training.native import BUNDLE
from training.series import Series, together

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SEPTEMBER, DECEMBER = (int(np.datetime64(f"2007-{month}-01", "s").astype(int)) for month in ("09", "12"))
TRIED = 8  # days on which each channel is made wrong
WRONG = {"voltage 5 V higher": (2, 5.0, 1.0, "voltage_v"), "power 50 % higher": (0, 0.0, 1.5, drift.POWER_FACTOR)}


def beyond(held: dict[str, drift.Reference], series: Series, score: Floats, end: int) -> set[str] | None:
    """The signals that are farther than usual in the 24 hours before a time; None where too much is missing."""
    day = (end - DAY_S) // DAY_S * DAY_S
    rows, before = (
        slice(*np.searchsorted(series.at, span)) for span in ((end - DAY_S, end), (day - LEVEL_DAYS * DAY_S, day))
    )
    channels = series.channels[:, rows]
    if len(np.unique(series.at[rows][np.isfinite(channels[0])] // HOUR_S)) < FULL_HOURS:
        return None
    values = drift.signals(channels, float(np.nanmean(series.channels[0, before])), score[rows])
    told = zip(SIGNALS, values, strict=True)
    return {name for name, one in told if float(held[name].distance(held[name].counts(one))) > held[name].usual}


def ordinary(held: dict[str, drift.Reference], series: Series, score: Floats) -> Iterator[str]:
    """Of each signal, the days on which one of the hourly looks was beyond."""
    days: dict[int, set[str]] = {}
    for end in range(SEPTEMBER + DAY_S, int(series.at[-1]) + 2, HOUR_S):
        if (found := beyond(held, series, score, end)) is not None:
            days.setdefault((end - 1) // DAY_S * DAY_S, set()).update(found)
    december = [found for day, found in days.items() if day >= DECEMBER]
    yield f"{'days beyond usual, of':24}{len(december):>5} in December{len(days):>5} from September on"
    for name in SIGNALS:
        late, every = (sum(name in found for found in some) for some in (december, days.values()))
        yield f"{name:24}{late:>5}{every:>17}"


def told_after(held: dict[str, drift.Reference], series: Series, score: Floats, what: str) -> str:
    """The hours until a wrong channel is told, for each day that is tried."""
    channel, more, times, signal = WRONG[what]
    hours = []
    for first in np.linspace(SEPTEMBER, int(series.at[-1]) - 2 * DAY_S, TRIED).astype(np.int64) // DAY_S * DAY_S:
        wrong = series.channels.copy()
        wrong[channel, series.at >= first] = wrong[channel, series.at >= first] * times + more
        changed = Series(series.meter_id, series.at, wrong)
        looks = (hour for hour in range(1, 25) if signal in (beyond(held, changed, score, first + hour * HOUR_S) or ()))
        hours.append(str(next(looks, "never")))
    return f"{what}, {TRIED} days tried: told that day by {signal} after hours {', '.join(hours)}"


def main() -> None:
    """Measure, print, keep."""
    where, detector, held = machine(), Detector.load(BUNDLE), drift.load(BUNDLE)
    if held is None:
        raise SystemExit(f"{BUNDLE} has no reference: run `dvc repro`")
    (series,) = meters(read_frame(YEAR), "UTC").series
    verdicts = detector.observe([series.meter_id], [None], [None], together([series])).verdicts
    score = np.where(verdicts.status == SCORED, verdicts.score, np.nan)
    lines = [where, "", *ordinary(held, series, score), ""]
    lines += [told_after(held, series, score, what) for what in WRONG]
    keep("\n".join(lines), RESULTS / "drift.txt")


if __name__ == "__main__":
    main()
