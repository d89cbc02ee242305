"""From readings to a bundle: the stages' work in one call, for the backtest and for tests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.detector import Detector, seal
from meterwatch.detection.errors import DataError
from meterwatch.detection.forest import Trees
from meterwatch.detection.params import DetectorParams
from meterwatch.detection.rounds import Models
from training.calibrate import calibrate
from training.forest import fit_forest, save_trees
from training.sequence import fit_network, scaler, segments, to_onnx
from training.traces import observe_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from training.series import Series

SHARE_TO_TRAIN = 0.75  # of the days; the rest sets band and threshold


@dataclass(frozen=True, slots=True)
class FitParams:
    """Sizes of what is learned; `params.yaml` holds the same names by stage."""

    trees: int = 100
    sample: int = 512
    filters: int = 24
    epochs: int = 8
    segments: int = 3000
    faults: int = 400
    faults_per_month: float = 6.0
    iterations: int = 160
    folds: int = 3
    seed: int = 1


def fit(
    series: Sequence[Series],
    params: FitParams,
    out_dir: Path,
    *,
    detector: DetectorParams | None = None,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Build a bundle from what is given and nothing else.

    Args:
        series: one entry a meter, sorted by time.
        params: sizes.
        out_dir: where the bundle is written; made if absent.
        detector: what the detector is told; its defaults where left out.
        progress: told each step's name.

    Returns:
        The bundle's directory.

    Raises:
        DataError: too little to learn from.
    """
    say = progress or (lambda _: None)
    out_dir.mkdir(parents=True, exist_ok=True)
    told = detector or DetectorParams()
    useful = [one for one in series if np.isfinite(one.channels[0]).sum() > 1]
    if not useful:
        raise DataError("no meter has readings with power to train on")
    train = [one.between(int(one.at[0]), _cut(one)) for one in useful]
    say("statistics")
    trace = observe_all(Detector(told, Models()), train, inputs=True)
    if not trace.deviations:
        raise DataError("no quarter hour could be judged: give more than a day of readings with power before the end")
    say("forest")
    save_trees(
        fit_forest(np.concatenate(trace.deviations), trees=params.trees, sample=params.sample, seed=params.seed),
        out_dir / "forest.treelite",
    )
    say("sequence model")
    data = segments(trace, params.segments, params.seed)
    scale = scaler(data[0], data[1])
    (out_dir / "scaler.json").write_text(json.dumps(scale, indent=1, sort_keys=True) + "\n")
    network = fit_network(data, scale, filters=params.filters, epochs=params.epochs, seed=params.seed)
    to_onnx(network, scale, out_dir / "sequence.onnx")
    say("calibration")
    calibrate(
        told, Trees(out_dir / "forest.treelite", -1.0), out_dir / "sequence.onnx", train, useful, out_dir,
        faults=params.faults, per_month=params.faults_per_month, iterations=params.iterations, folds=params.folds,
        seed=params.seed,
    )  # fmt: skip
    seal(out_dir)
    return out_dir


def _cut(one: Series) -> int:
    return int(one.at[0] + SHARE_TO_TRAIN * (one.at[-1] - one.at[0]))
