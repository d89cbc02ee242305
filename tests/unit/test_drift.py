"""How far readings have moved: what the distance means, and that a real December stays quiet where a shift does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterwatch.detection import drift
from meterwatch.detection.detector import REFERENCE, Detector
from meterwatch.detection.drift import DAY_S, SIGNALS, Distance, Reference
from meterwatch.detection.errors import BundleError
from meterwatch.detection.params import DetectorParams
from meterwatch.detection.rounds import Models
from tests.mixtures import YEAR
from training.meter_files import meters, read_frame
from training.reference import references
from training.series import Series

if TYPE_CHECKING:
    from pathlib import Path

NUMBERS = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=60)
DECEMBER = 334  # the day of 2007 on which it begins
QUIET_DAYS = 243  # January to August: what the shipped models are made of


def reference(values: list[float]) -> Reference:
    return Reference(*Reference.of(np.array(values)), 0.1)


@given(NUMBERS, NUMBERS)
def test_the_distance_is_none_to_itself_and_at_most_one(first: list[float], second: list[float]) -> None:
    """Missing values count for nothing, the order neither; to itself it is 0."""
    held = reference(first)
    if not len(held.edges):
        return
    assert held.distance(held.counts(np.array([*first[::-1], np.nan]))) == pytest.approx(0, abs=1e-12)
    assert 0 <= held.distance(held.counts(np.array(second))) <= 1
    assert np.isnan(held.distance(held.counts(np.array([np.nan]))))


@given(NUMBERS, st.floats(0, 1e5), st.floats(0, 1e5))
def test_what_moves_further_is_further(values: list[float], little: float, more: float) -> None:
    held = reference(values)
    near, far = (held.distance(held.counts(np.array(values) + by)) for by in (little, little + more))
    assert far >= near - 1e-12 or not len(held.edges)


def test_twenty_percentile_points_are_a_distance_of_a_fifth() -> None:
    """Of evenly spread values all moved up by a fifth of them, the middle ones are a fifth further."""
    held = reference(list(np.arange(10_000.0)))
    moved = np.arange(10_000.0) + 2_000
    wrapped = np.minimum(moved, 9_999)
    assert held.distance(held.counts(wrapped)) == pytest.approx(0.2 * (1 - 0.1), abs=0.02)


def test_references_survive_their_file(tmp_path: Path) -> None:
    held = {name: reference([1.0, 2.0, float(k)]) for k, name in enumerate(SIGNALS)}
    drift.save(held, tmp_path)
    text = (tmp_path / REFERENCE).read_bytes()
    back = drift.load(tmp_path)
    assert back is not None
    drift.save(back, tmp_path)
    assert (tmp_path / REFERENCE).read_bytes() == text
    (tmp_path / REFERENCE).write_text("[1]")
    with pytest.raises(BundleError, match="dvc repro"):
        drift.load(tmp_path)
    (tmp_path / REFERENCE).unlink()
    assert drift.load(tmp_path) is None


def test_the_trained_bundle_carries_each_signal(bundle: Path) -> None:
    held = drift.load(bundle)
    assert held is not None
    assert set(held) == set(SIGNALS)
    assert all(0 < one.usual < 1 for one in held.values())


def test_a_meter_of_another_size_is_as_near() -> None:
    """Power, current and sub-metering count by the meter's own mean."""
    channels = np.abs(np.random.default_rng(1).normal(1, 0.2, (7, 50)))
    sizes = channels.copy()
    sizes[[0, 1, 3, 4, 5, 6]] *= 8
    score = np.zeros(50)
    np.testing.assert_allclose(drift.signals(channels, 1.5, score), drift.signals(sizes, 12.0, score))


@pytest.fixture(scope="module")
def year() -> Series:
    (series,) = meters(read_frame(YEAR), "UTC").series
    return series


def _drifted(held: dict[str, Reference], day: Series, level_kw: float) -> set[str]:
    values = drift.signals(day.channels, level_kw, np.full(len(day.at), np.nan))
    return {
        name
        for name, one in zip(SIGNALS, values, strict=True)
        if name in held and Distance(name, float(held[name].distance(held[name].counts(one))), held[name].usual).drifted
    }


def test_a_real_december_is_quiet_and_a_shifted_channel_is_told_within_a_day(year: Series) -> None:
    """Voltage 5 V higher, power half as much again beside an unchanged current: each, on each day of December."""
    begin = int(year.at[0]) // DAY_S * DAY_S
    quiet = year.between(begin, begin + QUIET_DAYS * DAY_S)
    held = references(Detector(DetectorParams(), Models()), [quiet], [], 0)
    plain, higher, stronger = [], [], []
    for k in range(DECEMBER, DECEMBER + 31):
        first = begin + k * DAY_S
        day = year.between(first, first + DAY_S)
        level = float(np.nanmean(year.between(first - drift.LEVEL_DAYS * DAY_S, first).channels[0]))
        up, half = day.channels.copy(), day.channels.copy()
        up[2] += 5
        half[0] *= 1.5
        plain.append(_drifted(held, day, level))
        higher.append("voltage_v" in _drifted(held, Series("h", day.at, up), level))
        stronger.append(drift.POWER_FACTOR in _drifted(held, Series("h", day.at, half), level))
    assert sum(map(bool, plain)) <= 1, plain  # nine signals, thirty-one days
    assert all(stronger)
    assert np.mean(higher) > 0.9
