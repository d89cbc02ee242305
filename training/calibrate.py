"""Stage `calibrate`: injected faults teach how to weigh the statistics; quiet days give scores their meaning.

The weigher and the kinds are taught with faults of the project's own generator in training data. What a score means
is learned on days without faults that the scorer did not learn from: each block of the training days is scored by a
weigher of the other blocks, and the calibration days by the final one, so that a return period is not flattered.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from meterwatch.detection import drift
from meterwatch.detection.detector import Detector, seal
from meterwatch.detection.errors import DataError
from meterwatch.detection.forest import Trees
from meterwatch.detection.novelty import novel_from_start
from meterwatch.detection.rounds import Models, Trace
from meterwatch.detection.sequence import SequenceModel
from meterwatch.detection.thresholds import FAST_GIVES, Tail
from training import kinds, prepared, tracking
from training.native import BUNDLE
from training.params import load
from training.reference import references
from training.stages import command
from training.teaching import DAY_S, Rows, copies, rows, teach, weigh
from training.traces import observe_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from meterwatch.detection.params import DetectorParams
    from training.series import Series

    Floats = NDArray[np.float64]

FEWEST_DAYS = 10
WARM_S = 10 * DAY_S  # training days before the calibration days: for their contexts


def daily_maxima(meter: NDArray[np.int64], at: NDArray[np.int64], values: Floats) -> Floats:
    """The largest value of each meter's day, days with none left out."""
    known = ~np.isnan(values)
    key = meter[known] * 10**6 + at[known] // DAY_S
    _, group = np.unique(key, return_inverse=True)
    out = np.full(group.max() + 1 if len(group) else 0, -np.inf)
    np.maximum.at(out, group, values[known])
    return out


def out_of_fold(quiet: Rows, taught: Sequence[Rows], *, folds: int, iterations: int, seed: int) -> Floats:
    """Raw scores of quiet slots by weighers that did not see their block of days."""
    day = quiet.at // DAY_S
    edges = np.quantile(day, np.linspace(0, 1, folds + 1)[1:-1])
    block = np.searchsorted(edges, day, side="right")
    out = np.full(len(quiet.at), np.nan)
    for fold in range(folds):
        low = edges[fold - 1] if fold else -np.inf
        high = edges[fold] if fold < folds - 1 else np.inf

        def apart(part: Rows, low: float = low, high: float = high) -> Rows:
            days = part.at // DAY_S
            return part.where((days < low) | (days >= high))

        model = teach([apart(quiet), *(apart(part) for part in taught)], iterations=iterations, seed=seed)
        mine = block == fold
        out[mine] = weigh(model, quiet.features[mine])
    return out


def band_factors(sequence: SequenceModel, trace: Trace, share: float) -> tuple[float, float]:
    """Factors on the lower and upper distance so that `share` of the trace's readings lie inside (split conformal).

    Source: Romano, Patterson and Candes 2019, with multiplicative scores.
    """
    low, high = [], []
    for counts, past, time, target, _ in trace.past:
        expected = sequence.expect(past, time)
        inside = np.arange(target.shape[1]) < counts[:, None]
        gap = (target - expected[:, 0])[inside]
        low.append(-gap / np.maximum((expected[:, 0] - expected[:, 1])[inside], 1e-6))
        high.append(gap / np.maximum((expected[:, 2] - expected[:, 0])[inside], 1e-6))
    if not low:
        return 1.0, 1.0
    edge = 1 - (1 - share) / 2
    return tuple(  # type: ignore[return-value]
        round(float(np.clip(np.quantile(np.concatenate(part), edge), 0.2, 5.0)), 6) for part in (low, high)
    )


def combine(slow: Tail, fast: Tail, quiet: Trace, weighed: Floats) -> float:
    """How much the larger of both periods must give up so that it is one itself."""
    meter = np.concatenate([*quiet.slot_meter, *quiet.reading_meter])
    at = np.concatenate([*quiet.slot_at, *quiet.reading_at])
    surprise = fast.period(np.abs(np.concatenate(quiet.residual))) - FAST_GIVES
    values = np.concatenate([slow.period(weighed), surprise])
    joint = Tail.fit(daily_maxima(meter, at, values))
    # Where the joint tail says one month, the score shall be zero.
    grid = np.linspace(-3, 4, 1401)
    return float(grid[np.searchsorted(joint.period(grid), 0.0)])


