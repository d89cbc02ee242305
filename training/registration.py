"""A bundle becomes a version of the registered model: models from code, no pickle, with what it needs to run."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from contextlib import redirect_stderr
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meterwatch.storage import models

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meterwatch.settings import Settings
    from training.tracking import Run

CODE = Path(__file__).with_name("mlflow_model.py")
REQUIREMENTS = ("mlflow", "numpy", "onnxruntime", "pandas", "treelite")
ABOUT = """\
**What it does.** Judges readings of electricity meters one by one: scaler, isolation forest and causal convolution
(native copies with the runs `forest` and `sequence`), the weigher that injected faults taught, and the tails that
turn scores into return periods, log10 of months. The service and the stream load the version with the alias
`champion`; `meterwatch models promote VERSION` and `rollback` move it.

**Meant for** meters with a reading every second to every hour, after a day of history, better after eight weeks.
**Not meant for** billing, safety, or proof of theft: an alarm is a reason to look.

**Learned from** one meter (each version names the data's hash, `meterwatch models show` its lineage); what is
judged is compared with each meter's own past. **Measured on** later months of that meter, filled with faults of
physical size: each version's description and gate, the run's table by kind, its worst misses and worst false
alarms. Faults that were injected are not faults that happened: labels on the Events page say how it does on those.

**Weak at** faint changes, days that are merely shifted, and what begins while the history is short.
"""


def register(run: Run, settings: Settings, bundle_dir: Path, tags: Mapping[str, str]) -> tuple[str, str]:
    """Log a bundle as a model of this run and register it.

    Args:
        run: where it belongs.
        settings: where the registry is.
        bundle_dir: holds the sealed bundle.
        tags: of the version; they travel in its `lineage.json` too.

    Returns:
        The version's number and the logged model's id.
    """
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        shutil.copytree(bundle_dir, bundle)
        origin = {**tags, "run_id": run.parent, "register_run_id": run.run_id}
        (bundle / "lineage.json").write_text(json.dumps(origin, indent=1, sort_keys=True) + "\n")
        package = Path(folder) / "meterwatch"  # what the model's code imports, and no more
        home = Path(models.__file__).parents[1]
        shutil.copytree(home / "detection", package / "detection", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(home / "__init__.py", package)
        with mlflow.start_run(run_id=run.run_id), redirect_stderr(io.StringIO()):  # "Created version …": said by us
            logged = mlflow.pyfunc.log_model(
                name="meterwatch", python_model=str(CODE), artifacts={"bundle": str(bundle)},
                code_paths=[str(package)], signature=_signature(), input_example=_example(),
                registered_model_name=settings.model_name,
                pip_requirements=[f"{name}=={installed(name)}" for name in REQUIREMENTS],
            )  # fmt: skip
    number = str(logged.registered_model_version)
    for key, value in tags.items():
        run.client.set_model_version_tag(settings.model_name, number, key, value)
    run.client.update_registered_model(settings.model_name, ABOUT)
    run.tags({"model_version": number})
    return number, str(logged.model_id)


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
