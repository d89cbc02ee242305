"""Multi-scale statistics of a closed slot, each against its own trailing context.

Everything here is a function of the slot series alone: whole numbers in, so that any cut of the stream gives the
same bits. A statistic's context is its own value at the same slot of the eight days before, and that of the seven weeks
before (four, where no more is remembered), neighbouring slots included, anomalous slots left out. What comes out is
how many robust deviations the value lies on its suspicious side of the nearer of the two, so that neither a week of
absence nor a rare weekday makes all else strange; NaN where there is no context yet.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.catalogue import STATISTICS
from meterwatch.detection.kernel import Kernel
from meterwatch.detection.library import LIBRARY, pointer
from meterwatch.detection.params import SLOTS_A_DAY
from meterwatch.detection.slots import DEVIATION, RESIDUAL, RUN, VOLTAGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

DAYS = np.arange(1, 9) * SLOTS_A_DAY
WEEKS = np.arange(1, 8) * 7 * SLOTS_A_DAY
LEAST_CONTEXT = 10  # values: four periods with two or three neighbours each
ORDINARY = 1.0  # robust deviations up to which nothing is suspicious

# Two sides of one number are measured once: series, how, window, log.
_MEASURES = list(dict.fromkeys((s.series, s.how, s.window, s.log) for s in STATISTICS))
_MEASURE_OF = np.array([_MEASURES.index((s.series, s.how, s.window, s.log)) for s in STATISTICS], np.int32)
_SIDES = np.array([s.side for s in STATISTICS], np.float64)
_KERNEL = Kernel(_MEASURES, DAYS, WEEKS, LEAST_CONTEXT)
PLAN = _KERNEL.plan
# What counts as small before the logarithm, and the least spread: in thousandths, or in shares of the meter's level.
_FIXED_UNIT = np.array([1000.0 if series in (RUN, DEVIATION) else 0.0 for series, *_ in _MEASURES])
_FIXED_FLOOR = np.array(
    [0.1 if log else {VOLTAGE: 500.0, RESIDUAL: 50.0}.get(series, 0.0) for series, _, _, log in _MEASURES]
)  # half a volt, a twentieth of the band's half width


@dataclass(frozen=True, slots=True)
class Window:
    """The slot series of some of a call's meters: history, then the slots since the profile changed."""

    slots: NDArray[np.int16]  # (meters of the call, WIDTH) as `Memory` holds them
    flag: NDArray[np.uint8]  # (meters of the call, HISTORY) 1: anomalous
    rows: Ints  # (m,) the meters' places in these
    hot: NDArray[np.int16]  # (m, series, HOT) their slots of today, which may be a field of records
    level: Floats  # (m,) the meter's usual power, mW
    acceptance_days: int  # a change flagged on so many of the last 28 days is the new normal


def deviations(window: Window, m: Ints, slot: Ints, usual: Floats | None = None) -> Floats:
    """Every statistic at hot slots `slot` of meters `m` in robust deviations, (n,) → (statistics, n).

    Args:
        window: the meters' slots.
        m: rows of `window`, never falling.
        slot: slots since the profile changed.
        usual: (4, statistics, n), filled where given, in thousandths: each statistic's value, and the median, lower
            and upper quartile of the context that it was compared with.
    """
    unit = np.where(_FIXED_UNIT > 0, _FIXED_UNIT, 0.02 * window.level[:, None])
    floors = np.where(_FIXED_FLOOR > 0, _FIXED_FLOOR, 0.05 * window.level[:, None])
    now, contexts = _KERNEL.measures(window, unit, m, slot)
    nearer, weeks = np.empty((len(m), len(STATISTICS))), np.empty((len(m), len(STATISTICS)), np.bool_)
    LIBRARY.mw_deviations(
        ctypes.byref(PLAN), len(STATISTICS), pointer(_MEASURE_OF), pointer(_SIDES), ctypes.c_int64(len(m)), pointer(m),
        pointer(now), pointer(contexts), pointer(floors), pointer(nearer), pointer(weeks),
    )  # fmt: skip
    if usual is not None:
        usual[:] = _shown(now, contexts, weeks.T, unit[m].T)
    return nearer.T


def suspicious(deviation: Floats) -> Floats:
    """What tree models look at: what is ordinary, or not known, is all one.

    How ordinary a slow statistic is changes from day to day, and would tell a model the day rather than the fault.
    """
    clipped: Floats = np.fmax(deviation, ORDINARY)
    return clipped


def _shown(now: Floats, contexts: Floats, weeks: NDArray[np.bool_], unit: Floats) -> Floats:
    """Value and quartiles of the context that counted (`weeks` (statistics, n): that of weeks), (4, statistics, n)."""
    compared = [np.concatenate([now[None], context])[:, _MEASURE_OF] for context in contexts]
    out = np.where(weeks, compared[1], compared[0])
    log = np.array([statistic.log for statistic in STATISTICS])
    out[:, log] = np.sign(out[:, log]) * np.expm1(np.abs(out[:, log])) * unit[_MEASURE_OF[log]]
    return out
