"""Alarms are counted as the contract says; the measures stand between a null detector and a perfect one."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.detection.alarms import Scored, alarms, count, false_alarms
from meterwatch.detection.evaluation import (
    by_kind,
    by_severity,
    coverage,
    pinball,
    recall_at_budget,
    recall_at_budgets,
    summary,
    vus_pr,
)
from meterwatch.detection.faults import Label
from tests import naive

HOUR, DAY = 3600, 86_400
START = 1_600_000_020  # a whole minute, not a whole hour


def fault(start_h: float, end_h: float, kind: str = "surge", severity: float = 0.5) -> Label:
    return Label(kind, START + int(start_h * HOUR), START + int(end_h * HOUR), severity, 1.0)


def series(days: float, hot_h: list[float], labels: list[Label], cadence: int = 1800) -> Scored:
    """Half-hourly scores of 0, of 1 at the hours given."""
    at = START + np.arange(0, int(days * DAY), cadence)
    score = np.zeros(len(at))
    score[np.searchsorted(at, [START + int(h * HOUR) for h in hot_h])] = 1.0
    return Scored(at, score, labels, cadence)


@pytest.mark.parametrize(
    ("first_h", "last_h", "cost"),
    [
        (0, 0, 1),  # a single reading is one false alarm
        (0, 24, 1),
        (0, 24.5, 2),  # one for each day that it lasts
        (90, 150, 0),  # touches the fault 100..140: 20 h outside are forgiven
        (99.7, 99.8, 0),  # touches only the widened span
        (40, 60, 1),
        (70, 150, 1),  # 30 + 10 h outside: 24 forgiven, 16 are a day begun
        (60, 190, 3),  # 40 + 50 h outside: 66 are three days begun
    ],
)
def test_what_an_alarm_costs(first_h: float, last_h: float, cost: int) -> None:
    """One for each day without a fault; 24 h outside a touched fault are forgiven."""
    first, last = (np.array([START + int(h * HOUR)]) for h in (first_h, last_h))
    assert false_alarms(first, last, [fault(100, 140)]) == cost


def test_readings_less_than_an_hour_apart_are_one_alarm() -> None:
    """59 minutes merge, 60 do not."""
    at = START + 60 * np.array([0, 59, 118, 178, 300])
    first, last = alarms(at, np.ones(5, np.bool_))
    assert first.tolist() == [at[0], at[3], at[4]]
    assert last.tolist() == [at[2], at[3], at[4]]


def test_delay_and_widened_span() -> None:
    """A fault is found half an hour beside it, but its delay counts inside alone."""
    labels = [fault(100, 104), fault(200, 204), fault(300, 301)]
    counted = count([series(20, [101.5, 103, 204.5], labels)], 1.0)
    assert counted.found.tolist() == [True, True, False]
    assert counted.delay_s[0] == 1.5 * HOUR
    assert np.isnan(counted.delay_s[1:]).all()
    assert counted.recall == pytest.approx(2 / 3)
    assert counted.false_alarms == 0
    assert counted.precision == 1
    hours = 20 * 24 - (11 + 11 + 5) / 2  # readings within the widened spans stand for no quiet time
    assert counted.months == pytest.approx(hours / 24 / 30.44)


minutes = st.integers(0, 9 * 24 * 6).map(lambda tens: 600 * tens)
spans = st.lists(st.tuples(minutes, st.integers(0, 3 * 24 * 6).map(lambda tens: 600 * tens)), max_size=4)


@st.composite
def scored(draw: st.DrawFn) -> Scored:
    """A few days of ten-minute scores with ties and gaps, mostly low, and up to four faults, some overlapping."""
    n = draw(st.integers(0, 9 * 24 * 6))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    score = np.round(rng.standard_exponential(n) ** 2, draw(st.integers(0, 2)))
    slow = np.repeat(rng.standard_exponential(n // 36 + 1) ** 2, 36)[:n]
    score = np.maximum(score, np.round(slow, 1)) if draw(st.booleans()) else score
    score[rng.random(n) < draw(st.sampled_from([0, 0.05, 0.5]))] = np.nan
    labels = [Label("surge", START + a, START + a + long, 0.5, 1.0) for a, long in draw(spans)]
    return Scored(START + 600 * np.arange(n), score, labels, 600)


@settings(max_examples=60, deadline=None)
@given(st.lists(scored(), min_size=1, max_size=3), st.floats(0, 12))
def test_counting_equals_its_slow_twin(meters: list[Scored], threshold: float) -> None:
    """Found, delay, cost and quiet time, for any scores, gaps and overlapping faults."""
    counted = count(meters, threshold)
    found, delays, cost, months = naive.count(meters, threshold)
    assert counted.found.tolist() == found
    np.testing.assert_array_equal(counted.delay_s, delays)
    assert counted.false_alarms == cost
    assert counted.months == pytest.approx(months)


@settings(max_examples=12, deadline=None)
@given(st.lists(scored(), min_size=1, max_size=2), st.sampled_from([0.0, 1.0, 4.0, 20.0, 60.0]))
def test_recall_at_a_budget_equals_its_slow_twin(meters: list[Scored], budget: float) -> None:
    """The best over all thresholds, however the rate moves between them."""
    answer = recall_at_budget(meters, budget)
    if any(one.labels for one in meters):
        assert answer.counted.recall == naive.recall_at_budget(meters, budget)
    else:
        assert math.isnan(answer.counted.recall)
    assert answer.counted.false_alarms <= budget * answer.counted.months + 1e-9


def many_faults(seed: int, noise: float, cadence: int = 1800) -> list[Scored]:
    """Ten meters of 60 days with faults that a score shows above its noise."""
    rng = np.random.default_rng(seed)
    meters = []
    for _ in range(10):
        at = START + np.arange(0, 60 * DAY, cadence)
        labels = [
            fault(a, a + long, str(rng.choice(["theft", "drop"])), float(rng.random()))
            for a, long in zip(range(120, 1300, 200), rng.uniform(1, 60, 6), strict=True)
        ]
        score = noise * rng.standard_normal(len(at))
        for label in labels:
            score[slice(*np.searchsorted(at, [label.start_at, label.end_at + 1]))] += 1 + label.severity
        meters.append(Scored(at, score, labels, cadence))
    return meters


def test_perfect_and_null_detectors_bracket_every_measure() -> None:
    """A perfect score finds everything at no cost; a constant one and an inverted one find nothing."""
    perfect = many_faults(1, noise=0.0)
    found = summary(perfect, shipped=0.5)
    for key in ("at_0.5_recall", "at_4_recall", "shipped_recall", "shipped_precision", "at_1_recall_theft"):
        assert found[key] == 1
    assert found["shipped_rate"] == 0
    assert found["at_1_delay_h"] <= 0.5
    assert vus_pr(perfect, buffers_s=(0,)) == pytest.approx(1)
    assert found["vus_pr"] > 0.8  # with buffers a score would have to rise towards the fault
    null = [Scored(one.at, np.zeros(len(one.at)), one.labels, one.cadence_s) for one in perfect]
    missed = summary(null, shipped=0.5)
    for key in ("at_0.5_recall", "at_4_recall", "shipped_recall", "shipped_rate"):
        assert missed[key] == 0
    assert math.isinf(missed["at_1_threshold"])
    assert missed["vus_pr"] < 0.3
    inverted = [Scored(one.at, -one.score, one.labels, one.cadence_s) for one in perfect]
    assert recall_at_budget(inverted, 1).counted.recall == 0


def test_more_noise_finds_less_and_more_budget_finds_more() -> None:
    """Recall falls with noise and rises with the budget; the area agrees."""
    levels = [many_faults(2, noise) for noise in (0.2, 0.5, 1.0)]
    recalls = [recall_at_budget(meters, 1.0).counted.recall for meters in levels]
    areas = [vus_pr(meters) for meters in levels]
    assert recalls == sorted(recalls, reverse=True)
    assert recalls[0] > recalls[2]
    assert areas == sorted(areas, reverse=True)
    budgets = [answer.counted.recall for answer in recall_at_budgets(levels[2], (0.5, 1, 2, 4, 30))]
    assert budgets == sorted(budgets)
    assert budgets[-1] > budgets[0]


def test_a_threshold_that_touches_everything_is_no_way_out() -> None:
    """One alarm over the whole series touches all faults, and costs each day beyond the forgiven one."""
    always = [Scored(one.at, np.ones(len(one.at)), one.labels, one.cadence_s) for one in many_faults(3, 0.0)]
    counted = count(always, 0.5)
    assert counted.recall == 1
    assert counted.rate > 25
    assert recall_at_budget(always, 4).counted.recall == 0


def test_recall_by_kind_and_severity() -> None:
    """Shares of each kind and of each third of severity."""
    labels = [fault(1, 2, "theft", 0.1), fault(3, 4, "theft", 0.5), fault(5, 6, "drop", 1.0)]
    found = np.array([True, False, True])
    assert by_kind(labels, found) == {"drop": 1.0, "theft": 0.5}
    assert by_severity(labels, found) == {"clear": 0.0, "faint": 1.0, "plain": 1.0}


def test_band_and_pinball() -> None:
    """Coverage counts what has a band; the true quantile has the least pinball loss."""
    rng = np.random.default_rng(4)
    actual = rng.normal(size=20_000)
    band = np.full(20_000, 1.959964)
    assert coverage(actual, -band, band) == pytest.approx(0.95, abs=0.01)
    assert coverage(np.array([0.0, 5.0, np.nan]), np.array([-1.0, -1, -1]), np.array([1.0, 1, 1])) == 0.5
    assert math.isnan(coverage(actual[:1] * np.nan, actual[:1], actual[:1]))
    losses = [pinball(actual, np.full(20_000, q), 0.9) for q in (0.8, 1.2816, 1.8)]
    assert losses[1] < min(losses[0], losses[2])
    assert pinball(np.array([3.0, 1.0]), np.array([1.0, 2.0]), 0.9) == pytest.approx((1.8 + 0.1) / 2)


def test_nothing_judged_and_nothing_to_find() -> None:
    """Empty series, all NaN, no labels: NaN or 0, never a crash."""
    empty = Scored(np.zeros(0, np.int64), np.zeros(0), [], 60)
    blind = Scored(START + 60 * np.arange(100), np.full(100, np.nan), [fault(0.5, 1)], 60)
    calm = series(10, [], [])
    assert recall_at_budget([blind], 1).counted.recall == 0
    assert math.isnan(recall_at_budget([empty], 1).counted.recall)
    assert count([calm, empty], 0.5).false_alarms == 0
    assert math.isnan(vus_pr([calm]))
    assert math.isnan(vus_pr([blind]))
    assert recall_at_budget([], 1).counted.months == 0


def test_a_million_scores_are_quick() -> None:
    """Four budgets over 1.7 million scores, all different, take seconds, not minutes."""
    meters = [one for seed in range(2) for one in many_faults(seed, 0.5, cadence=60)]
    begun = time.perf_counter()
    answers = recall_at_budgets(meters)
    assert time.perf_counter() - begun < 20
    assert all(answer.counted.rate <= answer.budget for answer in answers)
