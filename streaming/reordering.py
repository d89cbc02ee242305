"""Puts a meter's readings in the order of their times, within a bound. Pure.

A reading waits until its meter's front, the newest time so far, is `lateness` beyond it; what comes later than that
goes on at once, and the detector says `late`. Only record order and meter times decide, so any cut of the stream gives
the same order: reading i goes on with the first record j >= i of its meter whose front reaches at + lateness, and what
goes on with one record does so in the order of time, then of arrival.

A time farther from the front than a clock jump does not move it. It is a suspect, and the next record decides: where
that goes on from there, the time was real, all else that waits goes on, and the front is there. If not, a suspect from
the future is refused as a clock jump, and one from the past goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

_SPAN = 2**42  # more than any time in seconds: keeps the meters apart in one running maximum


class Bound(NamedTuple):
    """The model's rule, in seconds."""

    lateness: int
    clock_jump: int


@dataclass(frozen=True, slots=True)
class Order:
    """What becomes of the readings for now; each goes on, waits or is refused."""

    released: Ints  # (r,) places of what goes on, by meter, in the order in which it is judged
    suspect: Flags  # (n,) of what waits, the suspects
    refused: Flags  # (n,) clock jumps


def reorder(meter: Ints, at: Ints, held: Flags, suspect: Flags, bound: Bound) -> Order:
    """Decide which readings go on.

    Args:
        meter: (n,) never falling.
        at: (n,) unix seconds, within a meter in the order of the records.
        held: (n,) those that wait already; they stand before their meter's new ones.
        suspect: (n,) of them the suspects, at most one a meter.
        bound: with no lateness all goes on, what waited before what is new.
    """
    n = len(meter)
    refused, still = np.zeros(n, np.bool_), suspect.copy()
    begins = np.searchsorted(meter, meter)
    fresh = begins + np.bincount(meter, held).astype(np.int64)[meter]  # the meter's first new one
    if not bound.lateness:
        go = np.maximum(fresh, np.arange(n))
        return Order(_sorted(meter, go, at, np.ones(n, np.bool_)), np.zeros(n, np.bool_), refused)
    key = meter * _SPAN + at
    front = np.maximum.accumulate(key)
    before = np.append(0, front[:-1])
    off = ~held & (np.arange(n) > begins) & (np.abs(key - before) > bound.clock_jump)
    strange = np.unique(meter[off | suspect])
    reached = np.searchsorted(front, key + bound.lateness)
    ends = np.searchsorted(meter, meter, side="right")
    # The record with which each reading goes on; n: it waits.
    go = np.where(reached < ends, np.maximum(np.maximum(reached, np.arange(n)), fresh), n)
    for m in strange.tolist():
        part = slice(*np.searchsorted(meter, [m, m + 1]))
        walk = _Walk(at[part].tolist(), bound, n - part.start)
        walk.run(held[part].tolist(), suspect[part].tolist())
        go[part], still[part], refused[part] = np.array(walk.go) + part.start, False, walk.refused
        if walk.suspect is not None:
            still[part.start + walk.suspect] = True
    return Order(_sorted(meter, go, at, go < n), still, refused)


def _sorted(meter: Ints, go: Ints, at: Ints, which: Flags) -> Ints:
    rows = np.flatnonzero(which)
    return rows[np.lexsort((rows, at[rows], go[rows], meter[rows]))]


class _Walk:
    """One meter with a time that is far off, record by record."""

    def __init__(self, at: list[int], bound: Bound, never: int) -> None:
        self._at = at
        self._bound = bound
        self._never = never
        self.go = [never] * len(at)
        self.refused = [False] * len(at)
        self.suspect: int | None = None
        self._waiting: list[int] = []

    def run(self, held: list[bool], suspect: list[bool]) -> None:
        first = sum(held)
        self._waiting = [i for i in range(first) if not suspect[i]]
        self.suspect = next((i for i in range(first) if suspect[i]), None)
        front = max((self._at[i] for i in self._waiting), default=None)
        for i in range(first, len(self._at)):
            front = self._take(i, front)
            self._release(i, front - self._bound.lateness)

    def _take(self, i: int, front: int | None) -> int:
        """Take a record in and answer where the front is with it."""
        now = self._at[i]
        if front is None or abs(now - front) <= self._bound.clock_jump:
            if front is not None and now + self._bound.lateness > front:
                self._settle(i, front)
            self._waiting.append(i)
            return now if front is None else max(front, now)
        if self.suspect is not None and 0 < now - self._at[self.suspect] <= self._bound.clock_jump:
            self._release(i, max(self._at))
            self._waiting = [self.suspect, i]
            self.suspect = None
            return now
        self._settle(i, front)
        self.suspect = i
        return front

    def _settle(self, i: int, front: int) -> None:
        if self.suspect is not None:
            if self._at[self.suspect] > front:
                self.refused[self.suspect] = True
            else:
                self.go[self.suspect] = i
            self.suspect = None

    def _release(self, i: int, until: int) -> None:
        for k in self._waiting:
            if self._at[k] <= until:
                self.go[k] = i
        self._waiting = [k for k in self._waiting if self.go[k] == self._never]
