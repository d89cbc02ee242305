"""Slot values and their 16-bit code.

A slot is 15 minutes. Power is held in whole milliwatts so that sums are associative and the same bits come out
however the stream is cut; what is remembered of a slot is an inverse hyperbolic sine of it in 16 bits: linear
near zero, 0.07 % of the value elsewhere, signed, up to the limit of a million kW. Of the series in `COARSE` only
every so many codes is used, so that a byte holds them: within 4 to 9 % of the value, which their floors swallow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.params import HISTORY, SHORT_HISTORY

if TYPE_CHECKING:
    from numpy.typing import NDArray

MISSING = np.int16(-32768)
UNIT = 1_000.0  # one watt in milliwatts: where the code turns from linear to logarithmic
STEPS = 32_767 / np.arcsinh(1e12 / UNIT)  # codes a factor e
SERIES = ("mean", "max", "min", "run", "deviation", "rest", "voltage", "mismatch", "residual", "reactive")
MEAN, MAX, MIN, RUN, DEVIATION, REST, VOLTAGE, MISMATCH, RESIDUAL, REACTIVE = range(len(SERIES))
# Those that a byte holds, with the lowest multiple of the step that it can: those never below zero have half the step.
COARSE = {RUN: 0, DEVIATION: 0, MISMATCH: 0, RESIDUAL: -127, REACTIVE: -127}
FINE = tuple(k for k in range(len(SERIES)) if k not in COARSE)
NO_BYTE = 255  # MISSING in a byte
LENGTHS = tuple(HISTORY if k == MEAN else SHORT_HISTORY for k in range(len(SERIES)))  # slots remembered
OFFSETS = tuple(sum(LENGTHS[:k]) for k in range(len(SERIES)))  # of each series in a meter's slots
WIDTH = sum(LENGTHS)

LOWEST = np.zeros(len(SERIES), np.int16)
LOWEST[list(COARSE)] = list(COARSE.values())
STEP = np.where(LOWEST < 0, 258, 129).astype(np.int16)  # 127 and 254 of them reach the largest code
STEP[list(FINE)] = 0  # no byte holds these

VALUES = np.rint(np.sinh(np.arange(-32_768, 32_768) / STEPS) * UNIT).clip(-1e13, 1e13).astype(np.int64)
VALUES[0] = 0  # MISSING adds nothing to a sum
VALUES = np.roll(VALUES, 32_768)  # by a code's bits as an unsigned number


def encode(values: NDArray[np.int64]) -> NDArray[np.int16]:
    """Code whole thousandths (mW for power); the inverse of `decode` up to 0.07 %."""
    codes = np.rint(np.arcsinh(values / UNIT) * STEPS)
    clipped: NDArray[np.int16] = np.minimum(np.maximum(codes, -32_767), 32_767).astype(np.int16)
    return clipped


def decode(codes: NDArray[np.int16]) -> NDArray[np.int64]:
    """Whole thousandths of each code; MISSING gives 0."""
    values: NDArray[np.int64] = VALUES.take(codes.view(np.uint16))
    return values


def to_bytes(codes: NDArray[np.int16], series: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Codes of coarse series, (…, len(series), n), to the nearest that a byte holds."""
    step, lowest = STEP[series][:, None], LOWEST[series][:, None]
    places = np.rint(codes / step) - lowest
    packed: NDArray[np.uint8] = np.where(codes == MISSING, NO_BYTE, places.clip(0, 254)).astype(np.uint8)
    return packed


def from_bytes(packed: NDArray[np.uint8], series: NDArray[np.int64]) -> NDArray[np.int16]:
    """The inverse of `to_bytes`."""
    step, lowest = STEP[series][:, None], LOWEST[series][:, None]
    codes: NDArray[np.int16] = np.where(packed == NO_BYTE, MISSING, (packed + lowest) * step).astype(np.int16)
    return codes
