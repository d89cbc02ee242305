"""What stage `prepare` leaves for the others: the readings as Parquet, and what they are as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from meterwatch.detection.errors import DataError
from meterwatch.detection.readings import CHANNELS
from training.series import Series

DIRECTORY = Path("data/prepared")
PARTS = ("train", "calibrate", "evaluate")


@dataclass(frozen=True, slots=True)
class Prepared:
    """One meter's checked readings and where its parts begin."""

    series: Series
    starts: dict[str, int]  # part → unix seconds of its first moment; `end` closes the last
    source_sha256: str  # of the raw file

    def part(self, first: str, last: str | None = None) -> Series:
        """The readings of a part, or from one part to another, both included."""
        order = [*PARTS, "end"]
        return self.series.between(self.starts[first], self.starts[order[order.index(last or first) + 1]])

    @property
    def tags(self) -> dict[str, str]:
        """What names the data in MLflow."""
        return {"data_sha256": self.source_sha256}


def write(prepared: Prepared, directory: Path = DIRECTORY) -> None:
    """Write `readings.parquet` and `readings.json`; the same bytes for the same readings."""
    directory.mkdir(parents=True, exist_ok=True)
    series = prepared.series
    table = pa.table({"at": series.at} | {name: series.channels[i] for i, name in enumerate(CHANNELS)})
    pq.write_table(table, directory / "readings.parquet", compression="zstd")
    about = {"meter_id": series.meter_id, **{k: v for k, v in asdict(prepared).items() if k != "series"}}
    (directory / "readings.json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")


def read(directory: Path = DIRECTORY) -> Prepared:
    """The inverse of `write`.

    Raises:
        DataError: nothing is prepared yet.
    """
    try:
        about = json.loads((directory / "readings.json").read_text())
        table = pq.read_table(directory / "readings.parquet")
    except (OSError, ValueError, pa.ArrowInvalid) as error:
        raise DataError(f"{directory} holds no prepared readings ({error}); run `dvc repro`") from error
    channels = np.stack([table[name].to_numpy() for name in CHANNELS])
    series = Series(about["meter_id"], table["at"].to_numpy(), channels)
    return Prepared(series, about["starts"], about["source_sha256"])