def calibrate(
    params: DetectorParams, forest: Trees, sequence_path: Path, train: Sequence[Series], quiet: Sequence[Series],
    out_dir: Path, *, faults: int, per_month: float, iterations: int, folds: int, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Teach, calibrate and write weigher, kinds and three JSON files into `out_dir`.

    Args:
        params: what the detector is told.
        forest: the fitted forest's runtime copy.
        sequence_path: the exported network.
        train: what models may learn from.
        quiet: the same meters' readings, train and calibration days together.
        out_dir: the bundle that is being built.
        faults: how many to teach with, at least: the training days are filled with them as often as it takes.
        per_month: faults a meter and month in each such copy.
        iterations: boosting rounds.
        folds: blocks of days for the out-of-fold scores.
        seed: of faults and boosting.

    Returns:
        What `calibration.json` holds.
    """
    from training.forest import save_trees

    plain = SequenceModel(sequence_path)
    blank = Detector(params, Models())
    end = {one.meter_id: int(one.at[-1]) for one in train}
    unseen = [one.between(end[one.meter_id] - WARM_S, int(one.at[-1]) + 1) for one in quiet]
    band = band_factors(plain, observe_all(blank, unseen, inputs=True), 0.95)
    judge = Detector(params, Models(sequence=SequenceModel(sequence_path, band), forest=forest))
    ordinary = rows(observe_all(judge, train), [[] for _ in train])
    shown = copies(judge, train, faults=faults, per_month=per_month, seed=seed)
    taught = [copy.faulty() for copy in shown]
    model = teach([ordinary, *taught], iterations=iterations, seed=seed)
    save_trees(model, out_dir / "weigher.treelite")
    telling = kinds.teach(shown, model, seed=seed)
    save_trees(telling, out_dir / "kinds.treelite")

    everything = observe_all(judge, quiet)
    whole = rows(everything, [[] for _ in quiet])
    limit = np.array([end[one.meter_id] for one in quiet])
    seen = whole.at <= limit[whole.meter]
    weighed = np.full(len(whole.at), np.nan)
    if seen.any():
        weighed[seen] = out_of_fold(ordinary, taught, folds=folds, iterations=iterations, seed=seed)[: seen.sum()]
    if (~seen).any():
        weighed[~seen] = weigh(model, whole.features[~seen])
    weighed = novel_from_start(whole.meter, whole.at, weighed)
    residual = np.abs(np.concatenate(everything.residual))
    quiet_days = daily_maxima(whole.meter, whole.at, weighed)
    if len(quiet_days) < FEWEST_DAYS:
        raise DataError(f"only {len(quiet_days)} days could be judged, {FEWEST_DAYS} are needed to set a threshold")
    slow = Tail.fit(quiet_days)
    fast = Tail.fit(
        daily_maxima(np.concatenate(everything.reading_meter), np.concatenate(everything.reading_at), residual)
    )
    result: dict[str, Any] = {
        "band": list(band), "slow": slow.to_dict(), "fast": fast.to_dict(),
        "offset": combine(slow, fast, everything, weighed), "quiet_days": len(quiet_days),
        "kinds": telling.classes_.tolist(),
    }  # fmt: skip
    offset = float(result["offset"])
    finished = replace(judge.models, weigher=Trees(out_dir / "weigher.treelite"), slow=slow, fast=fast, offset=offset)
    drift.save(references(Detector(params, finished), quiet, unseen, WARM_S), out_dir)
    (out_dir / "calibration.json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    (out_dir / "params.json").write_text(params.to_json())
    return result


def main() -> None:
    """Run the stage: teach on the training months, set what scores mean, close the bundle."""
    told, data = load(), prepared.read()
    chosen = told.calibrate
    asked = {"calibrate": chosen.model_dump(), "detector": asdict(told.detector)}
    with tracking.stage("calibrate", asked, data.tags) as run:
        run.uses(data, "train", "calibrate")
        result = calibrate(
            told.detector, Trees(BUNDLE / "forest.treelite", -1.0), BUNDLE / "sequence.onnx",
            [data.part("train")], [data.part("train", "calibrate")], BUNDLE, faults=chosen.faults,
            per_month=chosen.faults_per_month, iterations=chosen.iterations, folds=chosen.folds, seed=chosen.seed,
        )  # fmt: skip
        digest = seal(BUNDLE)
        run.tags({"bundle_sha256": digest})
        low, high = result["band"]
        run.metrics({"band_lower": low, "band_upper": high, "score_offset": result["offset"],
                     "quiet_days": result["quiet_days"]})  # fmt: skip
        for path in sorted(BUNDLE.glob("*.json")):
            run.file(path, "bundle")
        print(f"calibrate: {result['quiet_days']} quiet days, bundle {digest[:12]}")


if __name__ == "__main__":
    command(main)
