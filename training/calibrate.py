"""Stage `calibrate`: injected faults teach how to weigh the statistics; quiet days give scores their meaning.

The weigher is a small gradient-boosted classifier over the statistics and the forest's score. It is taught with
faults of the project's own generator in training data. What a score means is learned on days without faults that
the scorer did not learn from: each block of the training days is scored by a weigher of the other blocks, and the
calibration days by the final one, so that a return period is not flattered.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from meterwatch.detection.detector import Detector, seal
from meterwatch.detection.errors import DataError
from meterwatch.detection.faults import Label, inject_many
from meterwatch.detection.forest import Trees
from meterwatch.detection.novelty import novel_from_start
from meterwatch.detection.rounds import Models, Trace
from meterwatch.detection.sequence import SequenceModel
from meterwatch.detection.statistics import suspicious
from meterwatch.detection.thresholds import FAST_GIVES, Tail
from training import prepared, tracking
from training.native import BUNDLE
from training.params import load
from training.series import Series
from training.stages import command
from training.traces import observe_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from meterwatch.detection.params import DetectorParams

    Floats = NDArray[np.float64]

DAY_S = 86_400
BINS = 255  # of each feature: what the boosting tells apart
FAULT_WEIGHT = 10.0  # a fault counts as so many slots, however long it is
LOOKED_AT = 0.3  # share of the features that a tree chooses from: none of them becomes the one that decides
FEWEST_DAYS = 10
MOST_COPIES = 24  # of days too few for all the faults asked for
WARM_S = 10 * DAY_S  # training days before the calibration days: for their contexts
AFTER_S = DAY_S  # slots so soon after a fault's end still see it: they teach nothing
# Boosting's threads spin while they wait for each other. On a busy machine that takes thirty times as long.
_ALONE: dict[str, Any] = {"limits": 1, "user_api": "openmp"}


@dataclass(frozen=True, slots=True)
class Rows:
    """Judged slots with what the weigher looks at."""

    meter: NDArray[np.int64]
    at: NDArray[np.int64]
    features: Floats  # (n, statistics + 1)
    label: NDArray[np.int64]  # 1: inside a fault, 0: ordinary, -1: neither
    weight: Floats


def rows(trace: Trace, labels: Sequence[Sequence[Label]]) -> Rows:
    """A trace's slots against the faults that were injected, by meter."""
    if not trace.slot_at:
        raise DataError("no quarter hour could be judged: each meter needs more than 24 h of readings with power")
    meter, at = np.concatenate(trace.slot_meter), np.concatenate(trace.slot_at)
    deviation = suspicious(np.concatenate(trace.deviations).astype(np.float64))
    features = np.column_stack([deviation, np.concatenate(trace.forest)])
    label, weight = np.zeros(len(at), np.int64), np.ones(len(at))
    for m, faults in enumerate(labels):
        mine = np.flatnonzero(meter == m)
        for fault in faults:
            after = mine[(at[mine] >= fault.start_at) & (at[mine] < fault.end_at + AFTER_S)]
            inside = after[at[after] <= fault.end_at]
            label[after] = -1
            label[inside] = 1
            if len(inside):
                weight[inside] = FAULT_WEIGHT / len(inside)
    return Rows(meter, at, features, label, weight)


def inject_all(series: Sequence[Series], seed: int, per_month: float) -> tuple[list[Series], list[list[Label]]]:
    """A copy of each series with faults in it, and their labels."""
    changed, labels = [], []
    for i, one in enumerate(series):
        channels, found = inject_many(one.at, one.channels, seed=seed * 1009 + i, per_month=per_month)
        changed.append(Series(one.meter_id, one.at, channels))
        labels.append(found)
    return changed, labels


def teach(parts: Sequence[Rows], *, iterations: int, seed: int) -> Any:  # noqa: ANN401 - scikit-learn has no types
    """Fit the weigher on slots inside faults against ordinary ones."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    used = [part.label >= 0 for part in parts]
    features = np.concatenate([part.features[keep] for part, keep in zip(parts, used, strict=True)])
    label = np.concatenate([part.label[keep] for part, keep in zip(parts, used, strict=True)])
    weight = np.concatenate([part.weight[keep] for part, keep in zip(parts, used, strict=True)])
    if len(np.unique(label)) < 2:  # noqa: PLR2004 - both kinds are needed
        raise DataError("the training days are too few to hold injected faults: give at least two weeks")
    model = HistGradientBoostingClassifier(
        max_iter=iterations, max_leaf_nodes=15, learning_rate=0.08, min_samples_leaf=50, l2_regularization=10.0,
        early_stopping=False, random_state=seed, max_bins=BINS, max_features=LOOKED_AT,
    )  # fmt: skip
    with threadpool_limits(**_ALONE):
        return model.fit(coarse(features, weight), label, sample_weight=weight)


def coarse(features: Floats, weight: Floats) -> NDArray[np.float32]:
    """Features (n, m) with at most `BINS` different values a column: each moved to the nearest of its quantiles.

    scikit-learn cuts each feature into so many bins by weight itself, but a quantile at a time, which takes longer
    than all the boosting. Of no more different values than bins it takes the middles between them as bounds, so that
    training and judging put a value on the same side of each.
    """
    out = features.astype(np.float32)
    for column in out.T:
        known = ~np.isnan(column)
        if known.any():
            order = np.argsort(column[known], kind="stable")
            below = np.cumsum(weight[known][order])
            place = np.searchsorted(below, np.linspace(0, below[-1], BINS)).clip(max=len(order) - 1)
            kept = np.unique(column[known][order][place])
            middles = (kept[1:].astype(np.float64) + kept[:-1]) / 2
            column[known] = kept[np.searchsorted(middles, column[known])]
    return out


def weigh(model: Any, features: Floats) -> Floats:  # noqa: ANN401
    """Raw scores of the weigher, higher is worse, (n, statistics + 1) → (n,)."""
    with threadpool_limits(**_ALONE):
        scores: Floats = model.decision_function(features.astype(np.float32))
    return scores


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
            keep = (days < low) | (days >= high)
            return Rows(part.meter[keep], part.at[keep], part.features[keep], part.label[keep], part.weight[keep])

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
    """Teach, calibrate and write `weigher.treelite`, `calibration.json` and `params.json` into `out_dir`.

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
    taught = []
    shown, copy = 0, 0
    while shown < faults and copy < MOST_COPIES:
        changed, labels = inject_all(train, seed * 31 + copy, per_month)
        shown, copy = shown + sum(map(len, labels)), copy + 1
        part = rows(observe_all(judge, changed), labels)
        keep = part.label == 1  # its ordinary slots are the ones that are there already
        taught.append(Rows(part.meter[keep], part.at[keep], part.features[keep], part.label[keep], part.weight[keep]))
    model = teach([ordinary, *taught], iterations=iterations, seed=seed)
    save_trees(model, out_dir / "weigher.treelite")

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
    result = {
        "band": list(band), "slow": slow.to_dict(), "fast": fast.to_dict(),
        "offset": combine(slow, fast, everything, weighed), "quiet_days": len(quiet_days),
    }  # fmt: skip
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
