"""Stage `forest`: an IsolationForest on the vector of multi-scale statistics (Liu, Ting and Zhou 2008)."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import treelite

from meterwatch.detection.catalogue import SLOW_SERIES_ONLY
from meterwatch.detection.detector import Detector
from meterwatch.detection.errors import DataError
from meterwatch.detection.rounds import Models
from meterwatch.detection.statistics import suspicious
from training import params, prepared, tracking
from training.native import BUNDLE, NATIVE, save_forest
from training.stages import command
from training.traces import observe_all

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FEWEST_SLOTS = 200


def fit_forest(deviations: NDArray[np.float32], *, trees: int, sample: int, seed: int) -> Any:  # noqa: ANN401
    """Fit on the statistics of ordinary slots, (n, statistics), NaN where there was no context.

    Raises:
        DataError: too few slots were judged.
    """
    from sklearn.ensemble import IsolationForest

    if len(deviations) < FEWEST_SLOTS:
        raise DataError(f"only {len(deviations)} quarter hours to train on, {FEWEST_SLOTS} are needed: give more days")
    rows = suspicious(deviations[:, SLOW_SERIES_ONLY].astype(np.float64))
    return IsolationForest(n_estimators=trees, max_samples=min(sample, len(rows)), random_state=seed).fit(rows)


def save_trees(model: Any, path: Path) -> None:  # noqa: ANN401
    """Write the runtime copy: treelite's own serialisation, no pickle."""
    treelite.sklearn.import_model(model).serialize(str(path))


def main() -> None:
    """Run the stage: fit on the training months."""
    told, data = params.load(), prepared.read()
    asked = {"forest": told.forest.model_dump(), "detector": asdict(told.detector)}
    with tracking.stage("forest", asked, data.tags) as run:
        run.uses(data, "train")
        trace = observe_all(Detector(told.detector, Models()), [data.part("train")])
        rows = np.concatenate(trace.deviations).astype(np.float32)
        chosen = told.forest
        model = fit_forest(rows, trees=chosen.trees, sample=chosen.sample, seed=chosen.seed)
        BUNDLE.mkdir(parents=True, exist_ok=True)
        save_trees(model, BUNDLE / "forest.treelite")
        save_forest(model, NATIVE / "forest.skops")
        run.metrics({"forest_slots": len(rows), "forest_bytes": (BUNDLE / "forest.treelite").stat().st_size})
        run.file(NATIVE / "forest.skops", "native")
        print(f"forest: {chosen.trees} trees from {len(rows):,} quarter hours")


if __name__ == "__main__":
    command(main)
