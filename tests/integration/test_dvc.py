"""The pipeline from nothing: what it makes, what it runs again, what it refuses, and what a clone finds."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from meterwatch.settings import Settings
from meterwatch.storage import champions, labels, models
from tests.households import YEAR, household
from tests.instances import ROOT, answers, free_port, wait_for
from tests.pipeline import DVC, RAW, SMALL, STAGES, clone, dvc, git, ran, settings, told
from tests.stored import event, store
from tests.unit.test_pipeline import sources
from training.comparison import TITLES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(900)  # the whole pipeline belongs to the first test's time

MONTH = {"train": "2007-01-01", "calibrate": "2007-01-19", "evaluate": "2007-01-26", "end": "2007-02-02"}
HEADER = ("Date;Time;Global_active_power;Global_reactive_power;Voltage;Global_intensity;"
          "Sub_metering_1;Sub_metering_2;Sub_metering_3")  # fmt: skip


@contextmanager
def one_core() -> Iterator[None]:
    """What is started here has a single core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def sums(place: Path) -> dict[str, str]:
    """Every output's hash."""
    outs = [path for folder in ("prepared", "models", "reports") for path in (place / "data" / folder).rglob("*")]
    return {str(p.relative_to(place)): hashlib.sha256(p.read_bytes()).hexdigest() for p in outs if p.is_file()}


def test_pull_brings_the_data_though_no_output_was_ever_pushed(tmp_path: Path) -> None:
    place = clone(tmp_path / "clone")

    pulled, status = dvc(place, "pull"), dvc(place, "status", f"{RAW}.dvc")

    assert pulled.returncode == 0, pulled.stderr
    assert "up to date" in status.stdout
    recorded = yaml.safe_load((place / f"{RAW}.dvc").read_text())["outs"][0]["md5"]
    assert recorded == hashlib.md5((place / RAW).read_bytes(), usedforsecurity=False).hexdigest()


def test_a_run_ends_with_a_champion_whose_files_are_whole(project: Path) -> None:
    champion = models.champion(settings(project))

    assert champion is not None
    from meterwatch.detection.detector import Detector

    assert Detector.load(champion.bundle_dir).bundle_hash == champion.tags[models.BUNDLE_SHA256]


def test_the_run_is_in_mlflow_as_one_parent_with_its_stages_and_detectors(project: Path) -> None:
    with closing(sqlite3.connect(project / "mlruns" / "mlflow.db")) as db:
        runs = {name: (run, status) for run, name, status in db.execute("SELECT run_uuid, name, status FROM runs")}
        parents = dict(db.execute("SELECT run_uuid, value FROM tags WHERE key = 'mlflow.parentRunId'"))
        keys = {key for (key,) in db.execute("SELECT DISTINCT key FROM metrics")}
    top = [run for run, _ in runs.values() if run not in parents]
    assert len(top) == 1
    assert set(parents.values()) == set(top)
    assert {*STAGES, *TITLES.values()} == set(runs) - {name for name in runs if " repro " in name}
    assert {status for _, status in runs.values()} == {"FINISHED"}
    assert len(keys) >= 20
    figures = {path.stem for path in (project / "mlruns" / "artifacts").rglob("*.png")}
    assert figures == {
        "power_over_time", "voltage_histogram", "correlation", "monthly_mean", "training_curve", "anomalies",
        "anomalies_ordinary", "anomalies_seed_3sigma", "recall_by_kind", "recall_against_alarms", "kinds_told",
        "lasting_changes", "tail_calibration", "precision_recall_by_kind", "worst_misses", "worst_false_alarms",
    }  # fmt: skip
    assert not [p for p in (project / "mlruns").rglob("*") if p.suffix in {".pkl", ".pickle", ".joblib"}]


