"""Injected faults are reproducible, stay inside their labels and respect what a meter can show."""

from __future__ import annotations

import time
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.detection.errors import DataError
from meterwatch.detection.fault_kinds import KINDS
from meterwatch.detection.faults import available_kinds, inject_many, inject_one
from tests.households import START, household

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from meterwatch.detection.faults import Label

DAY = 86_400
AT, CHANNELS = household(days=40, seed=3)
SIZED = sorted(set(KINDS) - {"outage", "stuck", "sub_meter"})  # whose size follows the severity


def middle(day: int = 20, hour: float = 18) -> int:
    return START + day * DAY + int(hour * 3600)


def within(at: NDArray[np.int64], label: Label) -> NDArray[np.bool_]:
    return (at >= label.start_at) & (at <= label.end_at)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_labelled_span_changes(kind: str) -> None:
    """Outside the label everything stays, inside something moves, and missing values stay missing."""
    channels = CHANNELS.copy()
    channels[:, ::997] = np.nan
    changed, label = inject_one(AT, channels, kind, middle(), 5, 0.7)
    inside = within(AT, label)
    assert label.kind == kind
    assert label.start_at == middle()
    assert np.array_equal(changed[:, ~inside], channels[:, ~inside], equal_nan=True)
    assert not np.array_equal(changed[:, inside], channels[:, inside], equal_nan=True)
    assert np.array_equal(np.isnan(changed), np.isnan(channels))


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_are_those_of_the_kind(kind: str) -> None:
    """Drawn lengths fill the kind's range and leave it by no more than a reading."""
    drawn = [inject_one(AT, CHANNELS, kind, middle(), seed, 0.5)[1] for seed in range(40)]
    lasts = np.array([label.end_at - label.start_at + 60 for label in drawn])
    assert lasts.min() >= KINDS[kind].shortest_s
    assert lasts.max() <= KINDS[kind].longest_s + 60
    assert len(set(lasts.tolist())) > 1 or KINDS[kind].shortest_s == KINDS[kind].longest_s


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"outage", "stuck", "sub_meter"}))
def test_channels_hang_together(kind: str) -> None:
    """Current is apparent power through voltage as well as before; sub-meters stay below the total; no power < 0."""
    changed, label = inject_one(AT, CHANNELS, kind, middle(), 2, 0.8)
    part = slice(*np.searchsorted(AT, [label.start_at, label.end_at + 1]))
    active, reactive, voltage, current = changed[:4, part]
    assert np.abs(np.hypot(active, reactive) * 1000 / voltage - current).max() < 0.25
    assert active.min() >= 0
    assert (active * 1000 / 60 - changed[4:, part].sum(axis=0)).min() > -2  # of whole Wh in each


@pytest.mark.parametrize("kind", KINDS)
def test_values_keep_the_meters_resolution(kind: str) -> None:
    """Powers with three decimals, volts with two, amperes with one, whole watt hours: bit for bit as parsed."""
    changed, _ = inject_one(AT, CHANNELS, kind, middle(), 9, 0.6)
    for row, decimals in zip(changed, (3, 3, 2, 1, 0, 0, 0), strict=True):
        assert np.array_equal(row, [float(f"{value:.{decimals}f}") for value in row])


@pytest.mark.parametrize("kind", SIZED)
def test_plain_faults_are_larger_than_faint_ones(kind: str) -> None:
    """The size grows with severity, and the change in the readings with the size."""
    lasts = KINDS[kind].shortest_s
    (faint, small), (plain, large) = (
        inject_one(AT, CHANNELS, kind, middle(), 4, severity, duration_s=lasts) for severity in (0.0, 1.0)
    )
    assert abs(large.size) > abs(small.size)
    channel = 2 if kind == "voltage_sag" else 0
    if kind != "shifted_day":  # hours, not kilowatts
        assert np.abs(plain[channel] - CHANNELS[channel]).sum() > np.abs(faint[channel] - CHANNELS[channel]).sum()


def test_what_each_kind_does() -> None:
    """Outage: all zero. Stuck: the reading before. Theft and drop: a share. Left on: a constant more."""
    for kind in ("outage", "stuck", "theft", "drop", "left_on"):
        changed, label = inject_one(AT, CHANNELS, kind, middle(), 1, 0.5)
        part = slice(*np.searchsorted(AT, [label.start_at, label.end_at + 1]))
        before, after = CHANNELS[:, part], changed[:, part]
        if kind == "outage":
            assert not after.any()
        elif kind == "stuck":
            assert (after == CHANNELS[:, [part.start - 1]]).all()
        elif kind == "left_on":
            np.testing.assert_allclose(after[0] - before[0], label.size, atol=0.001)
        else:
            np.testing.assert_allclose(after[0], before[0] * (1 - label.size), atol=0.001)


