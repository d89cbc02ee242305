"""Stage `evaluate`: the same months for everyone, judged from the state before them, and figures that compare."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from meterwatch.detection.alarms import Scored
from meterwatch.detection.detector import Detector
from meterwatch.detection.faults import Label
from tests.households import START, in_parts
from training import comparison, evaluate
from training.evaluate import OURS, expectation, figures_of
from training.judged import Judged, evaluated_on, judge, judge_copies, known_before
from training.params import Evaluate
from training.series import Series, together

if TYPE_CHECKING:
    from pathlib import Path

    from training.prepared import Prepared

TOLD = Evaluate(copies=2, faults_per_month=20.0, budget=1.0, seed=5)


@pytest.fixture(scope="module")
def data() -> Prepared:
    return in_parts()


@pytest.fixture(scope="module")
def judged(bundle: Path, data: Prepared) -> tuple[Judged, list[Judged]]:
    detector = Detector.load(bundle)
    known = known_before(detector, data)
    return judge(detector, known, data.part("evaluate")), judge_copies(detector, known, data, TOLD)


def test_the_months_are_judged_as_if_all_before_had_just_been_seen(
    bundle: Path, data: Prepared, judged: tuple[Judged, list[Judged]]
) -> None:
    at_once = data.part("train", "evaluate")
    everything = Detector.load(bundle).observe(["m"], [None], [None], together([at_once])).verdicts

    clean, _ = judged

    np.testing.assert_array_equal(clean.series.at, data.part("evaluate").at)
    np.testing.assert_array_equal(clean.verdicts.score, everything.score[-len(clean.series.at) :])


def test_each_copy_has_other_faults_in_the_same_months(judged: tuple[Judged, list[Judged]]) -> None:
    clean, (one, two) = judged

    assert one.labels
    assert one.labels != two.labels
    for copy in (one, two):
        changed = ((copy.series.channels != clean.series.channels) & np.isfinite(clean.series.channels)).any(axis=0)
        inside = np.zeros(len(clean.series.at), bool)
        for label in copy.labels:
            inside |= (clean.series.at >= label.start_at) & (clean.series.at <= label.end_at)
        assert not (changed & ~inside).any()


def test_readings_faults_and_budget_name_an_evaluation(judged: tuple[Judged, list[Judged]]) -> None:
    _, copies = judged
    other = copies[0].series.channels.copy()
    other[0, 7] += 0.001
    touched = Judged(
        Series("m", copies[0].series.at, other), copies[0].labels, copies[0].verdicts, copies[0].trace, copies[0].events
    )  # fmt: skip

    names = [
        evaluated_on(copies, 1.0), evaluated_on(copies, 2.0), evaluated_on(copies[:1], 1.0),
        evaluated_on([touched, copies[1]], 1.0),
    ]  # fmt: skip

    assert len(set(names)) == len(names)
    assert evaluated_on(copies, 1.0) == names[0]


def test_a_perfect_detector_finds_all_a_blind_one_nothing() -> None:
    at = START + 900 * np.arange(60 * 96)
    labels = [Label("surge", int(at[k]), int(at[k + 8]), 0.5, 1.0) for k in (1000, 3000, 5000)]
    inside = np.zeros(len(at))
    for label in labels:
        inside[(at >= label.start_at) & (at <= label.end_at)] = 1.0
    scored = {OURS: [Scored(at, inside, labels, 900)], "forest": [Scored(at, np.zeros(len(at)), labels, 900)]}

    found = figures_of(scored, {OURS: 0.5}, 1.0)

    assert (found[OURS]["recall"], found[OURS]["false_alarms_a_month"], found[OURS]["precision"]) == (1.0, 0.0, 1.0)
    assert (found[OURS]["shipped_recall"], found[OURS]["shipped_false_alarms_a_month"]) == (1.0, 0.0)
    assert found["forest"]["recall"] == 0.0
    assert not [name for name in found["forest"] if name.startswith("shipped_")]


def test_the_band_and_the_quiet_months_are_measured(judged: tuple[Judged, list[Judged]]) -> None:
    found = expectation(judged[0], 0.0)

    assert 0.5 < found["coverage"] <= 1
    assert found["scored_share"] == 1.0
    assert found["pinball_lower_kw"] < found["pinball_expected_kw"]
    assert found["ordinary_false_alarms_a_month"] >= 0


FOUND = {
    name: {"recall": 0.5, "recall_surge": 0.5, "recall_plain": 1.0, "delay_h": 0.25, "delay_h_surge": 0.25,
           "faults": 2.0}
    for name in comparison.TITLES
}  # fmt: skip
FOUND[OURS] |= {"shipped_recall": 0.4, "shipped_recall_surge": 0.4, "shipped_false_alarms_a_month": 1.2,
                "pinball_expected_kw": 0.05, "coverage": 0.95}  # fmt: skip


def test_tables_hold_every_detector_and_are_the_same_bytes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    curves = {name: [0.1] * len(evaluate.CURVE_BUDGETS) for name in FOUND}

    def written() -> dict[str, bytes]:
        evaluate._tables(FOUND, curves)
        return {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    first = written()

    assert first == written()
    assert json.loads(evaluate.EVALUATION.read_text()) == {"detectors": FOUND}
    for name in FOUND:
        assert json.loads((evaluate.METRICS / f"{name}.json").read_text())["recall"] == 0.5
    kinds = (evaluate.PLOTS / "recall_by_kind.csv").read_text().splitlines()
    assert kinds == [",".join(["kind", *FOUND]), ",".join(["surge", *["0.500000"] * 5])]
    budgets = (evaluate.PLOTS / "recall_by_budget.csv").read_text().splitlines()
    assert budgets[1] == ",".join(["0.25", *["0.100000"] * 5])
    assert len(budgets) == 1 + len(curves[OURS])


def test_the_page_has_a_row_for_each_detector_and_each_kind() -> None:
    lines = comparison.page(FOUND, {"surge": 2, "base_load": 1}, 1.0).splitlines()

    assert lines[0] == "Share of 3 injected faults found at 1 false alarm a meter and month."
    for title in comparison.TITLES.values():
        assert any(line.startswith(f"| {title} | 50.0% |") for line in lines)
    assert "| surge | 2 | 50% | 50% | 50% | 50% | 50% |" in lines
    assert "| base load | 1 |  |  |  |  |  |" in lines
    assert any(line.startswith("| *any, plain* | | 100% |") for line in lines)
    assert {line.count("|") for line in lines if line.startswith("|")} == {7, 8}


def test_metrics_are_grouped_without_one_hiding_another() -> None:
    found = comparison.grouped(FOUND[OURS])

    assert len(found) == len(FOUND[OURS])
    assert found["at_budget/recall"] == 0.5
    assert found["by_kind_recall/surge"] == 0.5
    assert found["by_severity_recall/plain"] == 1.0
    assert found["by_kind_delay_h/surge"] == 0.25
    assert found["shipped/recall_surge"] == 0.4
    assert found["pinball/expected_kw"] == 0.05
    assert found["coverage"] == 0.95
