"""Stage `prepare`: from a raw file to readings, parts and a report; what it writes is read back to the bit."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.detection.errors import DataError
from meterwatch.detection.readings import CHANNELS
from tests.households import household
from training import params
from training.prepare import moments, prepare, report
from training.prepared import PARTS, Prepared, read, write
from training.series import Series

ROOT = Path(__file__).parents[2]
DAYS = 30
MIDNIGHT = int(dt.datetime(2009, 1, 1, tzinfo=dt.UTC).timestamp())
HEADER = ("Date;Time;Global_active_power;Global_reactive_power;Voltage;Global_intensity;"
          "Sub_metering_1;Sub_metering_2;Sub_metering_3")  # fmt: skip
SPLIT = {"train": "2009-01-01", "calibrate": "2009-01-11", "evaluate": "2009-01-21", "end": "2009-01-29"}


def told(**prepare_section: Any) -> params.Params:
    """The shipped parameters with dates for the made household."""
    shipped = params.load(ROOT / "params.yaml")
    rules = shipped.prepare.model_copy(update={"file": "made.txt", "least_days": 5, **prepare_section})
    return shipped.model_copy(update={"prepare": rules, "splits": {"made": params.Split.model_validate(SPLIT)}})


def uci(path: Path, at: np.ndarray, channels: np.ndarray) -> Path:
    """A file as the household set is written, missing readings with six question marks and an empty field."""
    lines = [HEADER]
    for moment, values in zip(at.tolist(), channels.T.tolist(), strict=True):
        when = dt.datetime.fromtimestamp(moment, dt.UTC)
        fields = ["?"] * 6 + [""] if np.isnan(values[0]) else [f"{value:.3f}" for value in values]
        lines.append(f"{when.day}/{when.month}/{when.year};{when:%H:%M:%S};{';'.join(fields)}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def made() -> tuple[np.ndarray, np.ndarray]:
    at, channels = household(days=DAYS, seed=3, cadence=600, start=MIDNIGHT)
    channels[:, 100:105] = np.nan
    return at, channels


def test_a_file_becomes_the_readings_that_were_written_in_it(
    tmp_path: Path, made: tuple[np.ndarray, np.ndarray]
) -> None:
    at, channels = made

    prepared, checks = prepare(uci(tmp_path / "made.txt", at, channels), told())

    np.testing.assert_array_equal(prepared.series.at, at)
    np.testing.assert_allclose(prepared.series.channels, channels, atol=5e-4)
    assert all(check.passed for check in checks), [check for check in checks if not check.passed]


def test_the_report_names_the_data_each_check_each_part_and_each_gap(
    tmp_path: Path, made: tuple[np.ndarray, np.ndarray]
) -> None:
    prepared, checks = prepare(uci(tmp_path / "made.txt", *made), told())

    text = report("made.txt", prepared, checks)

    assert prepared.source_sha256 in text
    for check in checks:
        assert f"| {check.name} | ok |" in text
    for name in (*CHANNELS, *PARTS, "never seen"):
        assert f"| {name} |" in text
    assert "| 2009-01-01 16:40:00 | 2009-01-01 17:20:00 |" in text


def test_a_file_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="dvc pull"):
        prepare(tmp_path / "made.txt", told())


def test_several_meters_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "made.csv"
    path.write_text("at,meter_id,active_power_kw\n2009-01-01T00:00:00Z,a,1\n2009-01-01T00:01:00Z,b,1\n")

    with pytest.raises(DataError, match="several meters"):
        prepare(path, told())


@settings(max_examples=50, deadline=None)
@given(
    days=st.lists(st.integers(0, 60), min_size=4, max_size=4, unique=True).map(sorted),
    first=st.integers(0, 2),
    last=st.integers(0, 2),
)
def test_parts_follow_each_other_without_sharing_a_reading(days: list[int], first: int, last: int) -> None:
    """What trains or calibrates never holds a reading of the evaluation months, and nothing is left out."""
    at = 3_600 * np.arange(60 * 24)
    series = Series("m", at, np.zeros((7, len(at))))
    starts = {name: day * 86_400 for name, day in zip((*PARTS, "end"), days, strict=True)}
    prepared = Prepared(series, starts, "")
    first, last = min(first, last), max(first, last)

    whole = prepared.part(PARTS[first], PARTS[last]).at

    pieces = [prepared.part(name).at for name in PARTS[first : last + 1]]
    np.testing.assert_array_equal(whole, np.concatenate(pieces))
    if last < 2:
        assert not np.isin(prepared.part("evaluate").at, whole).any()


def test_parts_begin_at_midnight_utc() -> None:
    starts = moments(params.Split.model_validate(SPLIT))

    assert list(starts) == [*PARTS, "end"]
    assert starts["train"] == MIDNIGHT
    assert starts["calibrate"] == MIDNIGHT + 10 * 86_400


def test_what_is_written_is_read_back_to_the_bit_and_written_again_as_the_same_bytes(
    tmp_path: Path, made: tuple[np.ndarray, np.ndarray]
) -> None:
    at, channels = made
    starts = moments(params.Split.model_validate(SPLIT))
    prepared = Prepared(Series("m", at, channels), starts, "abc")
    write(prepared, tmp_path / "one")

    again = read(tmp_path / "one")
    write(again, tmp_path / "two")

    np.testing.assert_array_equal(again.series.at, at)
    np.testing.assert_array_equal(again.series.channels, channels)
    assert (again.series.meter_id, again.starts, again.source_sha256) == ("m", starts, "abc")
    for name in ("readings.parquet", "readings.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("broken", ["readings.parquet", "readings.json"])
def test_what_is_half_there_says_which_command_makes_it(
    tmp_path: Path, made: tuple[np.ndarray, np.ndarray], broken: str
) -> None:
    write(Prepared(Series("m", *made), moments(params.Split.model_validate(SPLIT)), ""), tmp_path)
    (tmp_path / broken).write_bytes(b"half")

    with pytest.raises(DataError, match="dvc repro"):
        read(tmp_path)
