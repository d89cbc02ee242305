"""The registered model: each meter's rows are judged as the detector judges that meter alone, in the order given."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from meterwatch.detection.detector import Detector
from tests.households import household
from training.mlflow_model import MeterwatchModel
from training.series import Series, together

if TYPE_CHECKING:
    from pathlib import Path

METERS = {"north": 1, "south": 2}
COLUMNS = ("active_power_kw", "reactive_power_kvar", "voltage_v", "current_a")


@pytest.fixture(scope="module")
def model(bundle: Path) -> MeterwatchModel:
    made = MeterwatchModel()
    made.load_context(SimpleNamespace(artifacts={"bundle": str(bundle)}))
    return made


def series(seed: int, days: int = 3) -> Series:
    at, channels = household(days=days, seed=seed, cadence=300)
    channels[4:] = np.nan
    return Series("m", at, channels)


def frame(one: Series, **more: str) -> pd.DataFrame:
    columns = dict(zip(COLUMNS, one.channels, strict=False))
    return pd.DataFrame({"at": pd.to_datetime(one.at, unit="s"), **columns, **more})


def test_meters_between_each_other_are_judged_as_each_alone(bundle: Path, model: MeterwatchModel) -> None:
    both = {name: series(seed) for name, seed in METERS.items()}
    rows = pd.concat([frame(one, meter_id=name) for name, one in both.items()]).sort_values("at", kind="stable")

    found = model.predict(None, rows.reset_index(drop=True))

    for name, one in both.items():
        alone = Detector.load(bundle).observe([name], [None], [None], together([one])).verdicts
        mine = found[(rows["meter_id"] == name).to_numpy()]
        np.testing.assert_array_equal(mine["score"], alone.score)
        np.testing.assert_array_equal(mine["expected_kw"], alone.expected_kw)
        np.testing.assert_array_equal(mine["anomalous"], alone.anomalous)
        assert np.isfinite(alone.score).any()


def test_without_a_meter_all_rows_are_one_meters(model: MeterwatchModel) -> None:
    rows = frame(series(1))

    pd.testing.assert_frame_equal(model.predict(None, rows), model.predict(None, rows.assign(meter_id="default")))


def test_times_with_an_offset_are_the_moments_they_name(model: MeterwatchModel) -> None:
    rows = frame(series(1))
    paris = rows.assign(at=rows["at"].dt.tz_localize("UTC").dt.tz_convert("Europe/Paris"))

    pd.testing.assert_frame_equal(model.predict(None, rows), model.predict(None, paris))


def test_no_rows_are_no_verdicts(model: MeterwatchModel) -> None:
    assert len(model.predict(None, frame(series(1)).iloc[:0])) == 0
