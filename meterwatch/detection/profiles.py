"""A profile's body: which series there are, each in the shortest of its forms. The loops are in `profile.c`."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.library import LIBRARY, pointer
from meterwatch.detection.params import HISTORY
from meterwatch.detection.slots import LENGTHS, LOWEST, OFFSETS, STEP, WIDTH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Slots = NDArray[np.int16]
    Flags = NDArray[np.uint8]


class _Layout(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("series", "history", "width")),
        *((name, ctypes.c_void_p) for name in ("lengths", "offset", "step", "lowest")),
    ]


_KEPT = [np.asarray(one, np.int32) for one in (LENGTHS, OFFSETS, STEP, LOWEST)]  # the layout points to them
LAYOUT = _Layout(len(LENGTHS), HISTORY, WIDTH, *(one.ctypes.data for one in _KEPT))
_LARGEST = HISTORY // 8 + len(LENGTHS) + 2 * WIDTH


def pack(slots: Slots, flag: Flags, row: int, odd: int) -> tuple[int, bytes]:
    """Which series a meter has, a bit each, and its body.

    Args:
        slots: (m, WIDTH) of all meters.
        flag: (m, HISTORY), 1 where a slot was anomalous.
        row: the meter.
        odd: 1 where the first slot is the second half of a pair.
    """
    out, present = np.empty(_LARGEST, np.uint8), ctypes.c_int32()
    size = LIBRARY.mw_pack(
        ctypes.byref(LAYOUT), pointer(slots), pointer(flag), ctypes.c_int64(row), odd, pointer(out),
        ctypes.byref(present),
    )  # fmt: skip
    return present.value, out[:size].tobytes()


def unpack(slots: Slots, flag: Flags, row: int, present: int, body: bytes) -> bool:
    """Fill a meter's row, whose slots are all missing; False where the body is shorter than what it says it holds."""
    too_short = LIBRARY.mw_unpack(
        ctypes.byref(LAYOUT), pointer(slots), pointer(flag), ctypes.c_int64(row), body, ctypes.c_int64(len(body)),
        present,
    )  # fmt: skip
    return not too_short
