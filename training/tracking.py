"""What a stage did, in MLflow: a parent run a `dvc repro`, a nested run a stage, one more a compared detector.

The stages of one `dvc repro` are processes of their own; they find their parent run by the tag `repro`, which names
the DVC process above them. Stages that DVC skips are simply absent.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from meterwatch.settings import load
from meterwatch.storage.models import SCHEME, relocate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from matplotlib.figure import Figure
    from mlflow import MlflowClient

    from meterwatch.settings import Settings

EXPERIMENT = "meterwatch"
LOCK = Path("dvc.lock")
_PARENT, _COMMIT = "mlflow.parentRunId", "mlflow.source.git.commit"


class Run:
    """One MLflow run. Everything may be called any number of times.

    Args:
        client: the store.
        experiment: the experiment's id.
        run_id: the run.
        parent: the id of the run that stands for the whole `dvc repro`.
    """

    def __init__(self, client: MlflowClient, experiment: str, run_id: str, parent: str) -> None:
        self.client = client
        self.experiment = experiment
        self.run_id = run_id
        self.parent = parent

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters, with the parent too; nested mappings become dotted names."""
        from mlflow.entities import Param

        flat = [Param(key, str(value)) for key, value in _flat(values)]
        for run_id in (self.run_id, self.parent):
            self.client.log_batch(run_id, params=flat)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics; what is not a number is left out."""
        _measured(self.client, self.run_id, values, step)

    def overall(self, values: Mapping[str, float]) -> None:
        """Log metrics of the whole `dvc repro` with the parent, where one compares."""
        _measured(self.client, self.parent, values, 0)

    def tags(self, values: Mapping[str, str]) -> None:
        """Tag this run and its parent."""
        for run_id in {self.run_id, self.parent}:
            for key, value in values.items():
                self.client.set_tag(run_id, key, value)

    def figure(self, figure: Figure, name: str) -> None:
        """Keep a figure under `figures/`, with this run and with the parent, where one looks first."""
        for run_id in (self.run_id, self.parent):
            self.client.log_figure(run_id, figure, f"figures/{name}.png")

    def file(self, path: Path, folder: str | None = None) -> None:
        """Keep a file."""
        self.client.log_artifact(self.run_id, str(path), folder)

    @contextmanager
    def beside(self, name: str) -> Iterator[Run]:
        """One more run below the same parent, for something compared: a detector, a baseline."""
        with _nested(self.client, self.experiment, self.parent, name, {"detector": name}) as run:
            yield run


@contextmanager
def stage(name: str, params: Mapping[str, Any], tags: Mapping[str, str] | None = None) -> Iterator[Run]:
    """Run a stage's work inside its MLflow run; an error ends the run as failed and goes on.

    Args:
        name: the stage's.
        params: what it was told.
        tags: of the run and its parent, such as the data's hash.
    """
    client, experiment = _store(load())
    lineage = {**revision(), **lock_hash(), **(tags or {})}
    parent = _parent(client, experiment, lineage)
    with _nested(client, experiment, parent, name, {"stage": name}) as run:
        run.tags(lineage)
        run.params(params)
        try:
            yield run
        except BaseException:
            client.set_terminated(parent, "FAILED")
            raise
    client.set_terminated(parent, "FINISHED")


def revision() -> dict[str, str]:
    """The git revision as tags; none outside a repository."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return {_COMMIT: done.stdout.strip(), "git_revision": done.stdout.strip()} if done.returncode == 0 else {}


def lock_hash() -> dict[str, str]:
    """The hash of `dvc.lock` as a tag: which data, code and parameters the stages before this one saw."""
    return {"dvc_lock_sha256": hashlib.sha256(LOCK.read_bytes()).hexdigest()} if LOCK.exists() else {}


def _measured(client: MlflowClient, run_id: str, values: Mapping[str, float], step: int) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    known = [Metric(key, float(value), now, step) for key, value in values.items() if not math.isnan(value)]
    client.log_batch(run_id, metrics=known)


def _store(settings: Settings) -> tuple[MlflowClient, str]:
    uri = settings.mlflow_tracking_uri
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow  # seconds: not before there is something to write down

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

    artifacts = None
    if uri.startswith(SCHEME):
        folder = Path(uri.removeprefix(SCHEME)).absolute().parent
        folder.mkdir(parents=True, exist_ok=True)
        artifacts = (folder / "artifacts").as_uri()
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient(uri)
    known = client.get_experiment_by_name(EXPERIMENT)
    if known is None:
        return client, str(client.create_experiment(EXPERIMENT, artifacts))
    if artifacts is not None and known.artifact_location != artifacts:
        relocate(settings, known.artifact_location, artifacts)
    return client, str(known.experiment_id)


def _parent(client: MlflowClient, experiment: str, lineage: Mapping[str, str]) -> str:
    token = _repro()
    found = client.search_runs([experiment], f"tags.repro = '{token}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    name = f"repro {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} {lineage.get('git_revision', '')[:7]}".strip()
    run = client.create_run(
        experiment, run_name=name, tags={"repro": token, "mlflow.source.name": "dvc repro", **lineage}
    )
    return str(run.info.run_id)


def _repro() -> str:
    """Names the `dvc` process above this one; this process where it was started by hand."""
    here = psutil.Process()
    for above in here.parents():
        try:
            words = above.cmdline()[:3]
        except psutil.Error:
            continue
        if any(Path(word).name == "dvc" for word in words):
            here = above
    return f"{here.pid}-{here.create_time():.2f}"


@contextmanager
def _nested(client: MlflowClient, experiment: str, parent: str, name: str, tags: Mapping[str, str]) -> Iterator[Run]:
    source = {_PARENT: parent, "mlflow.source.name": f"training.{name}", **tags}
    run = client.create_run(experiment, run_name=name, tags=source)
    try:
        yield Run(client, experiment, run.info.run_id, parent)
    except BaseException:
        client.set_terminated(run.info.run_id, "FAILED")
        raise
    client.set_terminated(run.info.run_id, "FINISHED")


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
