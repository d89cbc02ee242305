"""Public detectors: the same faults, no look ahead, and each finds what it is made for."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from tests.households import START, household
from training.baselines import BASELINES, quarter_hours
from training.series import Series

DAY_S = 86_400
NEEDS = {"half-space-trees": "river", "left-matrix-profile": "stumpy"}


def _there(name: str) -> bool:
    return name not in NEEDS or importlib.util.find_spec(NEEDS[name]) is not None


SLOW = "quantile-forecast"  # its boosters take most of a minute to fit
PRESENT = [  # `make study` installs the rest
    pytest.param(name, marks=[pytest.mark.long] if name == SLOW else []) for name in BASELINES if _there(name)
]


@pytest.fixture(scope="module")
def months() -> tuple[Series, Series]:
    at, channels = household(days=28, seed=4, cadence=300)
    series = Series("m", at, channels)
    return series.between(START, START + 21 * DAY_S), series.between(START + 21 * DAY_S, START + 28 * DAY_S)


def _changed(series: Series, start: int, end: int, factor: float) -> Series:
    channels = series.channels.copy()
    channels[:, (series.at >= start) & (series.at < end)] *= factor
    return Series(series.meter_id, series.at, channels)


def test_a_quarter_hour_is_the_mean_of_its_readings() -> None:
    at = START + np.array([0, 300, 600, 1200, 2700])
    channels = np.full((7, 5), np.nan)
    channels[0] = [1.0, 2.0, 6.0, 4.0, np.nan]
    ends, means = quarter_hours(Series("m", at, channels))
    assert ends.tolist() == [START + 899, START + 1799, START + 2699, START + 3599]
    assert means.tolist() == pytest.approx([3.0, 4.0, np.nan, np.nan], nan_ok=True)


@pytest.mark.parametrize("name", PRESENT)
def test_a_day_of_far_too_much_stands_out_and_changes_no_earlier_score(
    name: str, months: tuple[Series, Series]
) -> None:
    history, copy = months
    start = START + 25 * DAY_S
    at, score = BASELINES[name](history, _changed(copy, start, start + DAY_S, 6.0))
    before, inside = at < start, (at >= start) & (at < start + DAY_S)
    assert np.nanmean(score[inside]) > np.nanmean(score[~inside])
    assert np.nanmax(score[inside]) > np.nanquantile(score[~inside], 0.99)
    _, calm = BASELINES[name](history, copy)
    np.testing.assert_array_equal(score[before], calm[before])
    assert not np.array_equal(score[inside], calm[inside])
