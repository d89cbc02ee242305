"""What other thresholds would have done, from scores and labels: alarms counted as everywhere, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.alarms import MONTH_S, alarms, false_alarms, widened
from meterwatch.detection.intervals import byar, wilson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from meterwatch.detection.alarms import Scored
    from meterwatch.detection.faults import Label

STEPS = (-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)  # from the present threshold, log10 of months


@dataclass(frozen=True, slots=True)
class Candidate:
    """One threshold. What touches no event that was labelled real counts as a false alarm, whoever looked at it."""

    threshold: float
    false_alarms: int
    confirmed: int  # alarms among them that touch an event labelled a false alarm
    rate: float  # false alarms a meter and month, with its 95 % interval
    rate_low: float
    rate_high: float
    kept: int  # events labelled real that still reach the threshold
    share: float | None  # of them, with its 95 % interval; None where none is labelled
    share_low: float
    share_high: float


def candidates(
    meters: Sequence[Scored], wrong: Sequence[Sequence[Label]], months: float, thresholds: Sequence[float]
) -> list[Candidate]:  # fmt: skip
    """Count what each threshold would have meant.

    Args:
        meters: each meter's scores from the lowest threshold on; `labels` are its events that were labelled real.
        wrong: each meter's events that were labelled false alarms.
        months: judged meter-months, the events' among them.
        thresholds: log10 of months.
    """
    peaks = np.concatenate([np.zeros(0), *(_peaks(one) for one in meters)])
    spans = [widened(one.labels) for one in meters]
    quiet = max(months - sum(float((end - start).sum()) for start, end in spans) / MONTH_S, 1 / 30.44)
    found = []
    for threshold in thresholds:
        cost = confirmed = 0
        for one, false in zip(meters, wrong, strict=True):
            first, last = alarms(one.at, one.score >= threshold)
            cost += false_alarms(first, last, one.labels)
            confirmed += sum(bool(((first <= label.end_at) & (last >= label.start_at)).any()) for label in false)
        kept = int((peaks >= threshold).sum())
        low, high = (bound / quiet for bound in byar(cost))
        share = kept / len(peaks) if len(peaks) else None
        found.append(
            Candidate(threshold, cost, confirmed, cost / quiet, low, high, kept, share, *wilson(kept, len(peaks)))
        )
    return found


def lowest(found: Sequence[Candidate], budget: float) -> Candidate | None:
    """The lowest threshold that keeps within so many false alarms a meter and month; None where none does."""
    return next((one for one in sorted(found, key=lambda one: one.threshold) if one.rate <= budget), None)


def _peaks(one: Scored) -> NDArray[np.float64]:
    """The highest score of each labelled event; -inf where none of its scores reaches the lowest threshold."""
    parts = (np.searchsorted(one.at, [label.start_at, label.end_at + 1]) for label in one.labels)
    return np.array([one.score[low:high].max(initial=-np.inf) for low, high in parts])