def test_a_fault_that_only_other_channels_show_is_refused_without_them() -> None:
    """A meter with power alone has no sag and no sub-meter fault, but all others."""
    alone = CHANNELS.copy()
    alone[1:] = np.nan
    assert set(KINDS) - set(available_kinds(alone)) == {"voltage_sag", "sub_meter"}
    with pytest.raises(DataError, match="voltage_sag"):
        inject_one(AT, alone, "voltage_sag", middle(), 1, 0.5)
    for kind in available_kinds(alone):
        changed, label = inject_one(AT, alone, kind, middle(), 1, 0.5)
        assert np.isnan(changed[1:]).all()
        assert label.end_at >= label.start_at


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(1, 15), st.sampled_from([60, 900, 1800, 3600]), st.sampled_from([1, 7]))
def test_many_faults_are_apart_clear_of_gaps_and_reproducible(
    seed: int, per_month: float, cadence: int, reported: int
) -> None:
    """Same seed, same faults; at least six hours between two; not beside a hole; labels say what changed."""
    at, channels = household(days=60, seed=11, cadence=cadence)
    hole = slice(len(at) // 3, len(at) // 3 + len(at) // 20)
    channels[:, hole] = np.nan
    channels[reported:] = np.nan
    changed, labels = inject_many(at, channels, seed=seed, per_month=per_month)
    again, same = inject_many(at, channels, seed=seed, per_month=per_month)
    assert np.array_equal(changed, again, equal_nan=True)
    assert labels == same
    assert len(labels) <= 60 / 30.44 * per_month + 1
    outside = np.ones(len(at), np.bool_)
    for label in labels:
        inside = within(at, label)
        outside &= ~inside
        assert inside.any()
        assert np.isfinite(channels[0, inside]).mean() >= 0.85
        assert not np.array_equal(changed[:, inside], channels[:, inside], equal_nan=True)
    assert np.array_equal(changed[:, outside], channels[:, outside], equal_nan=True)
    assert all(b.start_at - a.end_at >= 6 * 3600 - cadence for a, b in pairwise(labels))


def test_room_is_used_and_kinds_take_turns() -> None:
    """Four a month find room with days between; no kind is drawn twice as often as another."""
    at, channels = household(days=360, seed=5, cadence=900)
    _, labels = inject_many(at, channels, seed=8, per_month=4)
    drawn = Counter(label.kind for label in labels)
    assert 44 <= len(labels) <= 48
    assert set(drawn) == set(KINDS)
    assert max(drawn.values()) - min(drawn.values()) <= 1
    gaps = np.array([b.start_at - a.end_at for a, b in pairwise(labels)])
    assert np.mean(gaps >= 2 * DAY) > 0.9


def test_bounds_kinds_and_night() -> None:
    """Faults begin and end where they may; night use lies where this meter is quiet."""
    begin, end = START + 10 * DAY, START + 38 * DAY
    _, labels = inject_many(AT, CHANNELS, seed=1, per_month=10, kinds=["night_use"], start_at=begin, end_at=end)
    assert len(labels) > 5
    assert all(begin <= label.start_at <= label.end_at <= end for label in labels)
    assert all(0 <= label.start_at % DAY < 6 * 3600 or label.start_at % DAY > 22 * 3600 for label in labels)


def test_a_solar_roof_keeps_its_sign() -> None:
    """Where power may be negative it is scaled, not cut off."""
    channels = np.full_like(CHANNELS, np.nan)
    channels[0] = np.round(CHANNELS[0] - 2.0, 3)
    changed, label = inject_one(AT, channels, "theft", middle(), 1, 1.0)
    part = slice(*np.searchsorted(AT, [label.start_at, label.end_at + 1]))
    np.testing.assert_allclose(changed[0, part], channels[0, part] * 0.3, atol=0.001)
    assert changed[0, part].min() < 0


@pytest.mark.parametrize("broken", ["missing", "zero", "huge", "one", "none"])
def test_odd_series_do_not_crash(broken: str) -> None:
    """All missing, all zero, one reading, none: no faults; one absurd value sets no level."""
    at, channels = AT[:20_000], CHANNELS[:, :20_000].copy()
    if broken == "missing":
        channels[:] = np.nan
    elif broken == "zero":
        channels[:] = 0
    elif broken == "huge":
        channels[:, 500] = 1e308
    elif broken in {"one", "none"}:
        at, channels = at[: int(broken == "one")], channels[:, : int(broken == "one")]
    changed, labels = inject_many(at, channels, seed=1, per_month=20)
    if broken == "huge":
        assert all(abs(label.size) < 50 for label in labels if KINDS[label.kind].unit == "kW")
        assert len(labels) > 3
    else:
        assert labels == []
        assert np.array_equal(changed, channels, equal_nan=True)


def test_mistakes_are_named() -> None:
    """Unknown kind, a start after the end, a severity outside its range, another shape."""
    with pytest.raises(DataError, match=r"no fault is called 'fire'; choose one of surge"):
        inject_one(AT, CHANNELS, "fire", middle(), 1, 0.5)
    with pytest.raises(DataError, match="choose a start inside the series"):
        inject_one(AT, CHANNELS, "drop", middle(400), 1, 0.5)
    with pytest.raises(DataError, match="severity"):
        inject_one(AT, CHANNELS, "drop", middle(), 1, 1.5)
    with pytest.raises(DataError, match="shape"):
        inject_one(AT, CHANNELS[:, 1:], "drop", middle(), 1, 0.5)


def test_sixty_days_of_minutes_are_quick() -> None:
    """Faults for 86,400 readings take less than 0.2 s, at the best of five."""
    at, channels = household(days=60, seed=2)
    took = []
    for seed in range(5):
        begun = time.perf_counter()
        inject_many(at, channels, seed=seed, per_month=6)
        took.append(time.perf_counter() - begun)
    assert min(took) < 0.2
