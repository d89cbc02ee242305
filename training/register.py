"""Stage `register`: the bundle becomes a version of the registered model, and champion if it is not worse.

Its out lies beside the registry, so that it is gone where the registry is gone, and the stage runs.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meterwatch.detection.detector import Detector
from meterwatch.settings import load as settings_of
from meterwatch.storage import models
from training import lineage, prepared, tracking
from training.comparison import grouped
from training.native import BUNDLE
from training.params import load
from training.stages import command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meterwatch.settings import Settings
    from training.tracking import Run

OUT = Path("mlruns/model_version.json")
EVALUATION = Path("data/reports/evaluation.json")
CODE = Path(__file__).with_name("mlflow_model.py")
RECALL, EVALUATED_ON = "recall", "evaluated_on"  # tags of a version
REQUIREMENTS = ("mlflow", "numpy", "onnxruntime", "pandas", "treelite")

ABOUT = (
    "Judges readings of electricity meters one by one: scaler, isolation forest and causal convolution (native copies "
    "with the runs `forest` and `sequence`), the weigher that injected faults taught, and the tails that turn scores "
    "into return periods, log10 of months. The service and the stream load the version with the alias `champion`; "
    "`meterwatch models promote VERSION` and `rollback` move it."
)


def better(recall: float, on: str, champion: models.ModelVersion | None, margin: float) -> tuple[bool, str]:
    """Whether a version may judge, and why.

    Args:
        recall: of the new version at the false-alarm budget.
        on: names the readings and faults of its evaluation.
        champion: the version that judges now; None where there is none.
        margin: of recall that may be lacking.
    """
    if champion is None:
        return True, "the first version"
    if not (champion.bundle_dir / models.MANIFEST).exists():
        return True, "the champion's files are gone"
    if not {RECALL, EVALUATED_ON} <= champion.tags.keys():
        return True, "the champion has no evaluation on record"
    if champion.tags[EVALUATED_ON] != on:
        return False, "the champion was evaluated on other readings or faults; `meterwatch models promote` decides"
    held = float(champion.tags[RECALL])
    fact = f"recall {recall:.3f} against the champion's {held:.3f}, margin {margin:g}"
    return recall >= held - margin, fact


def _signature() -> Any:  # noqa: ANN401 - mlflow has no types
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    from meterwatch.detection.readings import CHANNELS

    optional = [ColSpec("double", name, required=False) for name in CHANNELS[1:]]
    meter = ColSpec("string", "meter_id", required=False)
    inputs = Schema([ColSpec("datetime", "at"), ColSpec("double", CHANNELS[0]), *optional, meter])
    types = {"status": "string", "anomalous": "boolean", "reason": "string"}
    names = ("status", "score", "threshold", "anomalous", "expected_kw", "lower_kw", "upper_kw", "reason")
    outputs = Schema([ColSpec(types.get(name, "double"), name) for name in names])
    return ModelSignature(inputs=inputs, outputs=outputs)


def _example() -> Any:  # noqa: ANN401 - pandas
    """Two readings, as the UI shows them and a client sends them."""
    import pandas as pd

    at = pd.to_datetime(["2007-11-01 00:00:00", "2007-11-01 00:01:00"])
    return pd.DataFrame({"at": at, "active_power_kw": [0.41, 0.43], "meter_id": ["household"] * 2})


def _register(run: Run, settings: Settings, tags: Mapping[str, str]) -> tuple[str, str]:
    """Log the bundle as a model of this run and register it: the version's number and the logged model's id."""
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        shutil.copytree(BUNDLE, bundle)
        origin = {**tags, "run_id": run.parent, "register_run_id": run.run_id}
        (bundle / "lineage.json").write_text(json.dumps(origin, indent=1, sort_keys=True) + "\n")
        package = Path(folder) / "meterwatch"  # what the model's code imports, and no more
        home = Path(models.__file__).parents[1]
        shutil.copytree(home / "detection", package / "detection", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(home / "__init__.py", package)
        with mlflow.start_run(run_id=run.run_id):
            logged = mlflow.pyfunc.log_model(
                name="meterwatch", python_model=str(CODE), artifacts={"bundle": str(bundle)},
                code_paths=[str(package)], signature=_signature(), input_example=_example(),
                registered_model_name=settings.model_name,
                pip_requirements=[f"{name}=={installed(name)}" for name in REQUIREMENTS],
            )  # fmt: skip
    number = str(logged.registered_model_version)
    for key, value in tags.items():
        run.client.set_model_version_tag(settings.model_name, number, key, value)
    return number, str(logged.model_id)


def _describe(run: Run, settings: Settings, number: str, ours: Mapping[str, float], why: str) -> None:
    """What one reads on the registered model's pages."""
    found = (
        f"finds {ours['recall']:.1%} of the injected faults at {ours['false_alarms_a_month']:.2f} false alarms a month"
    )
    shipped = f"{ours['shipped_recall']:.1%} at {ours['shipped_false_alarms_a_month']:.2f} with its own threshold"
    text = f"On the evaluation months: {found}, {shipped}. When registered: {why}."
    run.client.update_model_version(settings.model_name, number, text)
    run.client.update_registered_model(settings.model_name, ABOUT)


def main() -> None:
    """Run the stage."""
    told, settings = load(), settings_of()
    detector = Detector.load(BUNDLE)
    digest = detector.bundle_hash
    held = models.holding(settings, digest)
    if held is not None:
        if models.champion(settings) is None:
            models.promote(settings, held.version, "there was no champion")
        print(f"register: version {held.version} holds this bundle already")
    else:
        evaluation = json.loads(EVALUATION.read_text())
        ours, on = evaluation["detectors"]["meterwatch"], evaluation["evaluated_on"]
        tags = {models.BUNDLE_SHA256: digest, RECALL: str(ours["recall"]), EVALUATED_ON: on,
                "false_alarms_a_month": str(ours["false_alarms_a_month"])}  # fmt: skip
        tags |= {**prepared.read().tags, **lineage.revision(), **lineage.lock_hash()}
        with tracking.stage("register", {"register": told.register_.model_dump()}, tags) as run:
            number, model_id = _register(run, settings, tags)
            run.model(model_id, grouped(ours))
            now = models.champion(settings)
            wins, why = better(ours["recall"], on, now, told.register_.margin)
            run.client.set_model_version_tag(settings.model_name, number, "gate", why)
            _describe(run, settings, number, ours, why)
            if wins:
                models.promote(settings, number, why)
            else:
                models.challenge(settings, number)
            run.tags({"model_version": number, "gate": why})
            print(f"register: version {number} is {'champion' if wins else 'challenger'}: {why}")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"model": settings.model_name, models.BUNDLE_SHA256: digest}, sort_keys=True) + "\n")


if __name__ == "__main__":
    command(main)
