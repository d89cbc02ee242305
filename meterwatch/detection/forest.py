"""Tree models' runtime copies: treelite's serialised form, no pickle.

The IsolationForest looks at the whole vector of statistics; the weighing of statistics that faults taught is a
second ensemble. Both judge a row and a batch alike, to the last bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import treelite
from treelite import gtil

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


class Trees:
    """A serialised ensemble.

    Args:
        path: the file that `treelite.Model.serialize` wrote.
        sign: +1 where a higher raw output is worse, -1 where a lower one is.
    """

    def __init__(self, path: Path, sign: float = 1.0) -> None:
        self._model = treelite.Model.deserialize(str(path))
        self._sign = sign

    def score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Higher is worse, (n, features) → (n,). NaN is a value that is not known."""
        if not len(rows):
            return np.zeros(0)
        out = gtil.predict(self._model, np.ascontiguousarray(rows, np.float32), nthread=1, pred_margin=True)
        return self._sign * np.asarray(out, np.float64).reshape(len(rows), -1)[:, -1]
