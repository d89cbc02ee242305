"""What an event is probably called: a forest of classifiers over slots inside injected faults.

A fault teaches with the slots of it that stand out most, as an event takes its kind from its peak.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from meterwatch.detection.errors import DataError
from training.teaching import weigh

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.teaching import Copy

NEAR_PEAK = 1.0  # of what the weigher says of a fault's worst slot
TREES, DEEPEST, FEWEST = 40, 10, 8  # FEWEST: slots in a leaf


def teach(shown: Sequence[Copy], weigher: Any, *, seed: int) -> Any:  # noqa: ANN401 - scikit-learn has no types
    """Fit on the worst slots of each fault; a fault counts as one, however many they are."""
    from sklearn.ensemble import RandomForestClassifier

    features, kinds, weights = [], [], []
    for copy in shown:
        inside = copy.faulty()
        said = weigh(weigher, inside.features)
        for m, faults in enumerate(copy.labels):
            for fault in faults:
                mine = np.flatnonzero((inside.meter == m) & (inside.at >= fault.start_at) & (inside.at <= fault.end_at))
                if len(mine):
                    worst = mine[said[mine] >= said[mine].max() - NEAR_PEAK]
                    features.append(inside.features[worst])
                    kinds += [fault.kind] * len(worst)
                    weights.append(np.full(len(worst), 1 / len(worst)))
    if not kinds:
        raise DataError("the training days are too few to hold injected faults: give at least two weeks")
    model = RandomForestClassifier(TREES, max_depth=DEEPEST, min_samples_leaf=FEWEST, n_jobs=1, random_state=seed)
    return model.fit(np.concatenate(features).astype(np.float32), kinds, sample_weight=np.concatenate(weights))
