"""Readings into slots: as a plain loop does it, in a code that loses less than a thousandth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.detection.detector import Detector
from meterwatch.detection.memory import Memory
from meterwatch.detection.params import HISTORY, SHORT_HISTORY, SLOT_S, SLOTS_A_DAY, DetectorParams
from meterwatch.detection.rounds import Models
from meterwatch.detection.slots import (
    COARSE,
    DEVIATION,
    MEAN,
    MISSING,
    RESIDUAL,
    SERIES,
    decode,
    encode,
    from_bytes,
    to_bytes,
)
from tests import naive
from tests.households import household
from tests.streams import DAY, Caller, one_meter

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLANK = Detector(DetectorParams(), Models())  # it needs no model to remember


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-(10**12), 10**12), min_size=1))
def test_a_code_keeps_sign_order_and_size(values: list[int]) -> None:
    """Linear near zero, 0.07 % elsewhere, up to a million kW; what is decoded keeps its code."""
    powers = np.sort(np.array(values))
    back = decode(encode(powers))
    assert (np.abs(back - powers) <= np.maximum(0.0007 * np.abs(powers), 1)).all()
    assert (np.diff(back) >= 0).all()
    assert (encode(back) == encode(powers)).all()
    assert (decode(encode(-powers)) == -back).all()


def test_missing_is_no_number() -> None:
    """No value has the code of a missing one, however large; it adds nothing to a sum."""
    assert (encode(np.array([-(10**15), 0, 10**15])) != MISSING).all()
    assert decode(np.array([MISSING])) == 0


def in_a_byte(codes: NDArray[np.int16], k: int) -> NDArray[np.int16]:
    """Codes of a coarse series as they are remembered."""
    series = np.array([k])
    return from_bytes(to_bytes(codes[None], series), series)[0]


@pytest.mark.parametrize("k", COARSE, ids=lambda k: SERIES[k])
@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.integers(-(10**12), 10**12), min_size=1))
def test_a_byte_keeps_sign_order_and_size(k: int, values: list[int]) -> None:
    """Half a step: near zero of the unit, elsewhere of the value; what a byte said keeps its byte."""
    least, far = (0, 0.045) if COARSE[k] == 0 else (-(10**12), 0.09)  # nothing is below zero, or anything
    powers = np.sort(np.array(values).clip(min=least))
    codes = in_a_byte(encode(powers), k)
    back = decode(codes)
    assert (np.abs(back - powers) <= far * np.hypot(powers, 1000) + 1).all()
    assert (np.diff(back) >= 0).all()
    assert (in_a_byte(codes, k) == codes).all()
    assert in_a_byte(np.array([MISSING]), k) == MISSING


@settings(max_examples=20, deadline=None)
@given(
    cadence=st.sampled_from([60, 300, 900, 1800, 3600]),
    seed=st.integers(0, 10**6),
    lost=st.sampled_from([0.0, 0.2, 0.6]),
    early=st.sampled_from([0, 1, 200]),
    channels=st.sampled_from([1, 3, 7]),
)
def test_slots_equal_their_slow_twin(cadence: int, seed: int, lost: float, early: int, channels: int) -> None:
    """Lost and moved readings, missing channels, frozen runs, any phase, absences of hours."""
    rng = np.random.default_rng(seed)
    at, values = household(3 if cadence < 900 else 7, seed, cadence)
    at = np.sort(at + int(rng.integers(0, SLOT_S)) + rng.integers(-early, early + 1, len(at)))
    values[channels:] = np.nan
    values[:, rng.random(len(at)) < 0.1] = values[:, :1]  # said before, some of it in a row
    values[rng.integers(1, 7, 5), rng.integers(0, len(at), 5)] = np.nan
    absent = (at // 18_000 % 7 == 0) & (at > at[0] + DAY)
    absent |= (seed % 3 == 0) & (at > at[0] + DAY) & (at < at[-1] - DAY)  # days
    kept = (rng.random(len(at)) >= lost) & (np.diff(at, prepend=0) > 0) & ~absent
    at, values = at[kept], values[:, kept]

    caller = Caller(BLANK).follow(one_meter("m", at, values))
    memory = Memory.decode(["m"], [caller.states["m"]], [caller.profiles["m"]])
    turn, day = int(memory.roll_slot[0]), int(memory.hot["day"][0])
    twin = naive.slots(at.tolist(), values.T.tolist(), turn)
    assert memory.hot["cadence"][0] == naive.cadences(at.tolist(), turn)[-1]
    base = day * SLOTS_A_DAY + turn
    for k in set(range(len(SERIES))) - {DEVIATION, RESIDUAL}:
        length = HISTORY if k == MEAN else SHORT_HISTORY
        for slot in range(int(at[0]) // SLOT_S, base):
            value = twin.get(slot, {}).get(k)
            expected = MISSING if value is None else int(encode(np.array([value]))[0])
            if k in COARSE:
                expected = int(in_a_byte(np.array([expected], np.int16), k)[0])
            assert memory.series[k][0, slot - base + length] == expected, (SERIES[k], slot)


@pytest.mark.parametrize(("cadence", "readings"), [(60, 15), (1800, 1), (3600, 1)])
def test_the_last_reading_of_a_slot_closes_it(cadence: int, readings: int) -> None:
    """With it, not with the next one; half an hour fills two slots, an hour four."""
    at, values = household(2, 1, cadence)
    caller = Caller(BLANK).follow(one_meter("m", at, values))
    start = int(at[-1]) + cadence
    more, kw = start + cadence * np.arange(readings), np.full((7, readings), np.nan)
    kw[0] = 1.5
    before = Memory.decode(["m"], [caller.states["m"]], [None]).hot
    after = Memory.decode(["m"], [caller.follow(one_meter("m", more, kw)).states["m"]], [None]).hot
    changed = np.flatnonzero(before["hot"][0, MEAN] != after["hot"][0, MEAN])
    assert len(changed) == max(cadence // SLOT_S, 1)
    assert (after["hot"][0, MEAN, changed] == encode(np.array([1_500_000]))).all()
    assert after["counts"][0, 0] == 0
