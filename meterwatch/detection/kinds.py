"""What kind of fault an event probably is, in plain words.

A small forest, taught with the same injected faults as the weigher, looks at the statistics of a suspicious slot and
says which kind of fault it resembles. Where it is not sure, or none was taught, the words come from the statistic
that stood out, or from the reading's own distance from the expected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.catalogue import STATISTICS, Statistic
from meterwatch.detection.slots import DEVIATION, MAX, MIN, MISMATCH, REACTIVE, REST, RUN, VOLTAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from meterwatch.detection.forest import Trees

    Floats = NDArray[np.float64]
    Whys = NDArray[np.int16]

# By the kinds that are injected. States remember the place in this order: new ones come last.
WORDS = {
    "surge": "short strong load",
    "left_on": "appliance left on",
    "base_load": "base load raised",
    "drop": "part of the consumption is missing",
    "outage": "outage",
    "stuck": "stuck reading",
    "theft": "consumption is missing for days",
    "shifted_day": "course of the day shifted",
    "night_use": "use at an unusual time",
    "noise": "scattering readings",
    "voltage_sag": "voltage sag",
    "sub_meter": "sub-meters do not fit the total",
}
FAST = -1  # the reason is the reading's distance from the expected, not a statistic
SURE = 0.4  # of a kind's probability: below, no kind is told
SUSPICIOUS = -1.0  # beside the threshold, in log10: slots ten times as frequent as an alarm are given a kind
_LOW = 0xFF


def packed(statistic: Whys, kind: Whys) -> Whys:
    """A statistic's place (or `FAST`) and a kind's, from 1 (0: none), as a state remembers them in 16 bits."""
    both: Whys = (kind << 8 | (statistic & _LOW)).astype(np.int16)
    return both


def statistic_of(why: Whys) -> Whys:
    """The statistic's place, or `FAST`."""
    low = why & _LOW
    place: Whys = np.where(low == _LOW, FAST, low).astype(np.int16)
    return place


def kind_of(why: Whys) -> Whys:
    """The kind's place from 1, 0 where there is none."""
    place: Whys = np.maximum(why >> 8, 0).astype(np.int16)
    return place


class Kinds:
    """Tells slots' kinds.

    Args:
        trees: a forest of classifiers over what the weigher looks at.
        names: of its classes, keys of `WORDS`.
    """

    def __init__(self, trees: Trees, names: Sequence[str]) -> None:
        self._trees = trees
        order = list(WORDS)
        self._place = np.array([order.index(name) + 1 for name in names], np.int16)

    def probable(self, rows: Floats) -> Whys:
        """The kind of each slot, (n, features) → (n,), as a place in `WORDS` from 1; 0 where none is likely enough."""
        probability = self._trees.probabilities(rows)
        likeliest = probability.argmax(axis=1)
        sure = probability[np.arange(len(rows)), likeliest] >= SURE
        kind: Whys = np.where(sure, self._place[likeliest], 0).astype(np.int16)
        return kind


def words(why: int, energy: int) -> str:
    """A probable kind, from what stood out at the peak (as `packed`) and the sign of the energy beyond the expected."""
    code = np.array([why], np.int16)
    known, statistic = int(kind_of(code)[0]), int(statistic_of(code)[0])
    if known:
        return list(WORDS.values())[known - 1]
    if statistic == FAST:
        return "sudden rise" if energy >= 0 else "sudden fall"
    return _by_statistic(STATISTICS[statistic])


def _by_statistic(statistic: Statistic) -> str:
    high = statistic.side > 0
    if statistic.how in ("rough", "span"):
        return "unusually restless consumption" if high else "unusually steady consumption"
    named = {
        (RUN, True): "stuck reading",
        (REST, False): "sub-meters do not fit the total",
        (MISMATCH, True): "power does not fit voltage and current",
        (DEVIATION, True): "unusual course of the day",
        (VOLTAGE, True): "high voltage",
        (VOLTAGE, False): "voltage sag",
        (MIN, True): "base load raised",
        (MIN, False): "base load sunk",
        (MAX, False): "nothing switched on",
        (REACTIVE, True): "unusually high reactive power",
        (REACTIVE, False): "unusually low reactive power",
    }.get((statistic.series, high))
    return named or ("unusually high consumption" if high else "unusually low consumption")
