"""What a model got most wrong is what is shown, the worst first."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from meterwatch.detection.alarms import MONTH_S, Scored
from meterwatch.detection.faults import Label
from tests.households import START
from training import figures, worst
from training.series import Series

AT = START + 900 * np.arange(40 * 96)
LABELS = [Label(kind, int(AT[place]), int(AT[place + 8]), severity, 1.0)
          for kind, place, severity in (("surge", 500, 0.2), ("theft", 1500, 0.9), ("surge", 2500, 0.6))]  # fmt: skip


def copy(score: Any, labels: Any = ()) -> Any:
    bands = {name: np.zeros(len(AT)) for name in ("lower_kw", "upper_kw", "expected_kw")}
    verdicts = SimpleNamespace(score=score, anomalous=score >= 0, **bands)
    return SimpleNamespace(series=Series("m", AT, np.ones((7, len(AT)))), labels=list(labels), verdicts=verdicts)


def spikes(**places: float) -> Any:
    score = np.full(len(AT), -9.0)
    for place, height in places.items():
        score[int(place[1:])] = height
    return score


def test_the_most_severe_fault_that_was_missed_comes_first() -> None:
    found = worst.misses([copy(spikes(), LABELS)], np.array([False, False, True]))

    assert [one.start_at for one in found] == [LABELS[1].start_at, LABELS[0].start_at]
    assert found[0].title == "theft, severity 0.90 of 1"
    assert worst.misses([copy(spikes(), LABELS)], np.ones(3, bool)) == []


def test_the_highest_alarm_comes_first() -> None:
    found = worst.false_alarms(copy(spikes(p100=0.5, p900=2.0, p901=1.0)), 0.0)

    assert [(one.start_at, one.end_at) for one in found] == [(AT[900], AT[901]), (AT[100], AT[100])]
    (near,) = worst.false_alarms(copy(spikes(p100=0.5)), 0.75)
    assert near.title == "score 0.50 is below the threshold, 0.75"
    for episodes in (found, []):
        figures.episodes(episodes, "Worst false alarms").savefig(io.BytesIO())


def test_return_periods_that_hold_lie_on_the_line() -> None:
    months = len(AT) * 900 / MONTH_S
    score = spikes(**{f"p{100 * k}": np.log10(months / k) + 1e-9 for k in range(1, 30)})  # k alarms at or above each

    promised, raised = worst.calibration(Scored(AT, score, [], 900))

    within = (raised > 0) & (raised < 29 / months)
    assert within.sum() > 3
    np.testing.assert_allclose(raised[within], promised[within], atol=1 / months)
    figures.tail_calibration(promised, raised).savefig(io.BytesIO())


@pytest.mark.parametrize(("score", "best"), [(spikes(p502=1.0, p1502=1.0, p2502=1.0), 1.0), (spikes(p50=1.0), 0.0)])
def test_precision_and_recall_of_what_finds_all_and_nothing(score: Any, best: float) -> None:
    curves = worst.precision_and_recall([Scored(AT, score, LABELS, 900)])

    assert set(curves) == {"surge", "theft"}
    for recall, precision in curves.values():
        assert set(recall.tolist()) == set(precision.tolist()) == {best}
    figures.precision_recall(curves).savefig(io.BytesIO())
