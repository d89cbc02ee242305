"""What is new about a score: how far it exceeds what the last day has shown already.

Households change: people leave, come back, and the heating season begins. For days each quarter hour is then far from
its context, and one change would ring every day. So a score counts less what the hours before have told already: a
change is judged when it comes, not as long as it lasts.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.library import LIBRARY, pointer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

HOURS = 25  # before the hour of the judged slot; a day and the same hour of it
NOTHING = -np.inf


def novel(
    peaks: NDArray[np.float32], newest: Ints, meter: Ints, at: Ints, scores: Floats
) -> tuple[Floats, NDArray[np.float32], Ints]:
    """Take from each score three quarters of the largest positive one of the `HOURS` before its hour.

    Args:
        peaks: (m, HOURS + 1) the largest score of each hour up to `newest`, `NOTHING` where there was none.
        newest: (m,) the last of those hours, in hours since 1970.
        meter: (n,) index into the meters, never falling.
        at: (n,) unix seconds, rising within a meter, none before `newest`.
        scores: (n,) 0: as likely as not, higher is worse.

    Returns:
        The new scores (n,), and `peaks` and `newest` as they are afterwards.
    """
    peaks, newest, out = peaks.copy(), newest.copy(), np.empty(len(scores))
    LIBRARY.mw_novel(
        pointer(peaks), pointer(newest), ctypes.c_int64(len(out)), pointer(meter), pointer(at),
        pointer(np.ascontiguousarray(scores)), pointer(out),
    )  # fmt: skip
    return out, peaks, newest


def novel_from_start(meter: Ints, at: Ints, scores: Floats) -> Floats:
    """`novel` over whole series, (n,) → (n,); where a score is NaN nothing was shown, and it stays NaN."""
    known = np.flatnonzero(~np.isnan(scores))
    out = scores.copy()
    if len(known):
        meters = int(meter.max()) + 1
        nothing = np.full((meters, HOURS + 1), NOTHING, np.float32)
        order = known[np.lexsort((at[known], meter[known]))]
        out[order], _, _ = novel(nothing, np.full(meters, -HOURS), meter[order], at[order], scores[order])
    return out
