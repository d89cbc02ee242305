"""The evaluation months, filled with faults and judged: the same copies for every model that is compared.

What is judged goes through `Detector.observe`, from the state that the months before left.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meterwatch.detection.faults import inject_many
from meterwatch.detection.rounds import Trace
from training.series import Series, together

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meterwatch.detection.detector import Detector
    from meterwatch.detection.faults import Label
    from meterwatch.detection.readings import Event, Observation, Verdicts
    from training.params import Evaluate
    from training.prepared import Prepared


@dataclass(frozen=True, slots=True)
class Judged:
    """One copy of the evaluation months, judged."""

    series: Series
    labels: Sequence[Label]
    verdicts: Verdicts
    trace: Trace
    events: Sequence[Event]


def known_before(detector: Detector, data: Prepared) -> Observation:
    """What the detector knows of the meter when the evaluation months begin."""
    before = data.part("train", "calibrate")
    return detector.observe([before.meter_id], [None], [None], together([before]))


def judge(detector: Detector, known: Observation, series: Series, labels: Sequence[Label] = ()) -> Judged:
    """Judge readings of the evaluation months from what was known before them."""
    trace = Trace()
    seen = detector.observe([series.meter_id], known.states, known.profiles, together([series]), trace)
    return Judged(series, labels, seen.verdicts, trace, seen.events)


def judge_copies(detector: Detector, known: Observation, data: Prepared, told: Evaluate) -> list[Judged]:
    """The evaluation months, each copy filled with other faults."""
    return [judge(detector, known, series, labels) for series, labels in copies(data, told)]


def copies(data: Prepared, told: Evaluate) -> Iterator[tuple[Series, list[Label]]]:
    """The copies and their faults, the same for the same readings and parameters."""
    months = data.part("evaluate")
    for copy in range(told.copies):
        channels, labels = inject_many(
            months.at, months.channels, seed=told.seed + copy, per_month=told.faults_per_month
        )
        yield Series(months.meter_id, months.at, channels), labels


def evaluated_on(copies: Sequence[Judged], budget: float) -> str:
    """A hash of the readings, the faults in them and the budget: figures compare only where it is the same."""
    seen = hashlib.sha256(f"{budget:g}".encode())
    for copy in copies:
        seen.update(copy.series.at.tobytes())
        seen.update(copy.series.channels.tobytes())
        seen.update(repr(copy.labels).encode())
    return seen.hexdigest()
