"""What a stage did, in MLflow: a parent run a `dvc repro`, a nested run a stage, one more a compared detector.

The stages of one `dvc repro` are processes of their own; they find their parent run by the tag `repro`, which names
the DVC process above them. Stages that DVC skips are simply absent.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meterwatch.settings import load
from meterwatch.storage.models import SCHEME, relocate, versions
from training import lineage
from training.prepared import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from matplotlib.figure import Figure
    from mlflow import MlflowClient

    from meterwatch.settings import Settings
    from training.prepared import Prepared

EXPERIMENT = "meterwatch"
_PARENT, _NOTE = "mlflow.parentRunId", "mlflow.note.content"
_APART = {"study": ("study", "make study"), "threshold": ("threshold", "meterwatch threshold apply")}  # no stages
_SAMPLED_S = 3  # of system metrics
_DIGEST = 16  # characters of the data's hash: MLflow's column holds 36
# MLflow guesses what an experiment is about from its first runs; the wrong guess hides the charts of training.
_ABOUT = {
    "mlflow.experimentKind": "custom_model_development",
    _NOTE: "Each run is one `dvc repro`. Below it are a run for each stage that ran (tag `stage`) and one for each "
    "detector that was evaluated (tag `detector`): filter by `tags.detector != ''` and *Expand rows* to compare those.",
}


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

    def text(self, text: str, name: str) -> None:
        """Keep a text as a file, with this run and its parent."""
        for run_id in (self.run_id, self.parent):
            self.client.log_text(run_id, text, name)

    def uses(self, data: Prepared, first: str, last: str | None = None) -> None:
        """Note which readings are looked at, from one part to another, with this run and its parent."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        part, name = data.part(first, last), first if last is None else f"{first} to {last}"
        source = json.dumps({"uri": f"{DIRECTORY}/readings.parquet"})
        about = json.dumps({"num_rows": len(part.at), "data_sha256": data.source_sha256})
        dataset = Dataset(f"{part.meter_id}, {name}", data.source_sha256[:_DIGEST], "local", source, profile=about)
        context = [InputTag("mlflow.data.context", name)]
        for run_id in (self.run_id, self.parent):
            self.client.log_inputs(run_id, [DatasetInput(dataset, context)])

    def model(self, model_id: str, values: Mapping[str, float]) -> None:
        """Show a logged model with the parent too, and what was measured of it on the model's own page."""
        from mlflow.entities import LoggedModelOutput

        self.client.log_outputs(self.parent, [LoggedModelOutput(model_id, 0)])
        _measured(self.client, self.run_id, values, 0, model_id)

    def describe(self, text: str) -> None:
        """What one reads first on the parent's page, in Markdown, above what stages before have written there."""
        before = self.client.get_run(self.parent).data.tags.get(_NOTE, "")
        self.client.set_tag(self.parent, _NOTE, f"{text}\n\n{before}".rstrip())

    @contextmanager
    def beside(self, detector: str, title: str) -> Iterator[Run]:
        """One more run below the same parent, for a detector that is compared."""
        with _nested(self.client, self.experiment, self.parent, title, {"detector": detector}) as run:
            self.client.log_param(run.run_id, "detector", title)  # the axis on which MLflow's page compares them
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
    origin = {**lineage.revision(), **lineage.lock_hash(), **(tags or {})}
    parent = _parent(client, experiment, origin, *_APART.get(name, ("repro", "dvc repro")))
    with _nested(client, experiment, parent, name, {"stage": name}) as run:
        run.tags(origin)
        run.params(params)
        try:
            with _watched(run.run_id):
                yield run
        except BaseException:
            client.set_terminated(parent, "FAILED")
            raise
    client.set_terminated(parent, "FINISHED")


@contextmanager
def _watched(run_id: str) -> Iterator[None]:
    """CPU, memory, disk and network of the machine, every few seconds, as MLflow's own `system/…` metrics."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor: Any = SystemMetricsMonitor(run_id, sampling_interval=_SAMPLED_S)  # type: ignore[no-untyped-call]
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()


def _measured(
    client: MlflowClient, run_id: str, values: Mapping[str, float], step: int, model_id: str | None = None
) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    known = [Metric(key, float(value), now, step, model_id) for key, value in values.items() if not math.isnan(value)]
    client.log_batch(run_id, metrics=known)


def _store(settings: Settings) -> tuple[MlflowClient, str]:
    uri = settings.mlflow_tracking_uri
    if uri.startswith(SCHEME):
        versions(settings)  # says in one line where the file is damaged
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
        return client, str(client.create_experiment(EXPERIMENT, artifacts, _ABOUT))
    if artifacts is not None and known.artifact_location != artifacts:
        relocate(settings, known.artifact_location, artifacts)
    return client, str(known.experiment_id)


def _parent(client: MlflowClient, experiment: str, origin: Mapping[str, str], kind: str, command: str) -> str:
    token = lineage.repro()
    found = client.search_runs([experiment], f"tags.repro = '{token}'", max_results=1)
    if found:
        client.update_run(found[0].info.run_id, "RUNNING")  # the stage before had ended it
        return str(found[0].info.run_id)
    now = time.strftime("%Y-%m-%d %H:%M", time.gmtime())  # first: lists cut names off, and sort by them
    name = f"{now} {kind} {origin.get('git_revision', '')[:7]}".strip()
    tags = {**_started(command), "repro": token, **origin}
    parent = str(client.create_run(experiment, run_name=name, tags=tags).info.run_id)
    client.log_text(parent, lineage.environment(), "environment.txt")
    return parent


def _started(command: str) -> dict[str, str]:
    """Who started what, under the names by which MLflow's own `start_run` notes it."""
    from mlflow.tracking.context.registry import resolve_tags

    return {**resolve_tags(), "mlflow.source.name": command}


@contextmanager
def _nested(client: MlflowClient, experiment: str, parent: str, name: str, tags: Mapping[str, str]) -> Iterator[Run]:
    started = _started(f"python -m training.{tags.get('stage', 'evaluate')}")
    run = client.create_run(experiment, run_name=name, tags={**started, _PARENT: parent, **tags})
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
