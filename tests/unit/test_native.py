"""Native copies: the same model is the same bytes whenever it is written, it opens, and nothing in it is a pickle."""

from __future__ import annotations

import pickletools
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from training.native import save_forest, save_network

if TYPE_CHECKING:
    from pathlib import Path

ROWS = np.random.default_rng(5).normal(size=(400, 6))


def forest() -> Any:
    from sklearn.ensemble import IsolationForest

    return IsolationForest(n_estimators=5, max_samples=64, random_state=1).fit(ROWS)


def network() -> Any:
    from training.network import repeatable_keras

    keras = repeatable_keras(1)
    keras.utils.clear_session()  # it numbers the models of a process
    past = keras.Input((None, 2), name="past")
    out = keras.layers.Dense(1, name="out")(keras.layers.Conv1D(3, 2, name="conv")(past))
    model = keras.Model(past, out)
    model.compile(loss="mse")
    return model


@pytest.mark.parametrize(("made", "save"), [(forest, save_forest), (network, save_network)])
def test_the_same_model_is_the_same_bytes(tmp_path: Path, made: Any, save: Any) -> None:
    """Also where other objects were in memory before: addresses serve as names in both formats."""
    save(made(), first := tmp_path / "one" / f"{made.__name__}.keras")
    between = [object() for _ in range(1000)]
    save(made(), second := tmp_path / "two" / f"{made.__name__}.keras")

    assert first.read_bytes() == second.read_bytes()
    assert len(between) == 1000
    with zipfile.ZipFile(first) as archive:
        assert {part.date_time for part in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_forest_opens_and_judges_as_before(tmp_path: Path) -> None:
    import skops.io

    model = forest()
    save_forest(model, tmp_path / "forest.skops")

    again = skops.io.load(tmp_path / "forest.skops", trusted=["sklearn.tree._tree.Tree"])

    np.testing.assert_array_equal(again.score_samples(ROWS), model.score_samples(ROWS))


def test_the_network_opens_and_expects_as_before(tmp_path: Path) -> None:
    import keras

    model = network()
    save_network(model, tmp_path / "sequence.keras")

    again = keras.saving.load_model(tmp_path / "sequence.keras", compile=False)

    past = ROWS[:, :2].reshape(1, -1, 2).astype(np.float32)
    np.testing.assert_array_equal(again.predict(past, verbose=0), model.predict(past, verbose=0))


@pytest.mark.parametrize(("made", "save"), [(forest, save_forest), (network, save_network)])
def test_no_part_is_a_pickle(tmp_path: Path, made: Any, save: Any) -> None:
    save(made(), path := tmp_path / "model.keras")

    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for name in archive.namelist():
            with pytest.raises(ValueError, match=r"opcode|exhausted|at position|expected"):
                list(pickletools.genops(archive.read(name)))
