"""What other thresholds would mean: alarms counted as everywhere, from what was stored and labelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from meterwatch.detection.alarms import Scored
from meterwatch.detection.faults import Label
from meterwatch.detection.intervals import byar
from meterwatch.detection.suggestion import candidates, lowest
from meterwatch.settings import Settings
from meterwatch.storage import labels
from meterwatch.storage.evidence import evidence
from tests.households import START, household
from tests.stored import event, store

if TYPE_CHECKING:
    from pathlib import Path

HOUR_S = 3_600
AT = START + 900 * np.arange(30 * 96)
SCORES = st.lists(st.floats(-2, 4), min_size=len(AT), max_size=len(AT)).map(np.array)


@given(st.integers(1, 400))
def test_the_interval_of_a_count_is_near_the_exact_one(count: int) -> None:
    low, high = byar(count)

    assert low == pytest.approx(chi2.ppf(0.025, 2 * count) / 2, rel=0.05, abs=0.07)
    assert high == pytest.approx(chi2.ppf(0.975, 2 * count + 2) / 2, rel=0.05)


def test_without_a_count_the_interval_begins_at_nothing() -> None:
    low, high = byar(0)

    assert low == 0
    assert 3 < high < 4


def label(name: str, first: int, last: int) -> Label:
    return Label(name, int(AT[first]), int(AT[last]), 0.0, 0.0)


def peaked(*peaks: tuple[int, float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    score = np.full(len(AT), -1.0)
    for place, height in peaks:
        score[place] = height
    return score


def test_real_events_are_kept_or_lost_and_everything_else_is_false() -> None:
    meter = Scored(
        AT,
        peaked((100, 0.4), (500, 1.4), (900, 0.4), (1300, 0.4)),
        [label("real", 100, 100), label("real", 500, 500)],
        900,
    )

    low, high = candidates([meter], [[label("false_alarm", 900, 900)]], 1.0, [0.0, 1.0])

    assert (low.kept, low.share, low.false_alarms, low.confirmed) == (2, 1.0, 2, 1)
    assert (high.kept, high.share, high.false_alarms, high.confirmed) == (1, 0.5, 0, 0)
    assert low.rate_low < low.rate < low.rate_high
    assert high.share_low < 0.5 < high.share_high


@given(st.lists(st.tuples(st.integers(0, len(AT) - 1), st.floats(-1, 4)), max_size=30))
def test_a_higher_threshold_never_keeps_more(peaks: list[tuple[int, float]]) -> None:
    meter = Scored(AT, peaked(*peaks), [label("real", place, place) for place, _ in peaks[::2]], 900)

    found = candidates([meter], [[]], 1.0, [-0.5, 0.0, 0.5, 2.0])

    assert [one.kept for one in found] == sorted((one.kept for one in found), reverse=True)


def test_the_lowest_within_the_budget_is_suggested() -> None:
    meter = Scored(AT, peaked(*((100 * k, 0.1 * k) for k in range(1, 20))), [], 900)
    found = candidates([meter], [[]], 1.0, [0.0, 1.0, 1.75, 5.0])

    best = lowest(found, 2.0)

    assert best is not None
    assert best.threshold == 1.75
    assert best.share is None
    assert lowest(found, -1.0) is None


def test_the_database_says_what_was_scored_labelled_and_for_how_long(tmp_path: Path) -> None:
    settings = Settings(run_dir=tmp_path)
    at, channels = household(days=4, seed=2)
    odd = np.isin(np.arange(len(at)), [600, 601, 3000])
    told = [event(k, "h", int(at[place]), int(at[place + 1])) for k, place in enumerate((600, 3000))]
    store(tmp_path / "meterwatch.db", "h", at, channels, anomalous=odd, events=told)
    labels.put(settings, "h-0", label="real", note="", by="ada")
    labels.put(settings, "h-1", label="false_alarm", note="", by="ada")

    known = evidence(settings, 0.0)

    (one,) = known.meters
    assert one.at.tolist() == at[odd].tolist()
    assert [(span.start_at, span.end_at) for span in one.labels] == [(at[600], at[601])]
    assert [span.start_at for span in known.wrong[0]] == [at[3000]]
    assert known.months == pytest.approx(4 / 30.44)
    assert known.versions == ["1"]


def test_an_empty_database_is_no_evidence(tmp_path: Path) -> None:
    known = evidence(Settings(run_dir=tmp_path), 0.0)

    assert (known.meters, known.months, known.versions) == ([], 0.0, [])
