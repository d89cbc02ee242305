"""The registry, read and moved without mlflow, against MLflow itself on a real store."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from starlette.testclient import TestClient

from meterwatch.detection.memory import SCHEMA
from meterwatch.settings import Settings
from meterwatch.storage import champions, models
from meterwatch.storage.model_evaluations import record
from meterwatch.storage.models import RegistryError
from serving.app import create_app

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow import MlflowClient

NAME = "meterwatch"


def _client(uri: str) -> MlflowClient:
    import mlflow

    return mlflow.MlflowClient(uri)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a registry of three versions, written by MLflow."""
    root = tmp_path_factory.mktemp("registry")
    (root / "mlruns").mkdir()
    client = _client(f"sqlite:///{root}/mlruns/mlflow.db")
    artifacts = root / "mlruns" / "artifacts"
    experiment = client.create_experiment("meterwatch", artifacts.as_uri())
    client.create_registered_model(NAME)
    for number in (1, 2, 3):
        run = client.create_run(experiment)
        place = artifacts / "models" / f"m-{number}" / "artifacts"
        bundle = place / "artifacts" / "bundle"
        bundle.mkdir(parents=True)
        (bundle / "manifest.json").write_text("{}")
        client.create_model_version(NAME, place.as_uri(), run.info.run_id, tags={models.BUNDLE_SHA256: f"hash{number}"})
    return root


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A private copy, away from where it was made."""
    return shutil.copytree(made, tmp_path / "moved")


@pytest.fixture
def settings(project: Path) -> Settings:
    return Settings(mlflow_tracking_uri=f"sqlite:///{project}/mlruns/mlflow.db")


def aliases(settings: Settings) -> dict[str, str]:
    """As MLflow sees them."""
    client = _client(settings.mlflow_tracking_uri)
    return {alias: str(number) for alias, number in client.get_registered_model(NAME).aliases.items()}


def test_no_registry_is_no_champion_and_a_clear_error(tmp_path: Path) -> None:
    settings = Settings(mlflow_tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")

    assert models.versions(settings) == []
    assert models.champion(settings) is None
    with pytest.raises(RegistryError, match="dvc repro"):
        champions.rollback(settings)
    assert not (tmp_path / "mlflow.db").exists()


def test_an_empty_file_is_no_registry(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "mlflow.db").close()
    settings = Settings(mlflow_tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")

    assert models.champion(settings) is None


def test_another_kind_of_store_is_refused() -> None:
    with pytest.raises(RegistryError, match="sqlite:///PATH"):
        models.versions(Settings(mlflow_tracking_uri="http://127.0.0.1:5000"))


def test_versions_are_read_newest_first_with_their_files_where_they_are_now(settings: Settings, project: Path) -> None:
    found = models.versions(settings)

    assert [one.version for one in found] == ["3", "2", "1"]
    for one in found:
        assert one.bundle_dir.is_relative_to(project)
        assert (one.bundle_dir / "manifest.json").is_file()


def test_a_bundle_is_found_by_its_hash_while_its_files_are_there(settings: Settings) -> None:
    found = models.holding(settings, "hash2")

    assert found is not None
    assert found.version == "2"
    assert models.holding(settings, "another") is None


def test_a_bundle_whose_files_are_gone_is_not_held_and_not_promoted(settings: Settings, project: Path) -> None:
    db = sqlite3.connect(project / "mlruns" / "mlflow.db")
    db.execute("UPDATE model_versions SET storage_location = '/nowhere' WHERE version = 2")
    db.commit()
    db.close()

    assert models.holding(settings, "hash2") is None
    with pytest.raises(RegistryError, match="dvc repro"):
        champions.promote(settings, "2")


def test_what_was_tampered_with_is_neither_promoted_nor_rolled_back_to(settings: Settings) -> None:
    champions.promote(settings, "1")
    champions.promote(settings, "2")
    for number in ("1", "3"):
        version = models.numbered(settings, number)
        assert version is not None
        files = {"params.json": hashlib.sha256(b"as registered").hexdigest()}
        (version.bundle_dir / "manifest.json").write_text(json.dumps({"files": files}))
        (version.bundle_dir / "params.json").write_bytes(b"as registered, but not quite")

    with pytest.raises(RegistryError, match=r"params.json was altered since version 3"):
        champions.promote(settings, "3")
    with pytest.raises(RegistryError, match=r"params.json was altered since version 1"):
        champions.rollback(settings)
    (version.bundle_dir / "params.json").write_bytes(b"as registered")  # now only the manifest is another
    with pytest.raises(RegistryError, match=r"manifest.json was altered"):
        champions.promote(settings, "3")
    assert aliases(settings)[models.CHAMPION] == "2"


def test_a_version_that_cannot_read_the_states_is_refused(settings: Settings, project: Path) -> None:
    champions.promote(settings, "1")
    champions.promote(settings, "2")
    for number, schema in ((1, SCHEMA - 1), (2, SCHEMA), (3, SCHEMA - 1)):
        place = project / f"mlruns/artifacts/models/m-{number}/artifacts/artifacts/bundle/manifest.json"
        place.write_text(f'{{"schema": {schema}}}')
    with pytest.raises(RegistryError, match=f"version 3 keeps meters. states in schema {SCHEMA - 1}, "):
        champions.promote(settings, "3")
    with pytest.raises(RegistryError, match="version 1"):
        champions.rollback(settings)
    assert aliases(settings) == {"champion": "2"}


def test_mlflow_sees_promotions_and_rollbacks_step_by_step(settings: Settings) -> None:
    for version in ("1", "2", "3"):
        champions.promote(settings, version, f"test {version}")

    assert aliases(settings)[models.CHAMPION] == "3"
    for expected in ("2", "1"):
        champions.rollback(settings)
        champion = models.champion(settings)
        assert champion is not None
        assert expected == champion.version == aliases(settings)[models.CHAMPION]
    with pytest.raises(RegistryError, match="no champion came before"):
        champions.rollback(settings)
    assert '"reason": "test 2"' in next(v for v in models.versions(settings) if v.version == "2").tags[models.DECISIONS]


def test_an_alias_moved_in_mlflow_counts_for_the_rollback(settings: Settings) -> None:
    champions.promote(settings, "1")
    _client(settings.mlflow_tracking_uri).set_registered_model_alias(NAME, models.CHAMPION, "3")

    champions.rollback(settings)

    assert aliases(settings)[models.CHAMPION] == "1"


def test_a_champion_that_was_deleted_in_mlflow_is_passed_over_by_the_rollback(settings: Settings) -> None:
    for version in ("1", "2", "3"):
        champions.promote(settings, version)
    _client(settings.mlflow_tracking_uri).delete_model_version(NAME, "2")

    champions.rollback(settings)

    assert aliases(settings)[models.CHAMPION] == "1"


def test_promoting_the_champion_again_changes_nothing(settings: Settings) -> None:
    champions.promote(settings, "1")
    champions.promote(settings, "2")
    champions.promote(settings, "2")

    champions.rollback(settings)

    assert aliases(settings)[models.CHAMPION] == "1"


def test_a_challenger_that_is_promoted_is_no_challenger_any_more(settings: Settings) -> None:
    champions.promote(settings, "1")
    champions.challenge(settings, "2")
    assert aliases(settings) == {models.CHAMPION: "1", models.CHALLENGER: "2"}

    champions.promote(settings, "2")

    assert aliases(settings) == {models.CHAMPION: "2"}


def test_what_the_gate_refused_is_promoted_with_a_reason_only_and_the_reason_is_kept(settings: Settings) -> None:
    client = _client(settings.mlflow_tracking_uri)
    for key, value in ((models.GATE, "worse: recall"), (models.GATE_PASSED, "false")):
        client.set_model_version_tag(NAME, "2", key, value)
    champions.promote(settings, "1")

    for reason in (None, "", "  "):
        with pytest.raises(RegistryError, match=r"worse: recall.*--force"):
            champions.promote(settings, "2", force=reason)
    assert aliases(settings) == {models.CHAMPION: "1"}
    champions.promote(settings, "2", force="the summer has no thefts")

    assert aliases(settings)[models.CHAMPION] == "2"
    refused, other = (models.numbered(settings, number) for number in ("2", "1"))
    assert refused is not None
    assert refused.gate == "refused: worse: recall; forced: the summer has no thefts"
    assert other is not None
    assert other.gate == ""


def test_the_service_promotes_past_the_gate_with_a_reason_only(settings: Settings, tmp_path: Path) -> None:
    client = _client(settings.mlflow_tracking_uri)
    for key, value in ((models.GATE, "worse: recall"), (models.GATE_PASSED, "false")):
        client.set_model_version_tag(NAME, "2", key, value)
    place = settings.model_copy(update={"run_dir": tmp_path / "run", "kafka_bootstrap_servers": "127.0.0.1:1"})

    with TestClient(create_app(place, find_champion=lambda: None)) as service:
        refused = service.post("/v1/models/2/promote")
        empty = service.post("/v1/models/2/promote", json={"force": ""})
        done = service.post("/v1/models/2/promote", json={"force": "no thefts here"})
        free = service.post("/v1/models/3/promote")

    assert (refused.status_code, empty.status_code, done.status_code, free.status_code) == (409, 422, 200, 200)
    assert "worse: recall" in refused.json()["detail"]
    told = {one["version"]: one["gate"] for one in done.json()["models"]}
    assert told == {"1": None, "2": "refused: worse: recall; forced: no thefts here", "3": None}


def test_an_unknown_version_is_refused_and_changes_nothing(settings: Settings) -> None:
    champions.promote(settings, "1")

    with pytest.raises(RegistryError, match="no version 9"):
        champions.promote(settings, "9")
    assert aliases(settings) == {models.CHAMPION: "1"}


def test_after_a_move_mlflow_finds_everything_again(settings: Settings, made: Path, project: Path) -> None:
    models.relocate(settings, (made / "mlruns" / "artifacts").as_uri(), (project / "mlruns" / "artifacts").as_uri())

    client = _client(settings.mlflow_tracking_uri)
    experiment = client.get_experiment_by_name("meterwatch")
    assert (project / "mlruns" / "artifacts").as_uri() == experiment.artifact_location
    for run in client.search_runs([experiment.experiment_id]):
        assert run.info.artifact_uri.startswith(experiment.artifact_location)


def test_reading_the_champion_loads_no_mlflow(settings: Settings) -> None:
    champions.promote(settings, "1")
    code = (
        "import sys; from meterwatch.settings import load; from meterwatch.storage import models\n"
        "print(models.champion(load()).version, [m for m in ('mlflow', 'pandas', 'sklearn') if m in sys.modules])"
    )
    told = {"METERWATCH_MLFLOW_TRACKING_URI": settings.mlflow_tracking_uri, "PATH": ""}

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=told)

    assert done.stdout == "1 []\n"


def test_figures_of_live_readings_are_metrics_of_the_run_as_mlflow_sees_it(settings: Settings) -> None:
    """The latest, and the history: an hour's value replaces no earlier hour's."""
    run_id = models.versions(settings)[0].run_id
    assert run_id is not None
    for value in (0.5, 0.75):
        record(settings, run_id, {"shadow/agreement": value, "drift/voltage_v": 0.125})
    client = _client(settings.mlflow_tracking_uri)
    assert client.get_run(run_id).data.metrics == {"shadow/agreement": 0.75, "drift/voltage_v": 0.125}
    assert [point.value for point in client.get_metric_history(run_id, "shadow/agreement")] == [0.5, 0.75]


def test_the_challenger_is_the_version_with_that_alias(settings: Settings) -> None:
    assert models.challenger(settings) is None
    champions.promote(settings, "1")
    champions.challenge(settings, "2")
    found = models.challenger(settings)
    assert found is not None
    assert found.version == "2"
    champions.promote(settings, "2")
    assert models.challenger(settings) is None
