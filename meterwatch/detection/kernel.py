"""The binding of `kernel.c`: the inner loops of the slot statistics, built when the package is installed."""

from __future__ import annotations

import ctypes
import threading
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.library import LIBRARY, address, pointer
from meterwatch.detection.params import HISTORY, HOT, SLOTS_A_DAY
from meterwatch.detection.slots import LENGTHS, MEAN, MIN, OFFSETS, VALUES, WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from meterwatch.detection.statistics import Window

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

HOWS = ("mean", "max", "min", "rough", "span")  # as the C code numbers them


class _Measure(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("series", "how", "window", "log")]


class _Plan(ctypes.Structure):
    _fields_ = [
        *(
            (name, ctypes.c_int32)
            for name in ("series", "hot", "history", "width", "mean", "min", "slots_a_day", "longest")
        ),
        *((name, ctypes.c_int32) for name in ("measures", "lags", "days", "weeks")),
        *((name, ctypes.c_void_p) for name in ("lengths", "offset", "lag", "of_days", "of_weeks")),
        ("measure", ctypes.POINTER(_Measure)),
        ("decoded", ctypes.c_void_p),
    ]


class _Meters(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_void_p) for name in ("slots", "flag", "rows", "hot")), ("stride", ctypes.c_int64)]


class Kernel:
    """Looks measures up in meters' slots.

    Args:
        measures: series, how (of `HOWS`), window in slots, and whether as a logarithm.
        days: lags in slots of the first context, rising.
        weeks: of the second.
        least: values that a measure's context must have.
    """

    def __init__(self, measures: Iterable[tuple[int, str, int, bool]], days: Ints, weeks: Ints, least: int) -> None:
        measures = list(measures)
        rows = [_Measure(series, HOWS.index(how), window, log) for series, how, window, log in measures]
        lags = np.unique(np.concatenate([[0], days, weeks]))
        numbers = (LENGTHS, OFFSETS, lags, np.searchsorted(lags, days), np.searchsorted(lags, weeks))
        self._kept = [np.asarray(one, np.int32) for one in numbers], VALUES  # as long as the plan points to them
        self.plan = _Plan(
            len(LENGTHS), HOT, HISTORY, WIDTH, MEAN, MIN, SLOTS_A_DAY, max(row.window for row in rows),
            len(rows), len(lags), len(days), len(weeks),
            *(one.ctypes.data for one in self._kept[0]), (_Measure * len(rows))(*rows), VALUES.ctypes.data,
        )  # fmt: skip
        self._least = least
        self._scratch = threading.local()

    def measures(self, window: Window, unit: Floats, m: Ints, slot: Ints) -> tuple[Floats, Floats]:
        """Every measure at hot slots `slot` of meters `m` (never falling), and its contexts.

        Args:
            window: the meters.
            unit: (meters, measures) what counts as small before the logarithm.
            m: (n,) rows of `window`.
            slot: (n,) slots since the profile changed.

        Returns:
            (measures, n) and (2, 3, measures, n): days, then weeks; median, lower and upper quartile. NaN: unknown.
        """
        if len(slot) and not (slot.min() >= 0 and slot.max() < HOT):
            raise ValueError("a slot that is not there is asked for")
        now, context = np.empty((unit.shape[1], len(m))), np.empty((2, 3, unit.shape[1], len(m)))
        unit = np.ascontiguousarray(unit)
        plan = ctypes.byref(self.plan)
        where = (address(one) for one in (window.slots, window.flag, window.rows))
        meters = _Meters(*where, window.hot.ctypes.data, window.hot.strides[0])  # may be a field of records
        if not hasattr(self._scratch, "room"):
            self._scratch.room = np.empty(LIBRARY.mw_scratch(plan), np.uint8)
        LIBRARY.mw_measures(
            plan, ctypes.byref(meters), window.acceptance_days, pointer(unit), ctypes.c_int64(len(m)), pointer(m),
            pointer(slot), self._least, pointer(self._scratch.room), pointer(now), pointer(context),
        )  # fmt: skip
        return now, context
