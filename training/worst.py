"""What a model got most wrong, and how well its return periods hold: what one looks at before believing a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from meterwatch.detection.alarms import alarms, count, quiet_months
from meterwatch.detection.alarms import false_alarms as cost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from meterwatch.detection.alarms import Scored
    from training.judged import Judged

    Floats = NDArray[np.float64]

MERGING = -1.25  # below, alarms run into each other and their number says nothing
SHOWN = 6  # episodes of each sort
LEVELS = np.arange(-2.0, 2.01, 0.25)  # thresholds, log10 of months


class Episode(NamedTuple):
    """A stretch of a judged copy."""

    judged: Judged
    start_at: int
    end_at: int
    title: str


def misses(copies: Sequence[Judged], found: NDArray[np.bool_]) -> list[Episode]:
    """The most severe faults that were not found, in the order of severity; `found` has an entry a fault."""
    faults = [(copy, label) for copy in copies for label in copy.labels]
    missed = [one for one, hit in zip(faults, found.tolist(), strict=True) if not hit]
    missed.sort(key=lambda one: -one[1].severity)
    return [
        Episode(copy, label.start_at, label.end_at,
                f"{label.kind.replace('_', ' ')}, severity {label.severity:.2f} of 1")
        for copy, label in missed[:SHOWN]
    ]  # fmt: skip


def false_alarms(clean: Judged, threshold: float) -> list[Episode]:
    """The alarms of ordinary months with the highest scores; where there is none, what came nearest to it."""
    at, score = clean.series.at, clean.verdicts.score
    none = not (score >= threshold).any()
    first, last = alarms(at, score >= (MERGING if none else threshold))
    peaks = [float(np.nanmax(score[(at >= a) & (at <= b)])) for a, b in zip(first, last, strict=True)]
    order = np.argsort([-peak for peak in peaks])[:SHOWN].tolist()
    said = f" is below the threshold, {threshold:.2f}" if none else ""
    return [Episode(clean, int(first[i]), int(last[i]), f"score {peaks[i]:.2f}{said}") for i in order]


def calibration(ordinary: Scored) -> tuple[Floats, Floats]:
    """Alarms a month that a threshold promises, and those that ordinary months raise at it."""
    months = quiet_months(ordinary)
    levels = LEVELS[LEVELS >= MERGING]
    raised = [cost(*alarms(ordinary.at, ordinary.score >= level), []) / months for level in levels]
    return 10.0**-levels, np.array(raised)


def precision_and_recall(copies: Sequence[Scored]) -> dict[str, tuple[Floats, Floats]]:
    """Kind → recall and precision over thresholds: found faults among those and all false alarms."""
    kinds = np.array([label.kind for one in copies for label in one.labels])
    counted = [count(copies, level) for level in LEVELS]
    out = {}
    for kind in np.unique(kinds).tolist():
        hits = np.array([one.found[kinds == kind].sum() for one in counted], np.float64)
        wrong = np.array([one.false_alarms for one in counted])
        known = hits + wrong > 0
        out[str(kind)] = hits[known] / (kinds == kind).sum(), hits[known] / (hits + wrong)[known]
    return out
