"""Showing injected faults to the weigher: copies of the training days with faults in them, and what they teach.

The weigher is a small gradient-boosted classifier over the statistics and the forest's score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from meterwatch.detection.errors import DataError
from meterwatch.detection.faults import Label, inject_many
from meterwatch.detection.statistics import suspicious
from training.series import Series
from training.traces import observe_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from meterwatch.detection.detector import Detector
    from meterwatch.detection.rounds import Trace

    Floats = NDArray[np.float64]

DAY_S = 86_400
BINS = 255  # of each feature: what the boosting tells apart
FAULT_WEIGHT = 10.0  # a fault counts as so many slots, however long it is
LOOKED_AT = 0.3  # share of the features that a tree chooses from: none of them becomes the one that decides
MOST_COPIES = 24  # of days too few for all the faults asked for
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

    def where(self, keep: NDArray[np.bool_]) -> Rows:
        """Some of the slots."""
        return Rows(self.meter[keep], self.at[keep], self.features[keep], self.label[keep], self.weight[keep])


@dataclass(frozen=True, slots=True)
class Copy:
    """The training days with faults in them, as the weigher sees them."""

    rows: Rows
    labels: Sequence[Sequence[Label]]  # by meter

    def faulty(self) -> Rows:
        """The slots inside faults: the ordinary ones are there already without any copy."""
        return self.rows.where(self.rows.label == 1)


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


def copies(judge: Detector, train: Sequence[Series], *, faults: int, per_month: float, seed: int) -> list[Copy]:
    """Fill the training days with faults as often as it takes to have `faults`, `per_month` a meter in each copy."""
    out: list[Copy] = []
    shown = 0
    while shown < faults and len(out) < MOST_COPIES:
        changed, labels = inject_all(train, seed * 31 + len(out), per_month)
        out.append(Copy(rows(observe_all(judge, changed), labels), labels))
        shown += sum(map(len, labels))
    return out


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
        return model.fit(coarse(features), label, sample_weight=weight)


def coarse(features: Floats) -> NDArray[np.float32]:
    """Features (n, m) with at most `BINS` different values a column: each moved to the nearest of its steps.

    scikit-learn cuts each feature into so many bins by quantiles. Ordinary slots have nearly all of the weight, so what
    only faults reach would be one bin. Steps that grow with the value tell twice the usual from four times wherever
    that lies. Of no more different values than bins it takes the middles between them as bounds, so that training
    and judging put a value on the same side of each.
    """
    out = features.astype(np.float32)
    for column in out.T:
        known = ~np.isnan(column)
        if known.any():
            low, high = column[known].min(), column[known].max()
            steps = np.unique((np.geomspace if low > 0 else np.linspace)(low, high, BINS, dtype=np.float32))
            middles = (steps[1:].astype(np.float64) + steps[:-1]) / 2
            column[known] = steps[np.searchsorted(middles, column[known])]
    return out


def weigh(model: Any, features: Floats) -> Floats:  # noqa: ANN401
    """Raw scores of the weigher, higher is worse, (n, statistics + 1) → (n,)."""
    if not len(features):  # scikit-learn refuses to judge nothing: a copy of a few days may show no fault
        return np.empty(0)
    with threadpool_limits(**_ALONE):
        scores: Floats = model.decision_function(features.astype(np.float32))
    return scores
