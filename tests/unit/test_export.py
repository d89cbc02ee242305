"""Verdicts and events as files: everything that is stored, and nothing half written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from meterwatch.settings import Settings
from meterwatch.storage import export as exporting
from meterwatch.storage.export import ExportError, export
from meterwatch.storage.migrate import migrate

if TYPE_CHECKING:
    from pathlib import Path

VERDICTS = [
    ("a", 60, "warming_up", None, None, None, None, None, None, "23 hours are left", "1"),
    ("a", 120, "scored", -0.5, 0.0, 0, 1.0, 0.5, 2.0, None, "1"),
    ("b", 60, "scored", 1.5, 0.0, 1, 1.0, 0.5, 2.0, "too, much", "2"),
]
EVENTS = [("e1", "b", 60, None, 60, 80.0, "left_on", 1.5, "2")]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(run_dir=tmp_path)
    migrate(tmp_path / "meterwatch.db")
    with closing(sqlite3.connect(tmp_path / "meterwatch.db")) as db:
        db.executemany(f"INSERT INTO verdicts VALUES ({', '.join('?' * 11)})", VERDICTS)
        db.executemany(f"INSERT INTO events VALUES ({', '.join('?' * 9)})", EVENTS)
        db.commit()
    return settings


@pytest.mark.parametrize("chunk", [1, 2, 100])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_every_verdict_is_in_the_file(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, chunk: int
) -> None:
    monkeypatch.setattr(exporting, "CHUNK", chunk)
    file = tmp_path / f"out.{ending}"
    assert export(settings, "verdicts", file) == 3
    found = _read(file)
    assert found["meter_id"].to_pylist() == ["a", "a", "b"]
    assert found["at"].cast(pa.timestamp("s", "UTC")).cast(pa.int64()).to_pylist() == [60, 120, 60]
    assert found["score"].to_pylist() == [None, -0.5, 1.5]
    assert found["anomalous"].to_pylist() == [None, False, True]
    assert found["reason"].to_pylist()[2] == "too, much"
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


def test_one_meter_and_open_events(settings: Settings, tmp_path: Path) -> None:
    assert export(settings, "verdicts", tmp_path / "b.parquet", "b") == 1
    assert export(settings, "verdicts", tmp_path / "none.csv", "nobody") == 0
    assert (tmp_path / "none.csv").read_text().startswith('"meter_id","at","status"')
    export(settings, "events", tmp_path / "events.parquet")
    (event,) = pq.read_table(tmp_path / "events.parquet").to_pylist()
    assert (event["event_id"], event["end_at"], event["energy_kwh"]) == ("e1", None, 1.5)


@pytest.mark.parametrize(
    ("table", "name"), [("readings", "out.csv"), ("verdicts", "out.xlsx"), ("verdicts", "absent/out.csv")]
)
def test_what_cannot_be_exported_leaves_no_file(settings: Settings, tmp_path: Path, table: str, name: str) -> None:
    with pytest.raises(ExportError):
        export(settings, table, tmp_path / name)
    assert not (tmp_path / name).exists()


def _read(file: Path) -> pa.Table:
    if file.suffix == ".parquet":
        return pq.read_table(file)
    options = pa_csv.ConvertOptions(column_types=exporting.SCHEMAS["verdicts"], strings_can_be_null=True)
    return pa_csv.read_csv(file, convert_options=options)
