"""The baseline keeps the original's rule, flaws included: the judged error is one of the m it is judged by."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.detection.errors import DataError
from training.params import SeedThreeSigma
from training.seed_3sigma import deviations, fit

TOLD = SeedThreeSigma(n=4, m=10, k=3.0, units=4, epochs=1, windows=200, seed=1)
number = st.one_of(st.integers(0, 100).map(float), st.just(math.nan))  # whole: equal ones have a deviation of just 0


def naive(errors: list[float], m: int) -> list[float]:
    """The original's list of m errors, kept by hand."""
    kept: list[float] = []
    out = []
    for error in errors:
        if math.isnan(error):
            out.append(math.nan)
            continue
        kept = [*kept, error][-m:]
        if len(kept) < m:
            out.append(math.nan)
            continue
        mean = sum(kept) / m
        std = math.sqrt(sum((e - mean) ** 2 for e in kept) / m)
        out.append((error - mean) / std if std > 0 else 0.0)
    return out


@settings(max_examples=100, deadline=None)
@given(st.lists(number, max_size=60), st.integers(2, 12))
def test_equals_the_list_kept_by_hand(errors: list[float], m: int) -> None:
    found = deviations(np.array(errors, np.float64), m)

    np.testing.assert_allclose(found, naive(errors, m), rtol=1e-9, atol=1e-9)


def test_one_large_error_among_small_ones_is_flagged_and_ten_hide_themselves() -> None:
    small = np.tile([0.1, 0.2], 100)
    one, ten = np.append(small, 5.0), np.append(small, np.full(13, 5.0))

    assert deviations(one, 100)[-1] > 3
    assert deviations(ten, 100)[-1] < 3


@pytest.fixture(scope="module")
def power() -> np.ndarray:
    return 1 + 0.5 * np.sin(np.arange(600) / 7)


def test_scores_what_has_a_whole_window_and_m_errors_behind_it(power: np.ndarray) -> None:
    broken = power.copy()
    broken[300] = np.nan
    baseline = fit(power, TOLD)

    score = baseline.score(broken)

    judged = np.flatnonzero(np.isfinite(score))
    assert TOLD.n + TOLD.m - 1 == judged[0]
    assert set(range(300, 305)).isdisjoint(judged.tolist())
    assert judged[-1] == 599


def test_training_twice_gives_the_same_bits(power: np.ndarray) -> None:
    first, second = (fit(power, TOLD).errors(power) for _ in range(2))

    np.testing.assert_array_equal(first, second)


def test_too_few_readings_are_refused() -> None:
    with pytest.raises(DataError, match="in a row"):
        fit(np.ones(3), TOLD)
