"""What is new about a score: how far it exceeds what the last day has shown already.

Households change: people leave, come back, and the heating season begins. For days each quarter hour is then far from
its context, and one change would ring every day. So a score counts less what the hours before have told already: a
change is judged when it comes, not as long as it lasts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

HOURS = 25  # before the hour of the judged slot; a day and the same hour of it
HOUR_S = 3_600
NOTHING = -np.inf
TOLD = 0.5  # of what the hours before have shown is taken off: a change still counts for something the day after


def novel(
    peaks: NDArray[np.float32], newest: Ints, meter: Ints, at: Ints, scores: Floats
) -> tuple[Floats, NDArray[np.float32], Ints]:
    """Take from each score half of the largest positive one of the `HOURS` before its hour.

    Args:
        peaks: (m, HOURS + 1) the largest score of each hour up to `newest`, `NOTHING` where there was none.
        newest: (m,) the last of those hours, in hours since 1970.
        meter: (n,) index into the meters, never falling.
        at: (n,) unix seconds, rising within a meter, none before `newest`.
        scores: (n,) 0: as likely as not, higher is worse.

    Returns:
        The new scores (n,), and `peaks` and `newest` as they are afterwards.
    """
    if not len(meter):
        return scores, peaks, newest
    hour = at // HOUR_S
    head = np.flatnonzero(np.append(True, meter[1:] != meter[:-1]))
    tail = np.append(head[1:], len(meter)) - 1
    active = meter[head]
    row = np.repeat(np.arange(len(head)), tail - head + 1)
    base = hour[head]
    column = hour - base[row] + HOURS
    grid = np.full((len(active), int(column.max()) + 1), NOTHING, np.float32)
    # What is remembered stands left of the first hour; what is older than `HOURS` falls off.
    places = np.arange(HOURS + 1) + (newest[active] - base)[:, None]
    kept = places >= 0
    grid[np.nonzero(kept)[0], places[kept]] = peaks[active][kept]
    np.maximum.at(grid, (row, column), scores.astype(np.float32))
    before = sliding_window_view(grid, HOURS, axis=1).max(axis=2)[row, column - HOURS]
    last = column[tail]
    after, hours = peaks.copy(), newest.copy()
    after[active] = grid[np.arange(len(active))[:, None], last[:, None] + np.arange(-HOURS, 1)]
    hours[active] = hour[tail]
    return scores - TOLD * np.maximum(before, 0.0), after, hours


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
