"""The registered model as MLflow runs it: models from code, no pickle, the same `Detector.observe` as everywhere.

`mlflow.pyfunc.load_model("models:/meterwatch@champion").predict(frame)` and `mlflow models serve` judge each meter's
rows from its first on: without a state, since MLflow has no place to keep one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from meterwatch.detection.detector import Detector
from meterwatch.detection.readings import CHANNELS, STATUSES, Readings


class MeterwatchModel(PythonModel):
    """Readings in, verdicts out, row by row in the same order."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the bundle."""
        self.detector = Detector.load(Path(context.artifacts["bundle"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Judge readings.

        Args:
            context: unused.
            model_input: `at` (times; without an offset UTC), `active_power_kw`, where given `meter_id` and the other
                channels; each meter's rows in arrival order.
            params: unused.
        """
        del context, params
        rows = len(model_input)
        ids = model_input["meter_id"].astype(str) if "meter_id" in model_input else pd.Series(["default"] * rows)
        code, names = pd.factorize(ids)
        order = np.argsort(code, kind="stable")
        at = pd.to_datetime(model_input["at"], utc=True).dt.tz_localize(None).to_numpy("datetime64[s]").astype(np.int64)
        channels = np.full((len(CHANNELS), rows), np.nan)
        for i, name in enumerate(CHANNELS):
            if name in model_input:
                channels[i] = model_input[name].to_numpy(np.float64, na_value=np.nan)
        readings = Readings(code[order].astype(np.int64), at[order], channels[:, order])
        nothing = [None] * len(names)
        seen = self.detector.observe([str(name) for name in names], nothing, nothing, readings).verdicts
        back = np.argsort(order)
        return pd.DataFrame({
            "status": np.array(STATUSES)[seen.status[back]], "score": seen.score[back],
            "threshold": seen.threshold[back], "anomalous": seen.anomalous[back],
            "expected_kw": seen.expected_kw[back], "lower_kw": seen.lower_kw[back], "upper_kw": seen.upper_kw[back],
            "reason": np.array(seen.reasons, object)[seen.reason[back]] if rows else np.zeros(0, object),
        })  # fmt: skip


set_model(MeterwatchModel())
