"""The binding of `order.c`, `rounds.c` and `segment.c`: one question to the detector as columns that they fill."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from meterwatch.detection.library import LIBRARY, address, pointer
from meterwatch.detection.memory import FRESH
from meterwatch.detection.profiles import LAYOUT
from meterwatch.detection.slots import STEPS
from meterwatch.detection.statistics import PLAN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from meterwatch.detection.memory import Memory
    from meterwatch.detection.params import DetectorParams
    from meterwatch.detection.readings import Readings

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

# Columns in the order in which the C code names them, eight bytes a place.
FACTS = ("status", "reason", "anew", "print", "why", "energy", "left", "absent", "days")  # of each reading
NUMBERS = ("score", "threshold", "expected", "lower", "upper")
TURNS = ("next", "stop", "begin", "end", "first", "count", "size", "rows")  # of each meter
ROUND = ("row", "mw", "slot", "cadence", "run")  # of each of a round's readings with power
AMOUNTS = ("distance", "surprise", "slow")
CLOSINGS = ("owner", "place", "by", "of", "because")  # of each slot that is judged
_OF_ROUND = (*ROUND, *AMOUNTS, *CLOSINGS, "worth")
_BLOCK = len(ROUND) + len(AMOUNTS) + 2 * (len(CLOSINGS) + 1)


class Rules(ctypes.Structure):
    """What a detector was told, as the C code reads it."""

    _fields_ = [
        *((name, ctypes.c_double) for name in ("limit_power", "limit_other", "threshold", "offset", "codes")),
        *(
            (name, ctypes.c_int64)
            for name in (
                "clock_jump_s", "clock_return_readings", "warm_up_s", "absence_s", "settle_s", "acceptance_days",
            )
        ),
    ]  # fmt: skip

    @classmethod
    def of(cls, params: DetectorParams, offset: float) -> Rules:
        """The rules that parameters, and what is taken off each score, make."""
        return cls(
            params.limit_power, params.limit_other, params.threshold, offset, STEPS, params.clock_jump_s,
            params.clock_return_readings, params.warm_up_s, params.absence_s, params.settle_s, params.acceptance_days,
        )  # fmt: skip


class _Call(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("plan", "layout", "rules", "fresh")),
        *((name, ctypes.c_int64) for name in ("expects", "meters", "readings", "many", "closings")),
        *(
            (name, ctypes.c_void_p)
            for name in (
                "records", "slots", "flag", "changed", "roll", "meter", "at", "channels",
                *FACTS, *NUMBERS, *TURNS, *ROUND, *AMOUNTS, *CLOSINGS, "worth",
            )
        ),
    ]  # fmt: skip


class Call:
    """Readings of some meters and what is said of them; `memory` is moved on as they are gone through.

    Args:
        rules: the detector's.
        memory: of the call's meters.
        readings: grouped by meter.
        expects: whether a sequence model is asked, so that its inputs are wanted.

    Raises:
        ValueError: the readings are not grouped by meter.
    """

    def __init__(self, rules: Rules, memory: Memory, readings: Readings, *, expects: bool) -> None:
        m, n = len(memory.hot), len(readings.at)
        self.memory, self.readings = memory, readings
        self.numbers, self.block = np.empty((len(NUMBERS), n)), np.empty((_BLOCK, 0), np.int64)
        work = np.empty(len(FACTS) * n + len(TURNS) * m, np.int64)
        self.facts, self.turns = (
            work[: len(FACTS) * n].reshape(len(FACTS), n),
            work[len(FACTS) * n :].reshape(len(TURNS), m),
        )
        columns = [
            np.ascontiguousarray(one, kind)
            for one, kind in ((readings.meter, np.int64), (readings.at, np.int64), (readings.channels, np.float64))
        ]
        base, hot = address(work), memory.hot.view(np.uint8)
        known: list[NDArray[Any]] = [hot, memory.slots, memory.flag, memory.changed, memory.roll_slot, *columns]
        self._call = _Call(
            *(ctypes.addressof(one) for one in (PLAN, LAYOUT, rules)), FRESH.ctypes.data, expects, m, n, 0, 0,
            *(address(one) for one in known), *_rows(base, len(FACTS), n),
            *_rows(address(self.numbers), len(NUMBERS), n), *_rows(base + 8 * len(FACTS) * n, len(TURNS), m),
        )  # fmt: skip
        self._kept = rules, columns
        self._by = ctypes.byref(self._call)
        if LIBRARY.mw_order(self._by):
            raise ValueError("the readings of a call are not grouped by meter")

    def turn(self) -> bool:
        """Go on to each meter's next readings within a day; False where there are no more."""
        return bool(LIBRARY.mw_turn(self._by))

    @property
    def many(self) -> int:
        """How many of the round's readings have power."""
        return int(self._call.many)

    def begin(self) -> None:
        """Say how each of the round's readings is to be judged."""
        many = self._call.many
        self.block = np.empty((_BLOCK, many), np.int64)
        columns = _rows(address(self.block), _BLOCK, many)
        ends = columns[len(ROUND) + len(AMOUNTS) :: 2]
        for name, where in zip(_OF_ROUND, (*columns[: len(ROUND) + len(AMOUNTS)], *ends), strict=True):
            setattr(self._call, name, where)
        LIBRARY.mw_begin(self._by)

    def sizes(self) -> list[tuple[int, int]]:
        """In how many readings meters go through the network together, rising, and how many meters each time."""
        out, sharing, size = [], ctypes.c_int64(), 0
        while size := LIBRARY.mw_size(self._by, ctypes.c_int64(size), ctypes.byref(sharing)):
            out.append((size, sharing.value))
        return out

    def inputs(self, size: int, past: NDArray[np.float32], time: NDArray[np.float32]) -> None:
        """Fill the network's inputs for the meters of a size, (meters, 2, length + RECEPTIVE - 1), (…, 12, length)."""
        LIBRARY.mw_inputs(self._by, ctypes.c_int64(size), ctypes.c_int64(time.shape[2]), pointer(past), pointer(time))

    def expected(self, size: int, bounds: Floats) -> None:
        """Take the network's answer for the meters of a size, (meters, 3, length): median, lower and upper bound."""
        bounds = np.ascontiguousarray(bounds)
        LIBRARY.mw_expected(self._by, ctypes.c_int64(size), ctypes.c_int64(bounds.shape[2]), pointer(bounds))

    def close(self) -> tuple[Ints, Floats]:
        """Close slots; those to be judged as columns of CLOSINGS, and a place for the score of each."""
        LIBRARY.mw_close(self._by)
        begin, many, slots = len(ROUND) + len(AMOUNTS), self._call.many, self._call.closings
        columns = self.block[begin:].reshape(len(CLOSINGS) + 1, 2 * many)
        return columns[:-1, :slots], columns[-1, :slots].view(np.float64)

    def amount(self, name: str) -> Floats:
        """One of AMOUNTS, (many,)."""
        column: Floats = self.block[len(ROUND) + AMOUNTS.index(name)].view(np.float64)
        return column

    def reasons(self) -> tuple[NDArray[np.int32], list[int]]:
        """Which reason each reading has, (readings,), and the reasons' codes."""
        many = LIBRARY.mw_reasons(self._by)
        return self.facts[1].astype(np.int32), self.facts[-1, :many].tolist()

    def finish(self) -> None:
        """Score the round's readings by their surprise and that of their slots."""
        LIBRARY.mw_finish(self._by)


def _rows(base: int, rows: int, width: int) -> list[int]:
    """Where each of some rows of so many places begins."""
    return [base + 8 * width * row for row in range(rows)]
