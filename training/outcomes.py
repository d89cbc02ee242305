"""What an evaluation found, fault by fault and day by day, so that two models are compared in pairs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.alarms import DAY_S, Scored, alarms, false_alarms
from meterwatch.detection.errors import DataError
from meterwatch.detection.evaluation import recall_at_budget
from training.checks import cadence_s

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from training.judged import Judged


@dataclass(frozen=True, slots=True)
class Outcomes:
    """One model on the copies of the evaluation months."""

    evaluated_on: str  # names readings, faults and budget
    faults: list[list[str | int]]  # copy, kind, unix seconds of the first reading
    found: list[bool]  # a fault each, at the budget
    false_alarms: list[int]  # a day of each copy, at the threshold that the model judges with

    @property
    def kinds(self) -> list[str]:
        """Each fault's kind."""
        return [str(kind) for _, kind, _ in self.faults]

    def write(self, path: Path) -> None:
        """The same bytes for the same outcomes."""
        path.write_text(json.dumps(asdict(self), sort_keys=True) + "\n")

    @classmethod
    def read(cls, path: Path) -> Outcomes:
        """The inverse of `write`.

        Raises:
            DataError: it cannot be read.
        """
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{path} holds no outcomes ({error}); `dvc repro -f evaluate` makes them again") from error


def outcomes(copies: Sequence[Judged], on: str, *, budget: float, threshold: float) -> Outcomes:
    """Count one model's alarms.

    Args:
        copies: as the model judged them.
        on: names readings, faults and budget.
        budget: false alarms a meter and month at which a fault counts as found.
        threshold: what the model judges with.
    """
    cadence = cadence_s(copies[0].series.at)
    scored = [Scored(copy.series.at, copy.verdicts.score, copy.labels, cadence) for copy in copies]
    found = recall_at_budget(scored, budget).counted.found
    faults: list[list[str | int]] = [
        [number, label.kind, label.start_at] for number, copy in enumerate(copies) for label in copy.labels
    ]
    days = np.concatenate([_a_day(one, threshold) for one in scored])
    return Outcomes(on, faults, found.tolist(), days.tolist())


def _a_day(one: Scored, threshold: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """False alarms that began on each day."""
    cost = np.zeros(int(one.at[-1] // DAY_S - one.at[0] // DAY_S) + 1, np.int64)
    first, last = alarms(one.at, one.score >= threshold)
    for i in range(len(first)):
        cost[(first[i] - one.at[0] // DAY_S * DAY_S) // DAY_S] += false_alarms(
            first[i : i + 1], last[i : i + 1], one.labels
        )
    return cost
