"""Stage `evaluate`: how much is found for how many false alarms, beside the baseline and each part alone.

The evaluation months are copied, each copy is filled with other faults, and every detector judges the same copies.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.alarms import Scored
from meterwatch.detection.detector import Detector
from meterwatch.detection.errors import DataError
from meterwatch.detection.evaluation import coverage, pinball, recall_at_budgets, summary
from training import acceptance, comparison, confusion, figures, prepared, seed_3sigma, tracking, worst
from training.checks import cadence_s
from training.judged import evaluated_on, judge, judge_copies, known_before
from training.native import BUNDLE
from training.outcomes import outcomes
from training.params import load
from training.stages import command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from training.judged import Judged

    Floats = NDArray[np.float64]

REPORTS = Path("data/reports")
EVALUATION = REPORTS / "evaluation.json"  # every figure of every detector
OUTCOMES = REPORTS / "outcomes.json"  # ours, fault by fault and day by day, for the gate
METRICS = REPORTS / "metrics"  # the few that one compares, a file a detector: `dvc metrics show` makes them rows
PLOTS = REPORTS / "plots"
MADE = ("kinds.csv", "lasting.csv", "recall_by_budget.csv", "recall_by_kind.csv")  # of the plots, by this stage
COMPARED = ("recall", "false_alarms_a_month", "precision", "delay_h", "vus_pr", "shipped_recall",
            "shipped_false_alarms_a_month", "coverage", "ordinary_false_alarms_a_month", "kind_right")  # fmt: skip
OURS = "meterwatch"
QUANTILES = {"lower_kw": 0.025, "expected_kw": 0.5, "upper_kw": 0.975}
CURVE_BUDGETS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_RENAMED = {"rate": "false_alarms_a_month", "shipped_rate": "shipped_false_alarms_a_month"}  # with their unit
_DIGITS = 6


def detectors(copies: Sequence[Judged], baseline: seed_3sigma.Seed) -> dict[str, list[Scored]]:
    """What each detector says of each copy: the whole, its parts alone, and the baseline."""
    cadence = cadence_s(copies[0].series.at)
    out: dict[str, list[Scored]] = {OURS: [], "forest": [], "weigher": [], "sequence": [], seed_3sigma.NAME: []}
    for copy in copies:
        slots, readings = np.concatenate(copy.trace.slot_at), np.concatenate(copy.trace.reading_at)
        out[OURS].append(Scored(copy.series.at, copy.verdicts.score, copy.labels, cadence))
        for name, values in (("forest", copy.trace.forest), ("weigher", copy.trace.weighed)):
            out[name].append(Scored(slots, np.concatenate(values), copy.labels, cadence_s(slots)))
        out["sequence"].append(Scored(readings, np.abs(np.concatenate(copy.trace.residual)), copy.labels, cadence))
        score = baseline.score(copy.series.channels[0])
        out[seed_3sigma.NAME].append(Scored(copy.series.at, score, copy.labels, cadence))
    return out


def figures_of(
    scored: Mapping[str, Sequence[Scored]], shipped: Mapping[str, float], budget: float
) -> dict[str, dict[str, float]]:
    """Named figures by detector; those of the shipped threshold only where there is one."""
    out = {}
    for name, meters in scored.items():
        prefix = f"at_{budget:g}_"
        found = summary(meters, shipped.get(name, np.inf), [budget])
        out[name] = {
            _RENAMED.get(key.removeprefix(prefix), key.removeprefix(prefix)): round(float(value), _DIGITS)
            for key, value in found.items()
            if np.isfinite(value) and (name in shipped or not key.startswith("shipped_"))
        }
    return out


def expectation(clean: Judged, threshold: float) -> dict[str, float]:
    """How good the expected values are, and what alarms ordinary months raise."""
    actual, verdicts = clean.series.channels[0], clean.verdicts
    out = {"coverage": coverage(actual, verdicts.lower_kw, verdicts.upper_kw)}
    for name, quantile in QUANTILES.items():
        out[f"pinball_{name}"] = pinball(actual, getattr(verdicts, name), quantile)
    scored = Scored(clean.series.at, verdicts.score, [], cadence_s(clean.series.at))
    out["ordinary_false_alarms_a_month"] = summary([scored], threshold, [])["shipped_rate"]
    out["scored_share"] = float(np.isfinite(verdicts.score).mean())
    return {name: round(value, _DIGITS) for name, value in out.items() if np.isfinite(value)}


def main() -> None:
    """Run the stage."""
    told, data = load(), prepared.read()
    detector = Detector.load(BUNDLE)
    asked = {"evaluate": told.evaluate.model_dump(), "seed_3sigma": told.seed_3sigma.model_dump()}
    with tracking.stage("evaluate", asked, {**data.tags, "bundle_sha256": detector.bundle_hash}) as run:
        run.uses(data, "evaluate")
        known = known_before(detector, data)
        clean, copies = (
            judge(detector, known, data.part("evaluate")),
            judge_copies(detector, known, data, told.evaluate),
        )
        counts = Counter(label.kind for copy in copies for label in copy.labels)
        if not counts:
            raise DataError(
                "no fault fits into the evaluation months: give more days, or raise evaluate.faults_per_month"
            )
        baseline = seed_3sigma.fit(data.part("train").channels[0], told.seed_3sigma)
        scored = detectors(copies, baseline)
        threshold, budget = detector.params.threshold, told.evaluate.budget
        found = figures_of(scored, {OURS: threshold, seed_3sigma.NAME: told.seed_3sigma.k}, budget)
        found[OURS] |= expectation(clean, threshold)
        lasting = acceptance.changes(detector, known, data.part("evaluate"))
        found[OURS] |= {name: round(value, _DIGITS) for name, value in acceptance.figures(lasting).items()}
        table = sum((confusion.told(copy.labels, copy.events) for copy in copies), Counter())
        found[OURS] |= {name: round(value, _DIGITS) for name, value in confusion.figures(table).items()}
        curves = {
            name: [at.counted.recall for at in recall_at_budgets(meters, CURVE_BUDGETS)]
            for name, meters in scored.items()
        }
        _tables(found, curves)
        outcomes(copies, evaluated_on(copies, budget), budget=budget, threshold=threshold).write(OUTCOMES)
        _write(PLOTS / "lasting.csv", ["kind", "size", "day", "score"], acceptance.rows(lasting))
        _write(PLOTS / "kinds.csv", ["injected", "told"], [list(pair) for pair in sorted(table.elements())])
        comparison.log(run, found, {name: (CURVE_BUDGETS, recall) for name, recall in curves.items()}, counts, budget)
        seed = scored[seed_3sigma.NAME][0].score > told.seed_3sigma.k
        for name, figure in comparison.scatters(clean, copies[0], seed).items():
            run.figure(figure, name)
        found_at = recall_at_budgets(scored[OURS], [budget])[0]
        ordinary = Scored(clean.series.at, clean.verdicts.score, [], cadence_s(clean.series.at))
        run.figure(figures.tail_calibration(*worst.calibration(ordinary)), "tail_calibration")
        run.figure(figures.precision_recall(worst.precision_and_recall(scored[OURS])), "precision_recall_by_kind")
        run.figure(figures.episodes(worst.misses(copies, found_at.counted.found), "Worst misses"), "worst_misses")
        run.figure(figures.episodes(worst.false_alarms(clean, found_at.threshold), "Worst false alarms"),
                   "worst_false_alarms")  # fmt: skip
        run.figure(figures.kinds_told(table), "kinds_told")
        run.figure(figures.lasting(acceptance.rows(lasting), threshold), "lasting_changes")
        for path in (EVALUATION, OUTCOMES, *sorted(PLOTS / name for name in MADE)):
            run.file(path, "reports")
        for name, values in found.items():
            print(f"evaluate: {name:12} finds {values['recall']:.1%} at {budget:g} false alarm a meter and month")


def _tables(found: Mapping[str, Mapping[str, float]], curves: Mapping[str, Sequence[float]]) -> None:
    """What `dvc metrics` and `dvc plots` show, and all of it for the next stage."""
    for folder in (METRICS, PLOTS):
        folder.mkdir(parents=True, exist_ok=True)
    EVALUATION.write_text(json.dumps({"detectors": found}, indent=1, sort_keys=True) + "\n")
    for name, values in found.items():
        few = {key: values[key] for key in COMPARED if key in values}
        (METRICS / f"{name}.json").write_text(json.dumps(few, indent=1) + "\n")
    by_name = {name: comparison.recalls(values) for name, values in found.items()}
    kinds = sorted(set().union(*by_name.values()))
    rows = [[kind, *(f"{by_name[name].get(kind, math.nan):.6f}" for name in found)] for kind in kinds]
    _write(PLOTS / "recall_by_kind.csv", ["kind", *found], rows)
    rows = [[f"{budget:g}", *(f"{curves[name][i]:.6f}" for name in found)] for i, budget in enumerate(CURVE_BUDGETS)]
    _write(PLOTS / "recall_by_budget.csv", ["false_alarms", *found], rows)


def _write(path: Path, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    path.write_text("\n".join(",".join(row) for row in (names, *rows)) + "\n")


if __name__ == "__main__":
    command(main)
