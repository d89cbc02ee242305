"""The page of models, from a registry as MLflow keeps it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from meterwatch.detection.drift import Distance
from meterwatch.settings import Settings
from meterwatch.storage.model_evaluations import evaluations, experiment_of
from meterwatch.storage.models import BUNDLE_SHA256, ModelVersion
from meterwatch.storage.shadow import Comparison, Counts, Events
from serving.dashboard.models_page import models_body
from serving.dashboard.watch_cards import drift_card, shadow_card
from serving.drifting import Drift

if TYPE_CHECKING:
    from collections.abc import Iterable

UTC_ZONE = ZoneInfo("UTC")
TABLES = """
CREATE TABLE registered_model_aliases (name, alias, version);
CREATE TABLE registered_model_tags (name, key, value);
CREATE TABLE model_version_tags (name, version, key, value);
CREATE TABLE model_versions (name, version, run_id, storage_location, source, current_stage);
CREATE TABLE runs (run_uuid, experiment_id, start_time);
CREATE TABLE tags (run_uuid, key, value);
CREATE TABLE latest_metrics (run_uuid, key, value, is_nan);
"""


def registry(path: Path, rows: Iterable[tuple[str, tuple[object, ...]]]) -> Settings:
    """A registry of these rows, beside a table's name each."""
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(TABLES)
        for table, row in rows:
            db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
    return Settings(mlflow_tracking_uri=f"sqlite:///{path}")


def evaluated(
    parent: str, bundle: str, recall: float, started: int, stage: str = "evaluate"
) -> list[tuple[str, tuple[object, ...]]]:
    """The runs of one evaluation: that of the stage, which names the bundle, and two detectors' beside it."""
    rows: list[tuple[str, tuple[object, ...]]] = []
    for run, tags in (
        ("stage", {"stage": stage, BUNDLE_SHA256: bundle}),
        ("ours", {"detector": "meterwatch"}),
        ("seed", {"detector": "seed-3sigma"}),
    ):
        name = f"{parent}-{run}"
        rows.append(("runs", (name, 1, started)))
        rows += [("tags", (name, key, value)) for key, value in {**tags, "mlflow.parentRunId": parent}.items()]
        value = recall if run == "ours" else 0.01
        rows += [("latest_metrics", (name, "at_budget/recall", value, 0)), ("latest_metrics", (name, "empty", 0.0, 1))]
    return rows


def test_a_versions_figures_are_those_of_its_newest_evaluation(tmp_path: Path) -> None:
    rows = [
        *(("model_versions", ("meterwatch", number, f"run {number}", "x", "x", "None")) for number in (1, 2, 3)),
        *(("model_version_tags", ("meterwatch", number, BUNDLE_SHA256, f"sha {number}")) for number in (1, 2)),
        *evaluated("a", "sha 1", 0.4, 10),
        *evaluated("b", "sha 1", 0.5, 20),
        *evaluated("c", "sha 1", 0.9, 30, stage="study"),
        *evaluated("d", "sha 2", 0.6, 5),
        ("runs", ("run 2", 7, 1)),
    ]
    settings = registry(tmp_path / "mlflow.db", rows)
    assert evaluations(settings) == {"1": {"at_budget/recall": 0.5}, "2": {"at_budget/recall": 0.6}, "3": {}}
    assert experiment_of(settings, ["run 1", "run 2"]) == {"run 2": "7"}


def test_no_registry_has_no_figures(tmp_path: Path) -> None:
    settings = Settings(mlflow_tracking_uri=f"sqlite:///{tmp_path}/none.db")
    assert (evaluations(settings), experiment_of(settings, [])) == ({}, {})


def version(number: int, *aliases: str, **tags: str) -> ModelVersion:
    """A registered version."""
    return ModelVersion(str(number), f"run {number}", Path(), frozenset(aliases), tags)


def told(known: list[ModelVersion], *, admin: bool = True) -> str:
    """What the page says of versions that were all measured."""
    one_kind = {"by_kind_recall/left_on": 0.5}
    figures = {one.version: {"at_budget/recall": int(one.version) / 100, **one_kind} for one in known}
    return str(models_body(known, figures, {"run 2": "1"}, serving="2", admin=admin, zone=UTC_ZONE))


def test_champion_and_challenger_are_compared_first_and_other_faults_are_called_out() -> None:
    known = [version(k, evaluated_on="these") for k in (9, 8, 7, 6)]
    known += [version(3, "challenger", evaluated_on="others"), version(2, "champion", evaluated_on="these")]
    shown = told(known)
    comparison = shown[shown.index("On injected faults") :]
    assert "Version 8 " in comparison
    assert "Version 7 " not in comparison
    assert comparison.index("Version 2 ") < comparison.index("Version 3 ") < comparison.index("Version 9 ")
    assert comparison.count("do not compare") == 1
    assert "Found: left on" in comparison
    assert "/#/experiments/1/runs/run 2" in shown
    assert "judges here" in shown


@pytest.mark.parametrize("admin", [True, False])
def test_only_an_admin_may_promote(*, admin: bool) -> None:
    decided = '[{"at": 0, "before": null, "reason": "the first version"}]'
    shown = told([version(2, "champion", decisions=decided), version(1, decisions=decided)], admin=admin)
    assert shown.count("disabled=False") == (2 if admin else 0)  # one other version, and the way back
    assert ("Only an admin" in shown) != admin
    assert "1970-01-01 00:00" in shown


def test_without_a_model_the_next_step_is_named() -> None:
    assert "dvc repro" in str(models_body([], {}, {}, serving=None, admin=True, zone=UTC_ZONE))


def compared(**changed: Any) -> Comparison:
    """A comparison of version 3 beside version 2."""
    counts = Counts(readings=1000, both=4, champion_only=3, challenger_only=7)
    return Comparison("3", "2", 5, 0, 60, counts, 12, 0)._replace(**changed)


def test_a_shadow_is_told_with_its_events_and_how_far_it_is_behind() -> None:
    event = {"event_id": "e", "meter_id": "<b>", "start_at": 0, "end_at": 1800, "peak_at": 60, "severity": 40.0,
             "kind": "left on"}  # fmt: skip
    sides = [{**event, "side": "champion"}, {**event, "side": "challenger", "end_at": None}]
    shown = str(shadow_card(compared(behind_s=7260), Events(5, 1, 6, 2), sides, zone=UTC_ZONE))
    for text in ("99.00 %", "1 of 5 events", "2 of 6 events", "2 h 1 min", "12 meters", "Champion only", "going on"):
        assert text in shown
    assert "taken up anew" not in shown
    again = compared(counts=Counts(begun_again=2))
    shown = str(shadow_card(again, Events(0, 0, 0, 0), [], zone=UTC_ZONE))
    assert "2 taken up anew" in shown
    assert "none yet" in shown
    assert "No challenger" in str(shadow_card(None, Events(0, 0, 0, 0), [], zone=UTC_ZONE))


def test_drift_is_told_in_points_and_what_is_unknown_is_not_faked() -> None:
    near, far, absent = Distance("voltage_v", 0.1, 0.2), Distance("score", 0.31, 0.3), Distance("current_a", None, 0.2)
    shown = str(drift_card(Drift("2", 3, [near, far, absent])))
    assert shown.count("Beyond usual") == 1
    for text in ("10.0", "31.0", "3 meters", "no readings with it"):
        assert text in shown
    assert "dvc repro" in str(drift_card(Drift("2", 0, None)))
    assert "week of readings" in str(drift_card(Drift("2", 0, [near])))
    assert "Not looked at yet" in str(drift_card(None))