def test_the_parents_page_compares_the_detectors_and_links_data_and_model(project: Path) -> None:
    with closing(sqlite3.connect(project / "mlruns" / "mlflow.db")) as db:

        def all_of(query: str, *values: str) -> set[str]:
            return {value for (value,) in db.execute(query, values)}

        ((parent, text),) = db.execute("SELECT run_uuid, value FROM tags WHERE key = 'mlflow.note.content'").fetchall()
        joined = "SELECT name FROM inputs JOIN datasets ON dataset_uuid = source_id WHERE destination_id = ?"
        parts = all_of(joined, parent)
        (model,) = all_of("SELECT destination_id FROM inputs WHERE source_id = ?", parent)
        measured = all_of("SELECT metric_name FROM logged_model_metrics WHERE model_id = ?", model)
        (about,) = all_of("SELECT description FROM registered_models")
        (version,) = all_of("SELECT description FROM model_versions")
    assert all(f"| {title} |" in text for title in TITLES.values())
    assert parts == {f"household, {part}" for part in ("train", "train to calibrate", "train to evaluate", "evaluate")}
    assert "at_budget/recall" in measured
    assert about
    assert "the first version" in version


def test_nothing_runs_when_nothing_changed(project: Path) -> None:
    assert ran(project) == []


def test_a_registry_that_is_gone_is_made_again_and_only_it(project: Path) -> None:
    for path in (project / "mlruns" / name for name in ("mlflow.db", "model_version.json", "artifacts")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    assert ran(project) == ["register"]
    champion = models.champion(settings(project))
    assert champion is not None
    assert champion.gate.startswith("the first version")


def test_the_registered_model_judges_as_the_detector_does(project: Path) -> None:
    import mlflow
    import pandas as pd

    from meterwatch.detection.detector import Detector
    from training.prepared import read
    from training.series import together

    champion = models.champion(settings(project))
    assert champion is not None
    frame = pq.read_table(project / "data/prepared/readings.parquet").slice(0, 6000).to_pandas()
    frame["at"] = pd.to_datetime(frame["at"], unit="s")
    month = read(project / "data/prepared").series.between(0, int(frame["at"].iloc[-1].timestamp()) + 1)
    expected = Detector.load(champion.bundle_dir).observe(["default"], [None], [None], together([month])).verdicts

    mlflow.set_tracking_uri(settings(project).mlflow_tracking_uri)
    found = mlflow.pyfunc.load_model("models:/meterwatch@champion").predict(frame)

    np.testing.assert_array_equal(found["score"].to_numpy(), expected.score)
    np.testing.assert_array_equal(found["anomalous"].to_numpy(), expected.anomalous)
    assert np.isfinite(expected.score).any()


@pytest.mark.long
def test_mlflow_serves_the_champion_with_the_detectors_verdicts(project: Path) -> None:
    from meterwatch.detection.detector import Detector
    from training.prepared import read
    from training.series import together

    champion = models.champion(settings(project))
    assert champion is not None
    frame = pq.read_table(project / "data/prepared/readings.parquet").slice(0, 3000).to_pandas()
    part = read(project / "data/prepared").series.between(0, int(frame["at"].iloc[-1]) + 1)
    expected = Detector.load(champion.bundle_dir).observe(["default"], [None], [None], together([part])).verdicts
    frame["at"] = np.datetime_as_string(frame["at"].to_numpy().astype("datetime64[s]"))
    asked = f'{{"dataframe_split": {frame.to_json(orient="split", double_precision=15)}}}'

    port, uri = free_port(), settings(project).mlflow_tracking_uri
    command = [DVC.with_name("mlflow"), "models", "serve", "-m", "models:/meterwatch@champion",
               "--env-manager", "local", "--port", str(port)]  # fmt: skip
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "PATH": f"{DVC.parent}:{os.environ['PATH']}"}
    with subprocess.Popen(command, cwd=project, env=environment, start_new_session=True) as server:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                wait_for("the server", lambda: answers(f"http://127.0.0.1:{port}/health"), seconds=180)
                told = client.post("/invocations", content=asked, headers={"Content-Type": "application/json"}).json()
        finally:
            os.killpg(server.pid, signal.SIGTERM)

    scores = np.array([np.nan if one["score"] is None else one["score"] for one in told["predictions"]], np.float64)
    np.testing.assert_array_equal(scores, expected.score)
    assert [one["anomalous"] for one in told["predictions"]] == expected.anomalous.tolist()
    assert np.isfinite(scores).any()


