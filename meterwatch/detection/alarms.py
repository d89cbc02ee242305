"""How alarms are counted against labelled faults: the one place where it is written down.

- Anomalous readings less than 1 h apart are one alarm.
- It finds a fault whose labelled span, widened at both ends by the larger of 10 % of its length and 30 minutes, it
  touches.
- An alarm that touches none costs one false alarm for each day, begun or whole, that it lasts. Of one that touches,
  24 h outside the faults' labelled spans are forgiven; each further day, begun or whole, costs one.
- The rate is per meter and month of 30.44 days of judged time outside the widened spans.
- The delay runs from the start of a fault to the first anomalous reading in its labelled span.

No point adjustment anywhere: it flatters random scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from meterwatch.detection.faults import Label

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

DAY_S = 86_400
MONTH_S = 30.44 * DAY_S
MERGE_S = 3_600
WIDEN_SHARE, WIDEN_S = 0.1, 1_800


@dataclass(frozen=True, slots=True)
class Scored:
    """One meter's scores with what is known of its faults."""

    at: Ints  # (n,) rising
    score: Floats  # (n,) NaN where not judged
    labels: Sequence[Label]
    cadence_s: int


@dataclass(frozen=True, slots=True)
class Counted:
    """Several meters' alarms at one threshold, counted."""

    found: NDArray[np.bool_]  # (faults,) in the order of meters and their labels
    delay_s: Floats  # (faults,) NaN where no reading in the labelled span was anomalous
    false_alarms: int
    months: float  # judged meter-months outside the widened spans

    @property
    def rate(self) -> float:
        """False alarms a meter and month; without quiet time 0 where there is none."""
        if self.months > 0:
            return self.false_alarms / self.months
        return float("inf") if self.false_alarms else 0.0

    @property
    def recall(self) -> float:
        """Share of faults found; NaN where there is none to find."""
        return float(self.found.mean()) if len(self.found) else float("nan")

    @property
    def precision(self) -> float:
        """Found faults among found faults and false alarms; NaN where there was no alarm."""
        hits = int(self.found.sum())
        return hits / (hits + self.false_alarms) if hits + self.false_alarms else float("nan")


def alarms(at: Ints, anomalous: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """First and last anomalous reading of each alarm."""
    times = at[anomalous]
    if not len(times):
        return times, times
    breaks = np.flatnonzero(np.diff(times) >= MERGE_S)
    return times[np.append(0, breaks + 1)], times[np.append(breaks, len(times) - 1)]


def widened(labels: Sequence[Label]) -> tuple[Floats, Floats]:
    """Starts and ends of the spans in which an alarm finds its fault."""
    start = np.array([label.start_at for label in labels], np.float64)
    end = np.array([label.end_at for label in labels], np.float64)
    more = np.maximum(WIDEN_SHARE * (end - start), WIDEN_S)
    return start - more, end + more


def quiet(at: Ints, labels: Sequence[Label]) -> NDArray[np.bool_]:
    """Which readings lie outside all widened spans."""
    start, end = widened(labels)
    begun = np.searchsorted(np.sort(start), at, side="right")
    ended = np.searchsorted(np.sort(end), at, side="left")
    outside: NDArray[np.bool_] = begun == ended
    return outside


def false_alarms(first: Ints, last: Ints, labels: Sequence[Label]) -> int:
    """What one meter's alarms cost."""
    start, end = widened(labels)
    touches = np.searchsorted(np.sort(start), last, side="right") > np.searchsorted(np.sort(end), first, side="left")
    outside = last - first - (_covered(last, labels) - _covered(first, labels))
    alone = np.maximum(np.ceil((last - first) / DAY_S), 1)
    beyond = np.maximum(np.ceil((outside - DAY_S) / DAY_S), 0)
    return int(np.where(touches, beyond, alone).sum())


def count(meters: Sequence[Scored], threshold: float) -> Counted:
    """Count all meters' alarms at a threshold."""
    found, delay, cost, months = [], [], 0, 0.0
    for one in meters:
        anomalous = one.score >= threshold
        cost += false_alarms(*alarms(one.at, anomalous), one.labels)
        months += quiet_months(one)
        times = one.at[anomalous]
        start, end = widened(one.labels)
        found.append(np.searchsorted(times, end, side="right") > np.searchsorted(times, start, side="left"))
        delay.append(_delays(times, one.labels))
    return Counted(
        np.concatenate(found) if found else np.zeros(0, np.bool_),
        np.concatenate(delay) if delay else np.zeros(0),
        cost,
        months,
    )


def quiet_months(one: Scored) -> float:
    """Months of judged readings outside the widened spans."""
    judged = one.at[np.isfinite(one.score)]
    return int(quiet(judged, one.labels).sum()) * one.cadence_s / MONTH_S


def _delays(times: Ints, labels: Sequence[Label]) -> Floats:
    start = np.array([label.start_at for label in labels], np.int64)
    end = np.array([label.end_at for label in labels], np.int64)
    place = np.searchsorted(times, start)
    first = np.append(times, np.iinfo(np.int64).max)[place]
    return np.where(first <= end, first - start, np.nan)


def _covered(times: Ints, labels: Sequence[Label]) -> Floats:
    """Seconds of labelled time before each moment; where faults overlap they count once."""
    spans = sorted((label.start_at, label.end_at) for label in labels)
    knots, seconds = [-np.inf], [0.0]
    for start, end in spans:
        begin = max(float(start), knots[-1])
        if end > begin:
            knots += [begin, float(end)]
            seconds += [seconds[-1], seconds[-1] + end - begin]
    return np.interp(times, knots[1:], seconds[1:]) if len(knots) > 1 else np.zeros(len(times))
