"""What a score means: how seldom a quiet day reaches it, never lower for a higher score."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.detection.thresholds import Tail

MONTH_DAYS = 30.44
maxima = st.lists(st.floats(-50, 50) | st.sampled_from([0.0, 1.0, 2.0]), min_size=1, max_size=400)


@settings(max_examples=150, deadline=None)
@given(values=maxima, scores=st.lists(st.floats(-200, 200), min_size=2, max_size=50))
def test_a_higher_score_is_never_less_seldom(values: list[float], scores: list[float]) -> None:
    """Within the sample, at both ends and far beyond, whatever it was fitted to; finite for finite scores."""
    period = Tail.fit(np.array(values)).period(np.sort(scores))
    assert np.isfinite(period).all()
    assert (np.diff(period) >= -1e-9).all()


@settings(max_examples=50, deadline=None)
@given(values=maxima)
def test_it_survives_its_file(values: list[float]) -> None:
    """Written and read again it is the same, to the bit."""
    tail = Tail.fit(np.array(values))
    assert Tail.from_dict(tail.to_dict()) == tail


def test_a_score_says_how_often_a_day_reaches_it() -> None:
    """Of 4,000 days: the share of days at or above a score is once in its return period, to the middle tenth."""
    days = np.random.default_rng(1).standard_exponential(4000)
    tail = Tail.fit(days)
    for score in (0.1, 0.5, 1.0, 2.0, np.log(MONTH_DAYS), 5.0):
        share = float(np.exp(-score))  # of days, as they were drawn
        expected = math.log10(1 / (share * MONTH_DAYS))
        assert tail.period(np.array([score]))[0] == pytest.approx(expected, abs=0.1)
    # Once a month is zero; ten times as seldom is one more.
    assert tail.period(np.array([np.log(MONTH_DAYS * 10)]))[0] == pytest.approx(1.0, abs=0.15)


def test_beyond_the_sample_the_tail_goes_on() -> None:
    """Without a step where it begins, straight from there on."""
    tail = Tail.fit(np.random.default_rng(2).normal(size=300))
    edge = tail.scores[-1]
    assert tail.period(np.array([edge - 1e-9, edge + 1e-9])) == pytest.approx([tail.periods[-1]] * 2, abs=1e-6)
    assert np.diff(tail.period(np.array([edge + 1, edge + 2, edge + 3]))) == pytest.approx([tail.slope] * 2)


def test_equal_days_and_unknown_scores() -> None:
    """One value on every day has a meaning too; unknown stays unknown, in any shape."""
    tail = Tail.fit(np.full(30, 2.0))
    low, at, high = tail.period(np.array([1.9, 2.0, 2.1]))
    assert low < at < high
    told = tail.period(np.array([[np.nan, 2.0], [np.nan, 1.0]]))
    assert np.isnan(told).tolist() == [[True, False], [True, False]]


def test_days_that_hardly_differ_make_no_marvel_of_the_next() -> None:
    tail = Tail.fit(2.0 + 1e-6 * np.arange(60))
    ordinary, next_one = tail.period(np.array([2.0, 2.1]))
    assert 0 < next_one - ordinary < 1.5  # not thirty times as seldom for a tenth of what the weigher says
