"""What stages write down, in a real MLflow store: one parent a `dvc repro`, a nested run a stage or detector."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from meterwatch.storage.models import RegistryError
from tests.instances import wait_for
from training import lineage, tracking
from training.prepared import Prepared
from training.series import Series

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

AT = 60 * np.arange(100)
STARTS = {"train": 0, "calibrate": 3000, "evaluate": 4500, "end": 6000}
DATA = Prepared(Series("household", AT, np.zeros((7, 100))), STARTS, "ab" * 32)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store of its own; making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlruns')}/mlflow.db"


@pytest.fixture
def client(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """The store, in a directory that is no repository, as seen by one `dvc repro` a test."""
    import mlflow

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METERWATCH_MLFLOW_TRACKING_URI", store)
    monkeypatch.setattr(lineage, "repro", lambda: str(tmp_path))
    return mlflow.MlflowClient(store)


def tree(client: MlflowClient, token: str) -> tuple[Run, dict[str, Run]]:
    """A `dvc repro`'s parent and its nested runs by name."""
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT).experiment_id
    (parent,) = client.search_runs([experiment], f"tags.repro = '{token}'")
    below = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    return parent, {run.info.run_name: run for run in below}


def files(client: MlflowClient, run: Run, folder: str | None = None) -> list[str]:
    return [one.path for one in client.list_artifacts(run.info.run_id, folder)]


def test_stages_of_one_repro_are_nested_runs_of_one_parent(client: MlflowClient, tmp_path: Path) -> None:
    with tracking.stage("prepare", {"prepare": {"file": "a.txt"}}, {"data_sha256": "abc"}) as run:
        run.metrics({"readings": 5, "unknown": float("nan")})
    with tracking.stage("forest", {"forest": {"trees": 3}}):
        pass

    parent, below = tree(client, str(tmp_path))

    assert set(below) == {"prepare", "forest"}
    assert {run.info.status for run in (parent, *below.values())} == {"FINISHED"}
    assert below["prepare"].data.params == {"prepare.file": "a.txt"}
    assert parent.data.params == {"prepare.file": "a.txt", "forest.trees": "3"}
    assert below["prepare"].data.metrics == {"readings": 5}
    assert parent.data.tags["data_sha256"] == "abc"
    assert below["forest"].data.tags["stage"] == "forest"


def test_a_stage_that_fails_fails_its_run_and_the_parent_and_is_not_swallowed(
    client: MlflowClient, tmp_path: Path
) -> None:
    def broken() -> None:
        with tracking.stage("forest", {}):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()

    parent, below = tree(client, str(tmp_path))
    assert (parent.info.status, below["forest"].info.status) == ("FAILED", "FAILED")


def test_what_one_looks_for_first_is_with_the_parent_too(client: MlflowClient, tmp_path: Path) -> None:
    with tracking.stage("evaluate", {}) as run:
        run.figure(Figure(), "curve")
        run.text("# Found\n", "reports/comparison.md")
        run.describe("**all** of it")
        run.overall({"recall": 0.5})
        run.uses(DATA, "train", "calibrate")
        with run.beside("forest", "forest alone") as one:
            one.metrics({"recall": 0.3})

    parent, below = tree(client, str(tmp_path))

    for run_ in (parent, below["evaluate"]):
        assert files(client, run_, "figures") == ["figures/curve.png"]
        assert files(client, run_, "reports") == ["reports/comparison.md"]
        (used,) = run_.inputs.dataset_inputs
        assert used.dataset.name == "household, train to calibrate"
        assert DATA.source_sha256.startswith(used.dataset.digest)
        assert json.loads(used.dataset.profile) == {"num_rows": 75, "data_sha256": DATA.source_sha256}
    assert parent.data.tags["mlflow.note.content"] == "**all** of it"
    assert (parent.data.metrics, below["evaluate"].data.metrics) == ({"recall": 0.5}, {})
    assert below["forest alone"].data.metrics == {"recall": 0.3}
    assert below["forest alone"].data.tags["detector"] == "forest"
    assert below["forest alone"].data.params == {"detector": "forest alone"}


