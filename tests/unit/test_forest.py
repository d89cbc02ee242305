"""Tree ensembles judge as the library that fitted them does, a row as a batch, and higher is worse."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import treelite
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest, RandomForestClassifier
from treelite import gtil

from meterwatch.detection.catalogue import SLOW_SERIES_ONLY, STATISTICS
from meterwatch.detection.forest import Trees
from training.forest import fit_forest, save_trees

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTH = int(SLOW_SERIES_ONLY.sum())


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> tuple[IsolationForest, Trees]:
    """A forest on ordinary statistics and its runtime copy."""
    rows = np.random.default_rng(1).normal(size=(800, len(STATISTICS))).astype(np.float32)
    model = fit_forest(rows, trees=60, sample=256, seed=1)
    path = tmp_path_factory.mktemp("forest") / "forest.treelite"
    save_trees(model, path)
    return model, Trees(path, -1.0)


def far(distance: float) -> NDArray[np.float64]:
    """A hundred rows so many deviations from the ordinary."""
    direction = np.random.default_rng(2).normal(size=(100, WIDTH))
    return distance * direction / np.linalg.norm(direction, axis=1, keepdims=True)


def test_the_runtime_copy_equals_the_fitted_forest(forest: tuple[IsolationForest, Trees]) -> None:
    """It answers the negative mean depth h; scikit-learn 2 ** (-h / c(n)), as in equation 2 of the paper."""
    rows, n = far(4.0).astype(np.float32), 256
    usual = 2 * (np.log(n - 1) + np.euler_gamma) - 2 * (n - 1) / n  # c(n): depth of an unsuccessful search
    np.testing.assert_allclose(2 ** (forest[1].score(rows) / usual), -forest[0].score_samples(rows), rtol=1e-6)


def test_stranger_is_higher(forest: tuple[IsolationForest, Trees]) -> None:
    """The farther from what it was fitted on, the higher the score."""
    means = [forest[1].score(far(distance)).mean() for distance in (0.0, 4.0, 12.0, 40.0)]
    assert means == sorted(means)
    assert means[-1] > means[0] + 1


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), missing=st.sampled_from([0.0, 0.1]), trees=st.integers(1, 20))
def test_trees_equal_the_library_that_wrote_them_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, seed: int, missing: float, trees: int
) -> None:
    """Sums, means and classes, with as many trees as go side by side or not, values missing or on a threshold."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(-3, 4, (200, 6)).astype(np.float64)
    label = np.abs(rows[:, 0] + rows[:, 1]).astype(int) % 3
    told = [
        IsolationForest(n_estimators=trees, random_state=1).fit(rows),
        RandomForestClassifier(n_estimators=trees, random_state=1).fit(rows, label),
        HistGradientBoostingClassifier(max_iter=trees, min_samples_leaf=5, random_state=1).fit(rows, label > 1),
    ]
    rows[rng.random(rows.shape) < missing] = np.nan
    for number, model in enumerate(told):
        path = tmp_path_factory.mktemp("trees") / "trees.treelite"
        save_trees(model, path)
        mine, plain = Trees(path), treelite.Model.deserialize(str(path))
        found = mine.probabilities(rows) if number == 1 else mine.score(rows)
        out = gtil.predict(plain, rows.astype(np.float32), nthread=1, pred_margin=True)
        assert found.tobytes() == np.asarray(out, np.float64).tobytes()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 300))
def test_a_row_equals_the_batch_to_the_bit(forest: tuple[IsolationForest, Trees], seed: int, size: int) -> None:
    """Alone, in any company, in any memory layout."""
    rows = np.random.default_rng(seed).normal(0, 5, (size, WIDTH))
    whole = forest[1].score(rows)
    for i in np.random.default_rng(seed).integers(0, size, 5).tolist():
        assert forest[1].score(rows[i : i + 1]).tobytes() == whole[i : i + 1].tobytes()
    assert forest[1].score(np.asfortranarray(rows)).tobytes() == whole.tobytes()
    assert forest[1].score(rows[::-1]).tobytes() == whole[::-1].tobytes()


def test_the_weigher_knows_what_is_missing(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A boosted classifier's runtime copy gives its margin, also where values are missing."""
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(600, 5)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.2] = np.nan
    label = (np.nan_to_num(rows[:, 0], nan=1.0) + rng.normal(0, 0.3, 600) > 0.5).astype(int)
    model = HistGradientBoostingClassifier(max_iter=20, random_state=1).fit(rows, label)
    path = tmp_path_factory.mktemp("weigher") / "weigher.treelite"
    save_trees(model, path)
    score = Trees(path).score(rows)
    np.testing.assert_allclose(score, model.decision_function(rows), rtol=1e-4, atol=1e-5)
    assert score[label == 1].mean() > score[label == 0].mean() + 1
    assert Trees(path).score(rows[:0]).tolist() == []


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_shares_are_the_shapley_values_of_changing_from_plain_to_the_row(
    forest: tuple[IsolationForest, Trees], seed: int
) -> None:
    """Each is its slow twin's: the mean gain over all orders; together they are the whole difference."""
    rng = np.random.default_rng(seed)
    plain = rng.normal(0, 2, WIDTH).astype(np.float32).astype(np.float64)
    row, changed = plain.copy(), rng.choice(WIDTH, 5, replace=False)
    row[changed] = rng.normal(0, 6, 5).astype(np.float32)
    subsets = np.array([[bool(number >> k & 1) for k in range(5)] for number in range(32)])
    games = np.tile(plain, (32, 1))
    games[:, changed] = np.where(subsets, row[changed], plain[changed])
    value = forest[1].score(games)
    shares = forest[1].shares(row, plain)
    for k in range(5):
        expected = sum(
            (value[number | 1 << k] - value[number]) / (5 * math.comb(4, int(subsets[number].sum())))
            for number in range(32)
            if not number >> k & 1
        )
        assert shares[changed[k]] == pytest.approx(expected, abs=1e-9)
    assert shares.sum() == pytest.approx(value[31] - value[0], abs=1e-9)
    assert not shares[np.setdiff1d(np.arange(WIDTH), changed)].any()