def test_a_parameter_runs_what_depends_on_it_and_the_new_model_meets_the_champion_at_the_gate(project: Path) -> None:
    before = models.champion(settings(project))
    assert before is not None
    told(project, {"calibrate": {"iterations": 9}})

    assert ran(project) == ["calibrate", "evaluate", "register"]
    newest, *_ = models.versions(settings(project))
    checks = json.loads(newest.tags[models.GATE_CHECKS])
    assert {one["name"] for one in checks} > {"recall", "false alarms a month as shipped"}
    assert all(one["passed"] for one in checks) is not newest.refused
    now = models.champion(settings(project))
    assert now == (before if newest.refused else newest)
    with closing(sqlite3.connect(project / "mlruns" / "mlflow.db")) as db:
        ((text,),) = db.execute(
            "SELECT description FROM model_versions WHERE version = ?", (newest.version,)
        ).fetchall()
    assert "| recall |" in text


def test_a_line_of_code_concerns_just_the_stages_that_read_it(project: Path) -> None:
    """One module for each set of stages, since what `dvc.yaml` names is proved to be what each imports."""
    from dvc.repo import Repo

    read = {stage: sources(f"training.{stage}") for stage in STAGES}
    readers: dict[tuple[str, ...], str] = {}
    for module in sorted(set().union(*read.values())):
        readers.setdefault(tuple(stage for stage in STAGES if module in read[stage]), module)
    assert len(readers) > len(STAGES)

    for stages, module in readers.items():
        before = (project / module).read_bytes()
        (project / module).write_bytes(before + b"# another line\n")
        with Repo(str(project)) as repo:
            changed = {name.partition(":")[2] or name for name in repo.status()}
        (project / module).write_bytes(before)

        assert changed == set(stages), module


def meterwatch(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("METERWATCH_")}
    command = [sys.executable, "-m", "meterwatch.cli", *words]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, env=env)


def test_another_threshold_is_a_version_that_differs_in_nothing_else(project: Path) -> None:
    from meterwatch.detection.detector import Detector

    before = models.champion(settings(project))
    assert before is not None

    done = meterwatch(project, "threshold", "apply", "0.75")

    assert done.returncode == 0, done.stderr
    newest, *_ = models.versions(settings(project))
    assert newest.aliases == {models.CHALLENGER}
    assert newest.tags["parent_version"] == before.version
    old, new = (Detector.load(one.bundle_dir) for one in (before, newest))
    assert new.bundle_hash == newest.bundle_sha256
    assert (old.params.threshold, new.params.threshold) == (SMALL["detector"]["threshold"], 0.75)
    files = [json.loads((one.bundle_dir / models.MANIFEST).read_text())["files"] for one in (before, newest)]
    assert {name for name in files[0] if files[0][name] != files[1][name]} == {"params.json"}
    assert "another number" in meterwatch(project, "threshold", "apply", f"{old.params.threshold:g}").stderr
    champions.promote(settings(project), newest.version)
    champions.rollback(settings(project))
    assert models.champion(settings(project)) == models.numbered(settings(project), before.version)


def test_a_parameter_that_does_not_exist_is_named(project: Path) -> None:
    before = (project / "params.yaml").read_text()
    told(project, {"forest": {"tres": 3}})

    done = dvc(project, "repro", "forest")

    (project / "params.yaml").write_text(before)
    assert done.returncode != 0
    assert "forest.tres" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broken_file_stops_the_pipeline_with_its_rows_and_the_champion_stays(project: Path) -> None:
    before = models.champion(settings(project))
    lines = [HEADER]
    lines += [f"{1 + i // 1440}/1/2007;{i // 60 % 24:02}:{i % 60:02}:00;400;0;240;1.7;0;0;0" for i in range(20 * 1440)]
    (project / "data/raw/watts.txt").write_text("\n".join(lines))
    kept = (project / "params.yaml").read_text()
    dates = {"train": "2007-01-01", "calibrate": "2007-01-07", "evaluate": "2007-01-13", "end": "2007-01-19"}
    told(project, {"prepare": {"file": "watts.txt", "least_days": 5}, "splits": {"watts": dates}})

    done = dvc(project, "repro")

    (project / "params.yaml").write_text(kept)
    assert done.returncode != 0
    assert "looks like W" in done.stderr
    assert "row 1 (2007-01-01 00:00:00)" in done.stderr
    assert before == models.champion(settings(project))


