"""Slot values and their 16-bit code.

A slot is 15 minutes. Power is held in whole milliwatts so that sums are associative and the same bits come out
however the stream is cut; what is remembered of a slot is an inverse hyperbolic sine of it in 16 bits: linear
near zero, 0.07 % of the value elsewhere, signed, up to the limit of a million kW.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MISSING = np.int16(-32768)
UNIT = 1_000.0  # one watt in milliwatts: where the code turns from linear to logarithmic
STEPS = 32_767 / np.arcsinh(1e12 / UNIT)  # codes a factor e
SERIES = ("mean", "max", "min", "run", "deviation", "rest", "voltage", "mismatch", "residual")
MEAN, MAX, MIN, RUN, DEVIATION, REST, VOLTAGE, MISMATCH, RESIDUAL = range(len(SERIES))

_VALUES = np.rint(np.sinh(np.arange(-32_768, 32_768) / STEPS) * UNIT).clip(-1e13, 1e13).astype(np.int64)
_VALUES[0] = 0  # MISSING adds nothing to a sum
_VALUES = np.roll(_VALUES, 32_768)  # by a code's bits as an unsigned number


def encode(values: NDArray[np.int64]) -> NDArray[np.int16]:
    """Code whole thousandths (mW for power); the inverse of `decode` up to 0.07 %."""
    codes = np.rint(np.arcsinh(values / UNIT) * STEPS)
    clipped: NDArray[np.int16] = np.minimum(np.maximum(codes, -32_767), 32_767).astype(np.int16)
    return clipped


def decode(codes: NDArray[np.int16]) -> NDArray[np.int64]:
    """Whole thousandths of each code; MISSING gives 0."""
    values: NDArray[np.int64] = _VALUES.take(codes.view(np.uint16))
    return values
