"""Data checks: an ordinary file passes, and each way of being wrong is found by its own check, with the rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.detection.readings import CHANNELS
from training.checks import DAY_S, Check, check_all, gaps

DAYS = 40
AT = np.arange(0, DAYS * DAY_S, 60)
STARTS = {"train": 0, "calibrate": 20 * DAY_S, "evaluate": 30 * DAY_S, "end": 40 * DAY_S}
RANGES = dict.fromkeys(CHANNELS, (-2000.0, 2000.0)) | {"voltage_v": (90.0, 300.0), "active_power_kw": (-100.0, 100.0)}


def ordinary() -> np.ndarray:
    """One phase at 240 V with a kettle now and then: (7, n)."""
    power = 0.4 + 1.6 * (AT // 3600 % 6 == 0)
    nothing = np.zeros(len(AT))
    return np.stack([power, nothing, nothing + 240.0, power / 0.24, nothing, nothing, nothing])


def run(channels: np.ndarray, at: np.ndarray = AT) -> list[Check]:
    return check_all(at, channels, ranges=RANGES, starts=STARTS, max_missing_share=0.2, max_gap_days=5, least_days=5)


def failed(channels: np.ndarray, at: np.ndarray = AT) -> dict[str, Check]:
    return {check.name: check for check in run(channels, at) if not check.passed}


def test_an_ordinary_file_passes() -> None:
    assert failed(ordinary()) == {}


def test_watts_instead_of_kilowatts_are_noticed() -> None:
    channels = ordinary()
    channels[0] *= 1000

    found = failed(channels)

    assert "looks like W" in found["units"].fact
    assert found["units"].rows[0].startswith("row 1 (1970-01-01 00:00:00)")


def test_a_shifted_column_is_noticed() -> None:
    assert "range of voltage_v" in failed(np.roll(ordinary(), 1, axis=0))


def test_a_value_out_of_range_is_named_with_its_row() -> None:
    channels = ordinary()
    channels[2, 1234] = 500.0

    assert failed(channels)["range of voltage_v"].rows == ("row 1235 (1970-01-01 20:34:00): 500",)


def test_sub_meters_above_the_total_are_noticed() -> None:
    channels = ordinary()
    channels[4] = 100.0

    assert {"sub-meters"} == set(failed(channels))


@pytest.mark.parametrize("place", [1, 777, len(AT) - 1])
def test_time_that_does_not_rise_is_named(place: int) -> None:
    at = AT.copy()
    at[place] = at[place - 1]

    found = failed(ordinary(), at)

    assert [f"row {place + 1} "] == [row.split("(")[0] for row in found["order of time"].rows]


def test_a_reading_off_the_grid_is_named() -> None:
    at = AT.copy()
    at[100] += 7

    assert failed(ordinary(), at)["cadence"].rows[0].startswith("row 101 ")


def test_no_readings_is_a_failed_check() -> None:
    assert {"order of time"} == set(failed(np.zeros((7, 0)), np.zeros(0, np.int64)))


def test_a_part_with_too_few_days_is_named() -> None:
    channels = ordinary()
    channels[:, AT >= 33 * DAY_S] = np.nan

    assert {"part evaluate", "gaps"} >= set(failed(channels)) >= {"part evaluate"}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 2000), st.integers(1, 400)), max_size=8))
def test_gaps_are_the_missing_readings(cuts: list[tuple[int, int]]) -> None:
    """A slow twin: walk along the readings."""
    power = np.ones(3000)
    for start, length in cuts:
        power[start : start + length] = np.nan
    power[-1] = 1.0
    at = np.arange(3000) * 60
    expected, begin = set(), None
    for moment, value in zip(at.tolist(), power.tolist(), strict=True):
        if np.isnan(value):
            begin = moment if begin is None else begin
        elif begin is not None:
            expected.add((begin, moment - 60))
            begin = None

    found = gaps(at, power, 60)

    assert expected == set(found)
    assert sorted((b - a for a, b in found), reverse=True) == [b - a for a, b in found]
