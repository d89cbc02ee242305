"""The statistics of a slot equal their slow twins, look at nothing later, and leave out what was anomalous."""

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meterwatch.detection.catalogue import STATISTICS
from meterwatch.detection.library import LIBRARY, pointer
from meterwatch.detection.params import HISTORY, HOT, SLOTS_A_DAY
from meterwatch.detection.slots import DEVIATION, LENGTHS, MAX, MEAN, MIN, MISSING, RESIDUAL, RUN, VOLTAGE, encode
from meterwatch.detection.statistics import DAYS, PLAN, WEEKS, Window, deviations
from tests import naive
from tests.naive import Laid

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVELS = np.array([400_000, 2_000])  # mW


def window(seed: int, missing: float, flagged: float, meters: int = 2) -> Laid:
    """Two meters with a daily pattern, noise, constant stretches, lost slots and lost days."""
    rng = np.random.default_rng(seed)
    level = LEVELS[:meters]
    series: list[np.ndarray[tuple[int, int], np.dtype[np.int16]]] = []
    for k, length in enumerate(LENGTHS):
        n = length + HOT
        usual = 1 + np.sin(np.arange(n) * 2 * np.pi / SLOTS_A_DAY)
        values = level[:, None] * usual * rng.lognormal(0, 0.3, (meters, n))
        values *= rng.choice([1, -1], (meters, n), p=[0.8, 0.2] if k == RESIDUAL else [1, 0])
        values[:, n // 3 : n // 3 + 200] = values[:, n // 3 : n // 3 + 1]
        codes = encode(np.rint(values).astype(np.int64))
        codes[rng.random((meters, n)) < missing] = MISSING
        day = int(rng.integers(0, n - 300))
        codes[:, day : day + int(rng.integers(0, 300))] = MISSING
        if k == MIN:
            codes[series[MAX] == MISSING] = MISSING  # a slot has both or none
            series[MAX][codes == MISSING] = MISSING
        series.append(codes)
    flag = (rng.random((meters, HISTORY)) < flagged).astype(np.uint8)
    return Laid(series, flag, level.astype(np.float64))


def slot_context(window: Window, m: NDArray[np.int64], slot: NDArray[np.int64]) -> NDArray[np.float64]:
    """What mean power is usual at slots of meters, (3, 2, n), as the detector asks for it."""
    out = np.empty((len(slot), 3, 2))
    for i, (meter, place) in enumerate(zip(m.tolist(), slot.tolist(), strict=True)):
        codes, flag = window.slots[meter].copy(), window.flag[meter].copy()
        accepted = LIBRARY.mw_accepted(ctypes.byref(PLAN), pointer(flag), window.acceptance_days)
        LIBRARY.mw_context(
            ctypes.byref(PLAN), pointer(codes), pointer(flag), accepted, ctypes.c_int64(place), pointer(out[i])
        )
    return out.transpose(1, 2, 0)


cases = given(
    seed=st.integers(0, 10**6),
    missing=st.sampled_from([0.0, 0.1, 0.5, 0.95]),
    flagged=st.sampled_from([0.0, 0.1, 0.5, 0.8]),
)


@settings(max_examples=15, deadline=None)
@example(seed=1, missing=0.1, flagged=0.3)
@cases
def test_what_is_usual_equals_its_slow_twin(seed: int, missing: float, flagged: float) -> None:
    """Median and quartiles of the same slot and its neighbours, of days and of weeks."""
    laid = window(seed, missing, flagged)
    slot = np.array([0, 1, 47, 94, 95])
    for m in range(2):
        found = slot_context(laid.window(), np.full(len(slot), m), slot)  # (3, 2, n)
        for i, one in enumerate(slot.tolist()):
            for row, lags in enumerate((DAYS, WEEKS)):
                near = [lag + beside for lag in lags.tolist() for beside in (-1, 0, 1)]
                expected = naive.usual(laid, m, one, near)
                assert found[:, row, i].tolist() == pytest.approx(expected or [math.nan] * 3, rel=0, nan_ok=True)


@settings(max_examples=5, deadline=None)
@example(seed=2, missing=0.0, flagged=0.8)  # so much that it is the new normal
@example(seed=1, missing=0.1, flagged=0.3)
@cases
def test_deviations_equal_their_slow_twin(seed: int, missing: float, flagged: float) -> None:
    """Every statistic, at the edges of the day and within it, in one call for both meters."""
    laid = window(seed, missing, flagged)
    rng = np.random.default_rng(seed)
    slot = np.array([0, int(rng.integers(1, 95)), 99])
    found = deviations(laid.window(), np.array([0, 1, 1]), slot)
    for i, m in enumerate((0, 1, 1)):
        expected = naive.deviations(laid, m, int(slot[i]))
        for row, statistic in enumerate(STATISTICS):
            assert found[row, i] == pytest.approx(expected[row], rel=1e-12, nan_ok=True), statistic.name
    if missing < 0.5 and flagged < 0.5:  # an absence of three days leaves a few without context
        assert np.isfinite(found).mean() > 0.8


@settings(max_examples=5, deadline=None)
@example(seed=1, missing=0.1, flagged=0.3)
@cases
def test_what_a_statistic_was_compared_with_gives_its_deviation(seed: int, missing: float, flagged: float) -> None:
    """Value, median and quartiles, in the units of the series, are those of the nearer context."""
    laid = window(seed, missing, flagged)
    meters, slot = np.repeat([0, 1], 4), np.tile([0, 33, 60, 95], 2)
    usual = np.empty((4, len(STATISTICS), len(slot)))
    found = deviations(laid.window(), meters, slot, usual)
    assert found.tobytes() == deviations(laid.window(), meters, slot).tobytes()
    for k, statistic in enumerate(STATISTICS):
        shown = usual[:, k]
        floor = {VOLTAGE: 500.0, RESIDUAL: 50.0}.get(statistic.series, 0.05 * laid.level[meters])
        if statistic.log:
            unit = 1000.0 if statistic.series in (RUN, DEVIATION) else 0.02 * laid.level[meters]
            shown = np.sign(shown) * np.log1p(np.abs(shown) / unit)
            floor = 0.1
        value, middle, low, high = shown
        distance = statistic.side * (value - middle) / ((high - low) / 1.349 + floor)
        np.testing.assert_allclose(np.clip(distance, -50, 50), found[k], rtol=1e-9, atol=1e-9, err_msg=statistic.name)


@settings(max_examples=8, deadline=None)
@cases
def test_a_slot_alone_and_in_company(seed: int, missing: float, flagged: float) -> None:
    """The same bits for one slot as for all of a day, for one meter as for two."""
    laid = window(seed, missing, flagged)
    slot = np.arange(96)
    whole = deviations(laid.window(), np.repeat([0, 1], 96), np.tile(slot, 2))
    for m, one in ((0, 0), (0, 95), (1, 17)):
        alone = Laid([codes[m : m + 1] for codes in laid.codes], laid.flag[m : m + 1], laid.level[m : m + 1])
        assert (
            deviations(alone.window(), np.array([0]), np.array([one])).tobytes() == whole[:, [96 * m + one]].tobytes()
        )


@settings(max_examples=8, deadline=None)
@cases
def test_later_slots_are_never_looked_at(seed: int, missing: float, flagged: float) -> None:
    """Whatever comes after a slot, its statistics stay; what is usual there knows nothing of today at all."""
    laid, other = window(seed, missing, flagged), window(seed, missing, flagged)
    at = 40
    rng = np.random.default_rng(seed)
    for k, codes in enumerate(other.codes):
        later = codes[:, LENGTHS[k] + at + 1 :]
        later[:] = rng.integers(-32_768, 32_768, later.shape)
    meters, slots = np.array([0, 1]), np.array([at, at])
    assert deviations(laid.window(), meters, slots).tobytes() == deviations(other.window(), meters, slots).tobytes()
    other.codes[MEAN][:, HISTORY:] = rng.integers(-32_768, 32_768, (2, HOT))
    assert slot_context(laid.window(), meters, slots).tobytes() == slot_context(other.window(), meters, slots).tobytes()


@pytest.mark.parametrize("statistic", STATISTICS, ids=lambda statistic: statistic.name)
def test_more_on_the_suspicious_side_is_worse(statistic: object) -> None:
    """A higher last day of the one series raises what is suspicious when high and lowers the other."""
    row = STATISTICS.index(statistic)  # type: ignore[arg-type]
    one = STATISTICS[row]
    told = []
    for factor in (0.25, 1.0, 4.0):
        laid = window(3, 0.0, 0.0, meters=1)
        codes = laid.codes[one.series]
        rng = np.random.default_rng(1)
        last = 1e6 * factor * (1 + (rng.random(one.window) if one.how == "rough" else 1.0))
        codes[0, LENGTHS[one.series] + 95 - one.window + 1 : LENGTHS[one.series] + 96] = encode(
            np.rint(last * np.ones(one.window)).astype(np.int64)
        )
        told.append(deviations(laid.window(), np.array([0]), np.array([95]))[row, 0])
    assert told == sorted(told, reverse=one.side < 0)
    assert told[0] != told[2]


def test_names_are_distinct_and_words_are_there() -> None:
    """What a person reads, and what a figure's axis says."""
    assert len({one.name for one in STATISTICS}) == len(STATISTICS)
    assert all(one.words for one in STATISTICS)


@pytest.mark.parametrize(("days", "usable"), [(20, False), (21, True)])
def test_a_lasting_change_becomes_the_new_normal(days: int, usable: bool) -> None:  # noqa: FBT001 - a column
    """Flagged slots are left out, until they fill so many of the last 28 days."""
    flag = np.zeros((1, HISTORY), np.uint8)
    flag[0, HISTORY - days * SLOTS_A_DAY :] = 1
    laid = Laid([np.zeros((1, length + HOT), np.int16) for length in LENGTHS], flag, np.array([1000.0]))
    of_days, of_weeks = slot_context(laid.window(), np.array([0]), np.array([5]))[0, :, 0].tolist()
    assert math.isnan(of_days) != usable
    assert of_weeks == 0.0  # there is a week before the change