@pytest.mark.long
def test_retraining_ends_at_the_gate_and_touches_nothing_else(tmp_path: Path) -> None:
    place = clone(tmp_path / "clone")
    told(place, {**SMALL, "prepare": {"least_days": 5}})
    git(place, "commit", "-qam", "small")
    run_dir = place / "data/run"
    at, channels = household(days=45, seed=3)
    real = slice(600, 900)
    run_dir.mkdir(parents=True)
    span = (int(at[real.start]), int(at[real.stop - 1]))
    store(run_dir / "meterwatch.db", "h", at, channels, events=[event(0, "h", *span)])
    labels.put(Settings(run_dir=run_dir), "h-0", label="real", note="", by="ada")
    told(place, {"forest": {"trees": 5}})  # not committed: stays, and is not used

    done = meterwatch(place, "retrain")

    assert done.returncode == 0, done.stderr[-3000:]
    assert git(place, "status", "--porcelain").split() == ["M", "params.yaml"]
    champion = models.champion(settings(place))
    assert champion is not None
    assert champion.gate.startswith("the first version")
    (tag,) = git(place, "tag", "--list", "retrain-*").split()
    params = yaml.safe_load(git(place, "show", f"{tag}:params.yaml"))
    assert (params["prepare"]["meter_id"], params["forest"]["trees"]) == ("h", SMALL["forest"]["trees"])
    md5 = yaml.safe_load(git(place, "show", f"{tag}:data/raw/retrain.parquet.dvc"))["outs"][0]["md5"]
    times = pq.read_table(place / f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}")["at"].cast("int64").to_numpy()
    np.testing.assert_array_equal(times // 10 ** int(np.log10(times[0]) - 9), np.delete(at, np.r_[real]))
    assert not (run_dir / "retrain").exists()


@pytest.mark.long
def test_a_queue_of_two_is_two_runs_and_two_versions_to_compare(tmp_path: Path) -> None:
    """The documented commands, on a month: each experiment runs in a tree of git's, which has nothing built in it."""
    place = clone(tmp_path / "clone")
    told(place, {**SMALL, "prepare": {"least_days": 5}, "splits": {YEAR.name.partition(".")[0]: MONTH}})
    git(place, "commit", "-qam", "small")
    page = (ROOT / "docs/models.md").read_text()
    commands = re.findall(r"^    ((?:export METERWATCH_|dvc ).*)$", page, re.MULTILINE)
    where, queue, start, status, show = commands
    grid = queue.replace("50,100,200", "5,6")
    assert grid != queue

    def run(*commands: str) -> str:
        words = ["bash", "-euc", "\n".join([where, *commands])]
        return subprocess.run(words, cwd=place, capture_output=True, text=True, check=True).stdout

    try:
        run(grid, start)
        wait_for("the queue's end", lambda: not re.search("Queued|Running", run(status)), seconds=1200)
        assert run(status).count("Success") == 2
    finally:
        run("dvc queue stop --kill")

    rows = list(csv.DictReader(run(f"{show} --csv").splitlines()))
    assert {row["forest.trees"] for row in rows if row["Experiment"]} == {"5", "6"}
    with closing(sqlite3.connect(place / "mlruns" / "mlflow.db")) as db:
        compared = db.execute(
            "SELECT p.value FROM params AS p JOIN metrics AS m USING (run_uuid) WHERE p.key = 'forest.trees' "
            "AND m.key = 'at_budget/recall' AND run_uuid IN (SELECT run_uuid FROM tags WHERE key = 'repro')"
        ).fetchall()
    assert sorted(compared) == [("5",), ("6",)]
    assert len(models.versions(settings(place))) == 2


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux to leave cores out")
def test_two_runs_from_nothing_give_the_same_bytes_however_many_cores_there_are(project: Path, tmp_path: Path) -> None:
    again = clone(tmp_path / "again")
    told(again, SMALL)
    told(project, SMALL)
    ran(project)
    with one_core():
        ran(again)

    assert sums(project) == sums(again)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_as_it_is_shipped_it_ends_with_a_champion(tmp_path: Path) -> None:
    """The year and the models in their full size."""
    place = clone(tmp_path / "shipped")

    assert ran(place) == STAGES
    assert models.champion(settings(place)) is not None