def test_what_a_later_stage_says_stands_above_what_an_earlier_one_said(client: MlflowClient, tmp_path: Path) -> None:
    for name, said in (("evaluate", "found"), ("register", "why")):
        with tracking.stage(name, {}) as run:
            run.describe(said)

    assert tree(client, str(tmp_path))[0].data.tags["mlflow.note.content"] == "why\n\nfound"


def test_the_parent_has_the_environment_and_a_stages_run_the_machines_load(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setattr(tracking, "_SAMPLED_S", 0.05)
    with tracking.stage("forest", {}) as run:
        wait_for("a sample", lambda: "system/cpu_utilization_percentage" in client.get_run(run.run_id).data.metrics)

    parent, below = tree(client, str(tmp_path))
    assert files(client, below["forest"]) == []
    environment = client.download_artifacts(parent.info.run_id, "environment.txt", str(tmp_path))
    assert f"mlflow=={mlflow.__version__}" in Path(environment).read_text().splitlines()


def test_a_registry_that_is_no_database_is_one_line_with_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 1000)
    monkeypatch.setenv("METERWATCH_MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")

    with pytest.raises(RegistryError, match="register` makes a new one"), tracking.stage("forest", {}):
        pass


def test_the_experiment_says_what_its_runs_are(client: MlflowClient) -> None:
    with tracking.stage("prepare", {}):
        pass

    about = client.get_experiment_by_name(tracking.EXPERIMENT).tags
    assert about["mlflow.experimentKind"] == "custom_model_development"
    assert "dvc repro" in about["mlflow.note.content"]


def test_a_copied_project_writes_beside_itself(client: MlflowClient, store: str, tmp_path: Path) -> None:
    """MLflow records absolute paths: runs of a copy must not land in the project that it was copied from."""
    with tracking.stage("prepare", {}):
        pass
    origin = store.removeprefix("sqlite:///")
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(origin, copy / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METERWATCH_MLFLOW_TRACKING_URI", f"sqlite:///{copy}/mlflow.db")
        patch.setattr(lineage, "repro", lambda: "copied")
        with tracking.stage("prepare", {}) as run:
            run.text("here", "where.txt")

    assert [path.parent.parent.parent for path in copy.rglob("where.txt")] == [copy / "artifacts"] * 2
    parent, _ = tree(type(client)(f"sqlite:///{copy}/mlflow.db"), "copied")
    assert parent.info.artifact_uri.startswith((copy / "artifacts").as_uri())


def names(program: str, tmp_path: Path, times: int = 1) -> list[str]:
    """What stages started by a program of that name call their `dvc repro`."""
    asked = "from training import lineage; print(lineage.repro())"
    loop = f"for _ in range({times}): subprocess.run([sys.executable, '-c', '{asked}'], check=True)"
    (tmp_path / program).write_text(f"import subprocess, sys\n{loop}\n")
    done = subprocess.run([sys.executable, tmp_path / program], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_stages_below_one_dvc_process_share_a_name_and_by_hand_each_has_its_own(tmp_path: Path) -> None:
    below = names("dvc", tmp_path, times=2)

    assert below[0] == below[1]
    assert len({*below, *names("dvc", tmp_path), *names("other", tmp_path, times=2)}) == 4


def test_the_experiments_of_one_queue_are_runs_of_their_own(tmp_path: Path) -> None:
    """`dvc queue start` has one worker, a `dvc` process too, start one `dvc` process after the other."""
    (tmp_path / "worker").mkdir()
    names("dvc", tmp_path)
    one = f"subprocess.run([sys.executable, {str(tmp_path / 'dvc')!r}], check=True)"
    (tmp_path / "worker/dvc").write_text(f"import subprocess, sys\n{one}\n{one}\n")

    done = subprocess.run([sys.executable, tmp_path / "worker/dvc"], capture_output=True, text=True, check=True)

    assert len(set(done.stdout.split())) == 2


@pytest.mark.parametrize("command", ["init -q", None])
def test_without_a_commit_there_is_no_revision(command: str | None, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    if command:
        subprocess.run(["git", *command.split()], check=True)

    assert lineage.revision() == {}


def test_the_lock_is_named_by_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert lineage.lock_hash() == {}
    lineage.LOCK.write_text("a")
    first = lineage.lock_hash()
    lineage.LOCK.write_text("b")

    assert list(first) == ["dvc_lock_sha256"]
    assert first != lineage.lock_hash()
