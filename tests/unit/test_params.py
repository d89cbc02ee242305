"""`params.yaml` is typed: what is unknown, missing or of the wrong type is refused by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from meterwatch.detection.errors import DataError
from meterwatch.detection.params import DetectorParams
from training.fit import FitParams
from training.params import load

SHIPPED = Path(__file__).parents[2] / "params.yaml"


def changed(tmp_path: Path, section: str, **values: Any) -> Path:
    told = yaml.safe_load(SHIPPED.read_text())
    told[section] = {**told[section], **values}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(told))
    return path


def test_the_shipped_parameters_are_the_librarys_defaults() -> None:
    """A backtest without parameters trains what `dvc repro` trains."""
    told, sizes = load(SHIPPED), FitParams()

    assert told.detector == DetectorParams()
    assert (sizes.trees, sizes.sample) == (told.forest.trees, told.forest.sample)
    assert (sizes.filters, sizes.epochs, sizes.segments) == (
        told.sequence.filters, told.sequence.epochs, told.sequence.segments,
    )  # fmt: skip
    assert (sizes.faults, sizes.faults_per_month, sizes.iterations, sizes.folds) == (
        told.calibrate.faults, told.calibrate.faults_per_month, told.calibrate.iterations, told.calibrate.folds,
    )  # fmt: skip


def test_the_complete_set_needs_one_parameter(tmp_path: Path) -> None:
    told = load(changed(tmp_path, "prepare", file="household_power_consumption.txt"))

    assert told.split == told.splits["household_power_consumption"]


@pytest.mark.parametrize(
    ("section", "values", "named"),
    [
        ("forest", {"tres": 5}, "forest.tres"),
        ("forest", {"trees": "many"}, "forest.trees"),
        ("detector", {"thresold": 1.0}, "detector.thresold"),
        ("detector", {"threshold": "high"}, "detector.threshold"),
        ("prepare", {"file": "../elsewhere.txt"}, "prepare.file"),
        ("prepare", {"ranges": {"voltage_v": [0, 1]}}, "ranges must name"),
        ("splits", {"other": {"train": "2007-02-01"}}, "splits.other"),
        ("seed_3sigma", {"m": 1}, "seed_3sigma.m"),
    ],
)
def test_a_wrong_parameter_is_named(tmp_path: Path, section: str, values: dict[str, Any], named: str) -> None:
    with pytest.raises(DataError, match=named.replace(".", r"\.")):
        load(changed(tmp_path, section, **values))


def test_dates_must_rise(tmp_path: Path) -> None:
    dates = {"train": "2007-03-01", "calibrate": "2007-02-01", "evaluate": "2007-04-01", "end": "2007-05-01"}

    with pytest.raises(DataError, match="must rise"):
        load(changed(tmp_path, "splits", household_power_consumption_2007=dates))


def test_a_file_without_dates_says_where_they_go(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"splits\.mine"):
        _ = load(changed(tmp_path, "prepare", file="mine.csv")).split


def test_no_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        load(tmp_path / "params.yaml")
