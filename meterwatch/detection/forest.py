"""Tree models' runtime copies: treelite's serialised form, no pickle.

The IsolationForest looks at the whole vector of statistics; the weighing of statistics that faults taught is a
second ensemble. Both judge a row and a batch alike, to the last bit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import treelite
from treelite import gtil

from meterwatch.detection.errors import BundleError

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
        self._features = self._model.num_feature
        self._sign = sign

    def score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Higher is worse, (n, features) → (n,). NaN is a value that is not known.

        Raises:
            BundleError: the trees were grown on another number of features.
        """
        if rows.shape[1] != self._features:  # treelite would look beyond the row
            raise BundleError(f"the trees look at {self._features} features, {rows.shape[1]} are given")
        if not len(rows):
            return np.zeros(0)
        out = gtil.predict(self._model, np.ascontiguousarray(rows, np.float32), nthread=1, pred_margin=True)
        return self._sign * np.asarray(out, np.float64).reshape(len(rows), -1)[:, -1]

    def probabilities(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each class of a forest of classifiers, (n, features) → (n, classes)."""
        out = gtil.predict(self._model, np.ascontiguousarray(rows, np.float32), nthread=1)
        return np.asarray(out, np.float64).reshape(len(rows), -1)

    def shares(self, row: NDArray[np.float64], plain: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much each feature of a row adds to its score beyond that of a plain one, (features,) each.

        Shapley values with a single reference (Sundararajan and Najmi 2020, arXiv 1908.08474), exact: they sum to
        `score(row) - score(plain)`. A leaf that is reached where the features A are the row's and B the plain one's
        is a game of A against B, whose values are known. Neither row may hold NaN.
        """
        out = np.zeros(len(row))
        own, other = (values.astype(np.float32).astype(np.float64).tolist() for values in (row, plain))
        for number in range(self._model.num_tree):
            tree = self._model.get_tree_accessor(number)
            fields = ("cleft", "cright", "split_index", "threshold", "leaf_value")
            left, right, feature, threshold, value = (tree.get_field(name).tolist() for name in fields)
            ways: list[tuple[int, frozenset[int], frozenset[int]]] = [(0, frozenset(), frozenset())]
            while ways:
                node, mine, theirs = ways.pop()
                if left[node] < 0:
                    a, b = len(mine), len(theirs)
                    for k in mine:
                        out[k] += value[node] / (a * math.comb(a + b, a))
                    for k in theirs:
                        out[k] -= value[node] / (b * math.comb(a + b, b))
                    continue
                k = feature[node]
                here, there = (left if values[k] <= threshold[node] else right for values in (own, other))
                if here is there or k in mine:
                    ways.append((here[node], mine, theirs))
                elif k in theirs:
                    ways.append((there[node], mine, theirs))
                else:
                    ways += [(here[node], mine | {k}, theirs), (there[node], mine, theirs | {k})]
        averaged = bool(self._model.get_header_accessor().get_field("average_tree_output")[0])
        return self._sign * (out / self._model.num_tree if averaged else out)
