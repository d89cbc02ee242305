"""The long comparison: public detectors, ablations and several seeds, on the same faults and in the same MLflow view.

`make study` runs it after `dvc repro`: it judges with the bundle that is there. Ablations are of the slow part, which
injected faults teach: its statistics without teaching, and the weigher with one kind left out of teaching, which is
then looked for.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from meterwatch.detection.alarms import Scored
from meterwatch.detection.detector import Detector
from meterwatch.detection.evaluation import recall_at_budget, recall_at_budgets
from meterwatch.detection.forest import Trees
from meterwatch.detection.novelty import novel_from_start
from meterwatch.detection.rounds import Models, Trace
from training import comparison, prepared, seed_3sigma, tracking
from training.baselines import BASELINES
from training.checks import cadence_s
from training.evaluate import CURVE_BUDGETS, OURS, detectors, figures_of
from training.judged import judge_copies, known_before
from training.native import BUNDLE
from training.params import load
from training.stages import command
from training.teaching import Copy, Rows, copies, rows, teach, weigh
from training.traces import observe_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from training.judged import Judged
    from training.params import Calibrate
    from training.prepared import Prepared

    Floats = NDArray[np.float64]

SEEDS = 3  # independent sets of faults
REPORT = Path("benchmarks/results/study.json")
UNTAUGHT = "statistics-untaught"


def without_teaching(trace: Trace) -> Floats:
    """The largest statistic of each judged slot: nothing was weighed."""
    largest: Floats = np.nan_to_num(np.concatenate(trace.deviations), nan=-np.inf).max(axis=1).astype(np.float64)
    return largest


def slots_scored(copies: Sequence[Judged], score: Callable[[Trace], Floats], kind: str | None = None) -> list[Scored]:
    """Slow scores of each copy; `kind`: only its faults are looked for, the others are in no one's way."""
    out = []
    for copy in copies:
        at = np.concatenate(copy.trace.slot_at)
        told = novel_from_start(np.zeros(len(at), np.int64), at, score(copy.trace))
        if kind is None:
            out.append(Scored(at, told, copy.labels, cadence_s(at)))
            continue
        others = [label for label in copy.labels if label.kind != kind]
        clear = ~np.any([(at >= one.start_at) & (at <= one.end_at + 86_400) for one in others] or [at < 0], axis=0)
        mine = [label for label in copy.labels if label.kind == kind]
        out.append(Scored(at[clear], told[clear], mine, cadence_s(at)))
    return out


def left_out(data: Prepared, detector: Detector, told: Calibrate, judged: Sequence[Judged]) -> dict[str, float]:
    """Kind → share found by a weigher that was never shown it."""
    judge_only = Models(sequence=detector.models.sequence, forest=Trees(BUNDLE / "forest.treelite", -1.0))
    blank = Detector(detector.params, judge_only)
    train = [data.part("train")]
    ordinary = rows(observe_all(blank, train), [[]])
    shown = copies(blank, train, faults=told.faults, per_month=told.faults_per_month, seed=told.seed)
    found = {}
    for kind in sorted({label.kind for copy in shown for labels in copy.labels for label in labels}):
        taught = [without(copy, kind) for copy in shown]
        model = teach([ordinary, *taught], iterations=told.iterations, seed=told.seed)
        scored = slots_scored(judged, partial(_weighed, model), kind)
        if any(one.labels for one in scored):
            found[kind] = recall_at_budget(scored).counted.recall
    return found


def _weighed(model: Any, trace: Trace) -> Floats:  # noqa: ANN401 - scikit-learn has no types
    return weigh(model, rows(trace, [[]]).features)


def without(copy: Copy, kind: str) -> Rows:
    """What a copy of one meter teaches when one kind of fault is left out."""
    part = copy.faulty()
    keep = np.ones(len(part.at), np.bool_)
    for label in copy.labels[0]:
        if label.kind == kind:
            keep &= (part.at < label.start_at) | (part.at > label.end_at)
    return part.where(keep)


def main() -> None:
    """Run the study."""
    told, data = load(), prepared.read()
    detector = Detector.load(BUNDLE)
    budget = told.evaluate.budget
    history = data.part("train", "calibrate")
    asked = {"study": {"seeds": SEEDS, "copies": told.evaluate.copies, "budget": budget}}
    with tracking.stage("study", asked, {**data.tags, "bundle_sha256": detector.bundle_hash}) as run:
        run.uses(data, "evaluate")
        baseline = seed_3sigma.fit(data.part("train").channels[0], told.seed_3sigma)
        scored: dict[str, list[Scored]] = {}
        by_seed: dict[str, list[float]] = {}
        judged: list[Judged] = []
        known = known_before(detector, data)
        for seed in range(1, SEEDS + 1):
            other = told.evaluate.model_copy(update={"seed": told.evaluate.seed + 1000 * seed})
            faulty = judge_copies(detector, known, data, other)
            judged += faulty
            mine = detectors(faulty, baseline)
            mine[UNTAUGHT] = slots_scored(faulty, without_teaching)
            for name, answer in BASELINES.items():
                print(f"study: seed {seed} of {SEEDS}, {name}", flush=True)
                answers = [answer(history, copy.series) for copy in faulty]
                mine[name] = [
                    Scored(at, score, copy.labels, cadence_s(at))
                    for (at, score), copy in zip(answers, faulty, strict=True)
                ]
            for name, meters in mine.items():
                scored.setdefault(name, []).extend(meters)
                by_seed.setdefault(name, []).append(recall_at_budget(meters, budget).counted.recall)
        shipped = {OURS: detector.params.threshold, seed_3sigma.NAME: told.seed_3sigma.k}
        found = figures_of(scored, shipped, budget)
        counts = Counter(label.kind for copy in judged for label in copy.labels)
        curves = {
            name: (CURVE_BUDGETS, [at.counted.recall for at in recall_at_budgets(meters, CURVE_BUDGETS)])
            for name, meters in scored.items()
        }
        comparison.log(run, found, curves, counts, budget)
        print("study: each kind left out of teaching", flush=True)
        unseen = left_out(data, detector, told.calibrate, judged)
        run.metrics({f"left_out_recall/{kind}": value for kind, value in unseen.items()})
        report = {"detectors": found, "recall_by_seed": by_seed, "left_out_of_teaching": unseen}
        REPORT.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")
        run.file(REPORT, "reports")
        for name, values in found.items():
            spread = ", ".join(f"{value:.1%}" for value in by_seed[name])
            print(f"study: {name:20} finds {values['recall']:.1%} of {sum(counts.values())} (by seed {spread})")


if __name__ == "__main__":
    command(main)
