"""Tree models' runtime copies: read from treelite's serialised form, no pickle.

The IsolationForest looks at the whole vector of statistics; the weighing of statistics that faults taught is a
second ensemble. Both judge a row and a batch alike, to the last bit.
"""

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING

import numpy as np
import treelite

from meterwatch.detection.errors import BundleError
from meterwatch.detection.library import LIBRARY, pointer

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_AT_MOST = 3  # treelite's number for <=
_NODE = np.dtype(
    [("threshold", "f8"), ("left", "i4"), ("right", "i4"), ("feature", "i4"), ("missing_left", "i4")]
)  # as in trees.c


class Trees:
    """A serialised ensemble.

    Args:
        path: the file that `treelite.Model.serialize` wrote.
        sign: +1 where a higher raw output is worse, -1 where a lower one is.
    """

    def __init__(self, path: Path, sign: float = 1.0) -> None:
        self._model = treelite.Model.deserialize(str(path))
        self._features, self._sign = self._model.num_feature, sign
        header = self._model.get_header_accessor()
        self._outputs = int(header.get_field("num_class")[0])
        self._base = float(np.asarray(header.get_field("base_scores"), np.float64)[0])
        self._divisor = self._model.num_tree if header.get_field("average_tree_output")[0] else 1
        self._root, self._depth, self._nodes, self._values = self._laid_out(path)
        self._where = [pointer(one) for one in (self._nodes, self._values, self._root, self._depth)]

    def _laid_out(self, path: Path) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.void], Floats]:
        """Each tree's first node and depth, all nodes, and what a leaf adds to each output, (nodes, outputs)."""
        trees = [self._model.get_tree_accessor(number) for number in range(self._model.num_tree)]
        sizes = [int(tree.get_field("num_nodes")[0]) for tree in trees]
        root = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)

        def joined(name: str) -> Floats:
            return np.concatenate([np.asarray(tree.get_field(name), np.float64) for tree in trees])

        begin, leaf = np.repeat(root[:-1], sizes), joined("cleft") < 0
        if (joined("cmp")[~leaf] != _AT_MOST).any():
            raise BundleError(f"{path} has comparisons other than <=; run `dvc repro` to make it again")
        nodes, own = np.zeros(len(leaf), _NODE), np.arange(len(leaf))
        nodes["threshold"], nodes["missing_left"] = joined("threshold"), joined("default_left")
        nodes["left"] = np.where(leaf, own, joined("cleft") + begin)
        nodes["right"] = np.where(leaf, own, joined("cright") + begin)
        nodes["feature"] = np.where(leaf, 0, joined("split_index"))
        values = np.zeros((len(leaf), self._outputs))
        leaves = joined("leaf_vector") if self._outputs > 1 else joined("leaf_value")[leaf]
        values[leaf] = leaves.reshape(-1, self._outputs)
        return root[:-1], np.asarray(self._model.get_tree_depth(), np.int32), nodes, values

    def _out(self, rows: Floats) -> Floats:
        """Every output, (n, features) → (n, outputs).

        Raises:
            BundleError: the trees were grown on another number of features.
        """
        if rows.shape[1] != self._features:  # they would look beyond the row
            raise BundleError(f"the trees look at {self._features} features, {rows.shape[1]} are given")
        rows, out = np.ascontiguousarray(rows, np.float32), np.zeros((len(rows), self._outputs))
        LIBRARY.mw_trees(
            *self._where, len(self._root),
            self._outputs, pointer(rows), ctypes.c_int64(len(rows)), self._features, pointer(out),
        )  # fmt: skip
        return out / self._divisor + self._base

    def score(self, rows: Floats) -> Floats:
        """Higher is worse, (n, features) → (n,). NaN is a value that is not known."""
        return self._sign * self._out(rows)[:, 0]

    def probabilities(self, rows: Floats) -> Floats:
        """Of each class of a forest of classifiers, (n, features) → (n, classes)."""
        return self._out(rows)

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
        return self._sign * (out / self._divisor)
