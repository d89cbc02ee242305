"""Readings from files and frames: every form gives the same series, every mistake a line that names it."""

from __future__ import annotations

import gzip
import lzma
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.backtesting import moment
from meterwatch.detection.errors import DataError
from meterwatch.detection.readings import CHANNELS
from tests.households import START, household
from training.meter_files import meters, read_frame

if TYPE_CHECKING:
    from pathlib import Path

AT, VALUES = household(days=2, seed=1)
HEADER = (
    "Date;Time;Global_active_power;Global_reactive_power;Voltage;Global_intensity;"
    "Sub_metering_1;Sub_metering_2;Sub_metering_3"
)
LINE = "16/12/2006;17:24:00;4.216;0.418;234.840;18.400;0.000;1.000;17.000"


def frame() -> pd.DataFrame:
    return pd.DataFrame({"at": pd.to_datetime(AT, unit="s"), **dict(zip(CHANNELS, VALUES, strict=True))})


def uci() -> str:
    times = pd.to_datetime(AT, unit="s").strftime("%d/%m/%Y;%H:%M:%S")
    rows = [f"{t};" + ";".join(f"{v:.3f}" for v in row) for t, row in zip(times, VALUES.T, strict=True)]
    return "\r\n".join([HEADER, *rows]) + "\r\n"


@pytest.mark.parametrize(
    "form", ["uci", "uci,", "uci.xz", "uci bare", "csv", "csv.gz", "csv tz", "parquet", "parquet tz"]
)
def test_every_form_gives_the_same_series(form: str, tmp_path: Path) -> None:
    """UCI text with and without header, either separator, compressed; CSV; Parquet; with and without an offset."""
    path, table = tmp_path / form.replace(" ", "."), frame()
    if form.endswith("tz"):
        table["at"] = table["at"].dt.tz_localize("UTC").dt.tz_convert("Europe/Paris")
    if form.startswith("parquet"):
        table.to_parquet(path)
    elif form.startswith("csv"):
        content = table.to_csv(index=False).encode()
        path.write_bytes(gzip.compress(content) if form.endswith("gz") else content)
    else:
        text = uci().removeprefix(HEADER + "\r\n") if form == "uci bare" else uci()
        text = text.replace(";", ",") if form == "uci," else text
        path.write_bytes(lzma.compress(text.encode()) if form.endswith("xz") else text.encode())
    data = meters(read_frame(path), "UTC")
    assert [one.meter_id for one in data.series] == ["default"]
    assert np.array_equal(data.series[0].at, AT)
    assert np.array_equal(data.series[0].channels, VALUES)
    assert data.doubles == 0


def test_missing_values_of_the_household_set(tmp_path: Path) -> None:
    """`?` in six channels and nothing in the last; the time stays."""
    path = tmp_path / "a.txt"
    path.write_text(f"{HEADER}\n{LINE}\n16/12/2006;17:25:00;?;?;?;?;?;?;")
    one = meters(read_frame(path), "UTC").series[0]
    assert one.at.tolist() == [1166289840, 1166289900]
    assert np.isnan(one.channels[:, 1]).all()


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 40))
def test_order_and_doubles_do_not_matter(random: object, twice: int) -> None:
    """Any order of rows of several meters, some of them twice, gives the same series; doubles are counted."""
    seed = random.randrange(10**6)  # type: ignore[attr-defined]
    rng = np.random.default_rng(seed)
    whole = pd.concat([frame()[:200].assign(meter_id=name) for name in ("b", "a")])
    again = whole.sample(twice, random_state=seed)
    mixed = pd.concat([whole, again]).iloc[rng.permutation(len(whole) + twice)]
    data = meters(mixed, "UTC")
    assert [one.meter_id for one in data.series] == ["a", "b"]
    assert data.doubles == twice
    for one in data.series:
        assert np.array_equal(one.at, AT[:200])
        assert np.array_equal(one.channels, VALUES[:, :200])


@pytest.mark.parametrize("cadence", [1, 60, 1800, 3600])
def test_energy_becomes_mean_power(cadence: int) -> None:
    """Energy of an interval over its length, which is found from the data, each meter's for itself."""
    at = pd.to_datetime(START + cadence * np.delete(np.arange(100), [40, 41, 42]), unit="s")
    other = pd.to_datetime(START + 900 * np.arange(50), unit="s")
    table = pd.concat([pd.DataFrame({"at": at, "meter_id": 1}), pd.DataFrame({"at": other, "meter_id": 2})])
    first, second = meters(table.assign(energy_kwh=0.5), "UTC").series
    np.testing.assert_allclose(first.channels[0], 0.5 * 3600 / cadence)
    np.testing.assert_allclose(second.channels[0], 2.0)


