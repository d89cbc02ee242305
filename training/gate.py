"""The gate: a challenger judges only where it is not worse than the champion on the same faults and days.

The champion is judged again, by the same code on the same copies, so both answers come in pairs. A paired bootstrap
over faults (recall at the budget, overall and of each kind) and over days (false alarms as shipped) gives the chance
that the challenger is worse by more than a margin; more than `risk` of it refuses. The champion may have been trained
on days that are evaluated here, which favours it.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.detector import Detector
from meterwatch.detection.errors import BundleError, DataError
from training.judged import evaluated_on, judge_copies, known_before
from training.outcomes import outcomes
from training.series import together

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from meterwatch.storage.models import ModelVersion
    from training.outcomes import Outcomes
    from training.params import Evaluate, Register
    from training.prepared import Prepared

    Floats = NDArray[np.float64]

DAYS_A_MONTH = 30.44
WEEK_S = 7 * 86_400
ROUNDS = 5  # of timing, in turns, the best of each counts


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison. `worse` is how much worse the challenger is, in the measure's own unit."""

    name: str
    champion: float
    challenger: float
    worse: float
    low: float  # 90 % interval of `worse`
    high: float
    margin: float
    chance: float  # that it is worse by more than the margin
    passed: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a challenger may judge, why, and the comparisons."""

    passed: bool
    why: str
    checks: list[Check] = field(default_factory=list)

    def to_json(self) -> str:
        """The comparisons as a JSON list, rounded."""
        rows = [{name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(one).items()}
                for one in self.checks]  # fmt: skip
        return json.dumps(rows)

    def table(self) -> str:
        """The comparisons in Markdown."""
        if not self.checks:
            return ""
        rows = [
            f"| {one.name} | {one.champion:.3f} | {one.challenger:.3f} | {one.worse:+.3f} ({one.low:+.3f} to "
            f"{one.high:+.3f}) | {one.margin:g} | {one.chance:.0%} | {'passed' if one.passed else '**refused**'} |"
            for one in self.checks
        ]
        head = "| check | champion | challenger | worse by (90 %) | margin | chance of more | |"
        return "\n".join([head, "|---" * 7 + "|", *rows]) + "\n"


def decide(
    challenger: Detector, ours: Outcomes, champion: ModelVersion | None, data: Prepared, asked: Evaluate, told: Register
) -> Decision:  # fmt: skip
    """Compare a challenger with the version that judges now.

    Args:
        challenger: the new model.
        ours: what stage `evaluate` found of it.
        champion: the version that judges; None where there is none.
        data: the readings.
        asked: how they were filled with faults.
        told: the margins.

    Raises:
        DataError: `ours` is of other readings or faults than these.
    """
    if champion is None:
        return Decision(passed=True, why="the first version: there was no champion to compare with")
    try:
        before = _proven(champion)
    except BundleError as error:
        return Decision(passed=True, why=f"champion {champion.version} cannot be judged again ({error})")
    copies = judge_copies(before, known_before(before, data), data, asked)
    on = evaluated_on(copies, asked.budget)
    if on != ours.evaluated_on:
        raise DataError("data/reports/outcomes.json is of other readings; `dvc repro -f evaluate` makes it again")
    theirs = outcomes(copies, on, budget=asked.budget, threshold=before.params.threshold)
    checks = [*compare(theirs, ours, told), _speed(before, challenger, data, told.slower)]
    refused = [one for one in checks if not one.passed]
    overall = checks[0]
    fact = f"recall {overall.challenger:.3f} against {overall.champion:.3f} of version {champion.version}"
    if refused:
        return Decision(passed=False, why=f"{fact}; worse: {', '.join(one.name for one in refused)}", checks=checks)
    return Decision(passed=True, why=f"{fact}; not worse in any of {len(checks)} checks", checks=checks)


def compare(champion: Outcomes, challenger: Outcomes, told: Register) -> list[Check]:
    """The paired bootstrap, the same numbers for the same outcomes."""
    rng = np.random.default_rng(told.seed)
    before, now = (np.array(one.found, np.float64) for one in (champion, challenger))
    kinds = np.array(challenger.kinds)
    checks = [_paired("recall", before, now, before - now, told.margin, told, rng)]
    for kind in np.unique(kinds):
        mine = kinds == kind
        checks.append(_paired(f"recall of {str(kind).replace('_', ' ')}", before[mine], now[mine],
                              before[mine] - now[mine], told.kind_margin, told, rng))  # fmt: skip
    before, now = (DAYS_A_MONTH * np.array(one.false_alarms, np.float64) for one in (champion, challenger))
    return [
        *checks,
        _paired("false alarms a month as shipped", before, now, now - before, told.alarm_margin, told, rng),
    ]


def _paired(
    name: str, before: Floats, now: Floats, worse: Floats, margin: float, told: Register, rng: np.random.Generator
) -> Check:  # fmt: skip
    drawn = worse[rng.integers(0, len(worse), (told.resamples, len(worse)))].mean(axis=1)
    chance = float((drawn > margin + 1e-9).mean())
    low, high = np.quantile(drawn, [0.05, 0.95]).tolist()
    return Check(name, float(before.mean()), float(now.mean()), float(worse.mean()), low, high, margin, chance,
                 chance <= told.risk)  # fmt: skip


def _speed(champion: Detector, challenger: Detector, data: Prepared, slower: float) -> Check:
    """Seconds for a week of readings, measured in turns, so that a busy machine slows both."""
    months = data.part("evaluate")
    week = together([months.between(int(months.at[0]), int(months.at[0]) + WEEK_S)])
    took: dict[Detector, list[float]] = {champion: [], challenger: []}
    for _ in range(ROUNDS):
        for detector, seconds in took.items():
            begun = time.perf_counter()
            detector.observe(["m"], [None], [None], week)
            seconds.append(time.perf_counter() - begun)
    before, now = min(took[champion]), min(took[challenger])
    worse = now / before - 1
    passed = worse <= slower
    return Check("seconds for a week of readings", before, now, worse, worse, worse, slower, float(not passed), passed)


def _proven(champion: ModelVersion) -> Detector:
    detector = Detector.load(champion.bundle_dir)
    if champion.bundle_sha256 not in (None, detector.bundle_hash):
        raise BundleError("another bundle was registered")
    return detector
