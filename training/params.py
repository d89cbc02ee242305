"""`params.yaml`, typed: what the models are. An unknown name, a missing one or a wrong type is refused."""

from __future__ import annotations

import dataclasses
import datetime as dt  # noqa: TC003 - pydantic reads the annotations
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from meterwatch.detection.errors import DataError
from meterwatch.detection.params import DetectorParams
from meterwatch.detection.readings import CHANNELS

PATH = Path("params.yaml")


class Section(BaseModel):
    """Frozen, and closed to unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Prepare(Section):
    """Which data, and when they are refused."""

    file: str = Field(pattern=r"^[^/\\]+$")
    meter_id: str = Field(min_length=1)
    max_missing_share: float = Field(ge=0, le=1)
    max_gap_days: float = Field(gt=0)
    least_days: float = Field(gt=0)
    ranges: dict[str, tuple[float, float]]

    @model_validator(mode="after")
    def _known_channels(self) -> Prepare:
        if set(self.ranges) != set(CHANNELS):
            raise ValueError(f"ranges must name exactly {', '.join(CHANNELS)}")
        return self


class Split(Section):
    """The first day of each part, and the first day that no stage sees."""

    train: dt.date
    calibrate: dt.date
    evaluate: dt.date
    end: dt.date

    @model_validator(mode="after")
    def _rising(self) -> Split:
        if not self.train < self.calibrate < self.evaluate < self.end:
            raise ValueError("dates must rise: train < calibrate < evaluate < end")
        return self


class Forest(Section):
    """The IsolationForest."""

    trees: int = Field(ge=1)
    sample: int = Field(ge=2)
    seed: int


class Sequence(Section):
    """The causal convolution."""

    filters: int = Field(ge=1, le=64)  # with more, a segment and a step differ in their last bits
    epochs: int = Field(ge=1)
    segments: int = Field(ge=20)
    seed: int


class Calibrate(Section):
    """The weigher that injected faults teach, and the tails."""

    faults: int = Field(ge=1)
    faults_per_month: float = Field(gt=0)
    iterations: int = Field(ge=1)
    folds: int = Field(ge=2)
    seed: int


class Evaluate(Section):
    """How often the evaluation months are filled with faults."""

    copies: int = Field(ge=1)
    faults_per_month: float = Field(gt=0)
    budget: float = Field(gt=0)
    seed: int


class SeedThreeSigma(Section):
    """The original project's rule."""

    n: int = Field(ge=1)
    m: int = Field(ge=2)
    k: float = Field(gt=0)
    units: int = Field(ge=1)
    epochs: int = Field(ge=1)
    windows: int = Field(ge=100)
    seed: int


class Register(Section):
    """When a challenger becomes champion."""

    margin: float = Field(ge=0, le=1)
    kind_margin: float = Field(ge=0, le=1)
    alarm_margin: float = Field(ge=0)
    risk: float = Field(gt=0, lt=1)
    slower: float = Field(ge=0)
    resamples: int = Field(ge=100)
    seed: int


class Params(Section):
    """All of `params.yaml`."""

    prepare: Prepare
    splits: dict[str, Split]
    detector: DetectorParams
    forest: Forest
    sequence: Sequence
    calibrate: Calibrate
    evaluate: Evaluate
    seed_3sigma: SeedThreeSigma
    register_: Register = Field(alias="register")

    @property
    def split(self) -> Split:
        """The dates for the chosen file.

        Raises:
            DataError: there are none.
        """
        name = self.prepare.file.split(".", 1)[0]
        if name not in self.splits:
            raise DataError(f"params.yaml has no splits.{name}; add the dates train, calibrate, evaluate and end")
        return self.splits[name]


def load(path: Path = PATH) -> Params:
    """Read and check the parameters.

    Raises:
        DataError: the file cannot be read, or a parameter is unknown, missing or of the wrong type.
    """
    try:
        values = yaml.safe_load(path.read_text())
        if not isinstance(values, dict):
            raise DataError(f"{path} holds no sections; restore it: git checkout {path}")
        told = _closed(DetectorParams).model_validate(values.get("detector"), strict=False)
        return Params.model_validate({**values, "detector": DetectorParams(**told.model_dump())})
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    except ValidationError as error:
        raise DataError(f"{path}: {_told(error)}") from error


def _closed(cls: type[DetectorParams]) -> type[BaseModel]:
    """A model of the same fields that refuses what it does not know: a plain dataclass cannot."""
    hints = get_type_hints(cls)
    fields: dict[str, Any] = {field.name: (hints[field.name], ...) for field in dataclasses.fields(cls)}
    return create_model("detector", __config__=ConfigDict(extra="forbid"), **fields)


def _told(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in (*([error.title] if error.title == "detector" else []), *first["loc"]))
    return f"{where}: {first['msg']}" + (f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else "")
