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
from training import prepared, tracking
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
REQUIREMENTS = ("mlflow", "numpy", "onnxruntime", "pandas", "treelite")


def better(recall: float, champion: models.ModelVersion | None, margin: float) -> tuple[bool, str]:
    """Whether a version may judge, and why.

    Args:
        recall: of the new version at the false-alarm budget.
        champion: the version that judges now; None where there is none.
        margin: of recall that may be lacking.
    """
    if champion is None:
        return True, "the first version"
    if not (champion.bundle_dir / models.MANIFEST).exists():
        return True, "the champion's files are gone"
    if "recall" not in champion.tags:
        return True, "the champion has no recall on record"
    held = float(champion.tags["recall"])
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


def _register(run: Run, settings: Settings, tags: Mapping[str, str]) -> str:
    """Log the bundle as a model of this run and register it."""
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        shutil.copytree(BUNDLE, bundle)
        lineage = {**tags, "run_id": run.parent, "register_run_id": run.run_id}
        (bundle / "lineage.json").write_text(json.dumps(lineage, indent=1, sort_keys=True) + "\n")
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
    return number


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
        found = json.loads(EVALUATION.read_text())
        ours = found["meterwatch"]
        tags = {models.BUNDLE_SHA256: digest, "recall": str(ours["recall"]), "rate": str(ours["rate"])}
        tags |= {**prepared.read().tags, **tracking.revision(), **tracking.lock_hash()}
        with tracking.stage("register", {"register": told.register_.model_dump()}, tags) as run:
            run.metrics(ours)
            number = _register(run, settings, tags)
            now = models.champion(settings)
            wins, why = better(ours["recall"], now, told.register_.margin)
            run.client.set_model_version_tag(settings.model_name, number, "gate", why)
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
