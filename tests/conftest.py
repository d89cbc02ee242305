"""What many tests share: household-like readings and a small bundle that was really trained on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.households import household

if TYPE_CHECKING:
    from pathlib import Path

BUNDLE_DAYS = 24


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle directory, trained in a few seconds on a made household: real parts, small sizes."""
    from training.fit import FitParams, fit
    from training.series import Series

    at, channels = household(days=BUNDLE_DAYS, seed=7)
    small = FitParams(
        trees=25, sample=256, filters=8, epochs=1, segments=200, faults=1, faults_per_month=8.0, iterations=15, folds=2
    )
    return fit([Series("default", at, channels)], small, tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(1)
