"""Looking statistics up in slot series: running sums and sliding extremes, made once for many windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.memory import LENGTHS
from meterwatch.detection.params import HOT
from meterwatch.detection.slots import MIN, MISSING, decode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Window:
    """The slot series of some meters laid out for look-ups: history, then the slots since the profile changed."""

    codes: list[NDArray[np.int16]]  # per series (m, length + HOT)
    usable: NDArray[np.bool_]  # (m, HISTORY + HOT) False: anomalous, and not accepted as the new normal
    level: Floats  # (m,) the meter's usual power, mW


class Look:
    """Looks statistics up at places of some meters' series; what several of them share is made once."""

    def __init__(self, window: Window, places: NDArray[np.int64]) -> None:
        self._window = window
        self._places = places  # (meters, width, lags), counted from the newest change of the profile
        self._tables: dict[tuple[int, str], NDArray[np.int64]] = {}
        self._empty: dict[int, bool] = {}
        self._flat: dict[tuple[int, int], tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]] = {}
        self._known: dict[tuple[int, int], tuple[NDArray[np.int64], NDArray[np.bool_]]] = {}

    def is_empty(self, k: int) -> bool:
        """Whether none of the meters has any of a series: most measure their power alone."""
        if k not in self._empty:
            self._empty[k] = bool((self._window.codes[k] == MISSING).all())
        return self._empty[k]

    def _span(self, length: int, w: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Flat places of a window's end and begin in running sums over `length` + HOT slots, and if it is inside."""
        if (length, w) not in self._flat:
            width = length + HOT + 1
            places = np.minimum(length + self._places, width - 2)
            inside = places + 1 >= w
            end = np.arange(len(places))[:, None, None] * width + np.maximum(places, -1) + 1
            self._flat[length, w] = (end, np.where(inside, end - w, end), inside)
        return self._flat[length, w]

    def _count(self, k: int, w: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """How many slots of the window are known, and where they are enough."""
        if (k, w) not in self._known:
            end, begin, inside = self._span(LENGTHS[k], w)
            count = _table(self._window, self._tables, k, "count").ravel()
            known = count.take(end) - count.take(begin)
            self._known[k, w] = (known, inside & (2 * known >= w))
        return self._known[k, w]

    def up(self, k: int, how: str, w: int) -> tuple[Floats, NDArray[np.bool_]]:
        """The statistic with its window ending at the places, and where at least half of its slots are known."""
        end, begin, _ = self._span(LENGTHS[k], w)
        known, valid = self._count(k, w)
        if how in ("max", "min"):
            levels = w.bit_length() - 1
            table = _table(self._window, self._tables, k, f"{how}{levels}")
            row = np.arange(len(table))[:, None, None]  # these tables are one shorter a meter
            last = end - row - 1
            code = table.ravel().take(np.maximum(last, 0))
            if w != 1 << levels:
                first = np.where(valid, last - w + (1 << levels), np.maximum(last, 0))
                pick = np.maximum if how == "max" else np.minimum
                code = pick(code, table.ravel().take(first))
            return decode(code.astype(np.int16)).astype(np.float64), valid & (np.abs(code) != -int(MISSING))
        table = _table(self._window, self._tables, k, how).ravel()
        return (table.take(end) - table.take(begin)) / np.maximum(known, 1), valid


def _table(window: Window, tables: dict[tuple[int, str], NDArray[np.int64]], k: int, how: str) -> NDArray[np.int64]:
    """Running sums (m, width + 1), or sliding extremes over 2**level slots (m, width); made once a call."""
    if (k, how) in tables:
        return tables[k, how]
    codes = window.codes[k]
    if how[:3] in ("max", "min"):
        level = int(how[3:])
        if level == 0:
            edge = -32_768 if how[:3] == "max" else 32_768  # a missing slot is never the extreme
            table = np.where(codes == MISSING, edge, codes.astype(np.int64))
        else:
            half = _table(window, tables, k, f"{how[:3]}{level - 1}")
            step = 1 << (level - 1)
            pick = np.maximum if how[:3] == "max" else np.minimum
            table = half.copy()
            table[:, step:] = pick(half[:, step:], half[:, :-step])
    else:
        present = codes != MISSING
        if how == "count":
            steps = present.astype(np.int64)
        elif how == "mean":
            steps = _decoded(window, tables, k)
        elif how == "rough":
            power = _decoded(window, tables, k)
            steps = np.zeros_like(power)
            both = present[:, 1:] & present[:, :-1]
            steps[:, 1:] = np.where(both, np.abs(power[:, 1:] - power[:, :-1]), 0)
        else:  # span
            steps = _decoded(window, tables, k) - _decoded(window, tables, MIN)
        table = np.zeros((codes.shape[0], codes.shape[1] + 1), np.int64)
        np.cumsum(steps, axis=1, out=table[:, 1:])
    tables[k, how] = table
    return table


def _decoded(window: Window, tables: dict[tuple[int, str], NDArray[np.int64]], k: int) -> NDArray[np.int64]:
    """A series in thousandths, (m, width); made once a call."""
    if (k, "decoded") not in tables:
        tables[k, "decoded"] = decode(window.codes[k])
    return tables[k, "decoded"]