def test_local_times() -> None:
    """Without an offset times are local; a skipped one is left out and counted, an ambiguous one is the first."""
    local = ["2021-03-28T01:30", "2021-03-28T02:30", "2021-03-28T03:00", "2021-10-31T02:30", "2021-10-31T01:30:00Z"]
    data = meters(pd.DataFrame({"at": local, "active_power_kw": 1.0}), "Europe/Paris")
    expected = ["2021-03-28T00:30Z", "2021-03-28T01:00Z", "2021-10-31T00:30Z", "2021-10-31T01:30Z"]
    assert data.series[0].at.tolist() == [int(pd.Timestamp(text).timestamp()) for text in expected]
    assert data.no_such_time == 1
    assert moment("2021-03-28", "+01:00") == int(pd.Timestamp("2021-03-27T23:00Z").timestamp())
    assert moment("2021-03-28T00:00:00Z", "+01:00") == int(pd.Timestamp("2021-03-28T00:00Z").timestamp())
    with pytest.raises(DataError, match="daylight saving skips it"):
        moment("2021-03-28T02:30", "Europe/Paris")


def test_meter_names_or_selects() -> None:
    """`meter` names the only one, or selects one of many; a name that is not there lists some that are."""
    assert meters(frame(), "UTC", "house").series[0].meter_id == "house"
    many = pd.concat([frame()[:50].assign(meter_id=name) for name in (7, 8)])
    assert [one.meter_id for one in meters(many, "UTC", "8").series] == ["8"]
    with pytest.raises(DataError, match="no rows of meter '9'; the data hold 7, 8"):
        meters(many, "UTC", "9")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "no column 'at'"),
        ({"at": ["2020-01-01"]}, "'active_power_kw' or 'energy_kwh'"),
        (
            {"at": ["2020-01-01"], "active_power": [1.0]},
            "unknown column 'active_power'; did you mean 'active_power_kw'",
        ),
        ({"at": [1.5], "active_power_kw": [1.0]}, "holds numbers"),
        ({"at": ["2020-01-01", "yesterday"], "active_power_kw": [1.0, 2]}, "row 2: 'yesterday' is no ISO-8601 time"),
        ({"at": ["2020-01-01", None], "active_power_kw": [1.0, 2]}, "row 2"),
        ({"at": ["2020-01-01"], "active_power_kw": ["much"]}, "column 'active_power_kw'.*much"),
        ({"at": ["2020-01-01"], "energy_kwh": [1.0]}, "does not say how long"),
        ({"at": ["2020-01-01", "2020-01-02"], "active_power_kw": [1.0, 2]}, "every 86400 s"),
        ({"at": ["2020-01-01"], "active_power_kw": [1.0], "meter_id": [None]}, "row 1 has no meter_id"),
    ],
)
def test_mistakes_in_a_frame_are_named(columns: dict[str, list[object]], message: str) -> None:
    """Each says what is wrong and where."""
    with pytest.raises(DataError, match=message):
        meters(pd.DataFrame(columns), "UTC")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"time,power\n1,2\n", "names no column 'at'"),
        (b"\xff\xfe\x00\x01", "decode"),
        (b"PAR1 but no more", "Parquet"),
        (f"{HEADER}\n{LINE}\nx;y\n".encode(), "Expected 9 columns, got 2"),
        (f"{HEADER}\n{LINE.replace('4.216', 'a')}\n".encode(), "invalid value 'a'"),
        (f"{HEADER}\n{LINE.replace('16/12', '31/02')}\n".encode(), "'31/02/2006' is no day"),
        (f"{HEADER}\n{LINE.replace('17:24:00', '25:00:00')}\n".encode(), "'25:00:00' is no time"),
        (b"at,active_power_kw\n2020-01-01,1,2\n", "Expected 2 columns, got 3"),
    ],
)
def test_mistakes_in_a_file_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    """The message names the file and the fact."""
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_frame(path)
    assert "bad.txt" in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    """A file that is not there, a directory, a broken archive."""
    (tmp_path / "broken.xz").write_bytes(b"no archive")
    for name in ("none.csv", "", "broken.xz"):
        with pytest.raises(DataError, match="cannot read"):
            read_frame(tmp_path / name)
