"""What many tests share: the shipped year, a small bundle, and a small pipeline that has really run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.households import YEAR, household
from tests.instances import ROOT
from tests.pipeline import SMALL, STAGES, clone, dvc, ran, told

if TYPE_CHECKING:
    from pathlib import Path

BUNDLE_DAYS = 24


@pytest.fixture(scope="session", autouse=True)
def year() -> None:
    """The shipped year is where it belongs, also in a fresh clone; where it is not, tests that read it say so."""
    if not YEAR.exists():
        dvc(ROOT, "pull")


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which the pipeline has run once, from nothing: small models that end-to-end tests judge with."""
    place = clone(tmp_path_factory.mktemp("pipeline"))
    told(place, SMALL)
    assert ran(place) == STAGES
    return place


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
