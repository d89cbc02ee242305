"""Which readings count: arrival order decides, never the wall clock.

A reading newer than all before it is accepted. What comes at or before the newest time is a duplicate or a
conflict when it repeats one of the `RECENT` accepted readings that the state remembers, else late. A first
reading far ahead is a clock jump; when the next one goes on from there, the absence was real.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.memory import NEVER
from meterwatch.detection.params import RECENT
from meterwatch.detection.readings import DUPLICATE, LATE, REJECTED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from meterwatch.detection.params import DetectorParams
    from meterwatch.detection.readings import Readings

ACCEPTED = -1
OUT_OF_RANGE, CONFLICT, CLOCK_JUMP = "out_of_range", "conflict", "clock_jump"
_SPAN = 2**42  # more than any time in seconds: keeps the meters apart in one running maximum


@dataclass(frozen=True, slots=True)
class Order:
    """How each reading stands in its meter's order."""

    status: NDArray[np.int8]  # (n,) ACCEPTED, DUPLICATE, LATE or REJECTED
    reason: NDArray[np.int8]  # (n,) 0, or 1 + index into REASONS
    hashes: NDArray[np.uint32]  # (n,) of all channels


REASONS = (OUT_OF_RANGE, CONFLICT, CLOCK_JUMP)


def channel_hash(channels: NDArray[np.float64]) -> NDArray[np.uint32]:
    """One number for the values of all channels, (7, n) → (n,); missing equals missing, -0.0 equals 0.0."""
    clean = np.where(np.isnan(channels), np.nan, channels + 0.0)
    bits = np.ascontiguousarray(clean).view(np.uint64)
    total = np.full(bits.shape[1], 0x9E3779B97F4A7C15, np.uint64)
    for row in bits:
        total = (total ^ row) * np.uint64(0xBF58476D1CE4E5B9)
        total ^= total >> np.uint64(29)
    return (total >> np.uint64(32)).astype(np.uint32)


def out_of_range(channels: NDArray[np.float64], params: DetectorParams) -> NDArray[np.bool_]:
    """Readings with a value that no meter can give, (7, n) → (n,)."""
    power, rest = channels[:2], channels[2:]
    bad = (np.abs(power) > params.limit_power).any(0) | ((rest < 0) | (rest > params.limit_other)).any(0)
    return np.asarray(bad | np.isinf(channels).any(0))


def judge_order(hot: NDArray[np.void], readings: Readings, params: DetectorParams) -> Order:
    """Decide for each reading and move `hot`'s newest time, jump memory and recent readings on."""
    n, meter, at = len(readings.at), readings.meter, readings.at
    hashes = channel_hash(readings.channels)
    status, reason = np.full(n, ACCEPTED, np.int8), np.zeros(n, np.int8)
    bad = out_of_range(readings.channels, params)
    status[bad], reason[bad] = REJECTED, 1
    good = np.flatnonzero(~bad)
    if not len(good):
        return Order(status, reason, hashes)

    key = meter[good] * _SPAN + at[good]
    start = meter[good] * _SPAN + hot["newest"][meter[good]]
    top = np.maximum.accumulate(key)
    before = start.copy()
    before[1:] = np.maximum(start[1:], top[:-1])
    ahead = key - before
    status[good[ahead <= 0]] = LATE
    known = before - meter[good] * _SPAN > NEVER
    walked = np.zeros(len(hot), np.bool_)
    for m in np.unique(meter[good][known & (ahead > params.clock_jump_s)]):
        walked[m] = True
        mine = good[meter[good] == m]
        _walk_jumps(hot[m : m + 1], mine, at, status, reason, params.clock_jump_s)
    accepted = np.flatnonzero(status == ACCEPTED)
    _tell_repeats(hot, readings, hashes, status, reason, accepted)
    meters, first, counts = np.unique(meter[accepted], return_index=True, return_counts=True)
    hot["newest"][meters] = at[accepted[first + counts - 1]]
    hot["jump_at"][meters[~walked[meters]]] = NEVER
    append(hot, "recent_at", meters, first, counts, at[accepted])
    append(hot, "recent_hash", meters, first, counts, hashes[accepted])
    return Order(status, reason, hashes)


def append(
    hot: NDArray[np.void],
    field: str,
    meters: NDArray[np.int64],
    first: NDArray[np.int64],
    counts: NDArray[np.int64],
    values: NDArray[np.generic],
) -> None:
    """Push each meter's run `values[first : first + count]` into its ring, the newest last."""
    ring = hot[field]
    size = ring.shape[1]
    if len(meters) == 1 and counts[0] >= size:  # the plain case of a long segment
        ring[meters[0]] = values[first[0] + counts[0] - size : first[0] + counts[0]]
        return
    source = np.arange(size) + counts[:, None]
    fresh = values[np.clip(first[:, None] + source - size, 0, len(values) - 1)] if len(values) else 0
    ring[meters] = np.where(source < size, ring[meters[:, None], np.minimum(source, size - 1)], fresh)


def _walk_jumps(
    hot: NDArray[np.void],
    mine: NDArray[np.int64],
    at: NDArray[np.int64],
    status: NDArray[np.int8],
    reason: NDArray[np.int8],
    limit: int,
) -> None:
    """One meter, reading by reading: far ahead is rejected unless it goes on from the one rejected before."""
    newest, jump = int(hot["newest"][0]), int(hot["jump_at"][0])
    for i in mine:
        now = int(at[i])
        if now <= newest:
            status[i], reason[i] = LATE, 0
        elif newest > NEVER and now - newest > limit and not (jump > NEVER and 0 < now - jump <= limit):
            status[i], reason[i], jump = REJECTED, 1 + REASONS.index(CLOCK_JUMP), now
        else:
            status[i], reason[i], newest, jump = ACCEPTED, 0, now, NEVER
    hot["jump_at"][0] = jump


def _tell_repeats(
    hot: NDArray[np.void],
    readings: Readings,
    hashes: NDArray[np.uint32],
    status: NDArray[np.int8],
    reason: NDArray[np.int8],
    accepted: NDArray[np.int64],
) -> None:
    """Turn LATE into DUPLICATE or REJECTED(conflict) where the reading's time is among the recent ones."""
    late = np.flatnonzero(status == LATE)
    for m in np.unique(readings.meter[late]):
        mine = late[readings.meter[late] == m]
        own = accepted[slice(*np.searchsorted(readings.meter[accepted], [m, m + 1]))]
        times = np.concatenate([hot["recent_at"][m], readings.at[own]])
        prints = np.concatenate([hot["recent_hash"][m], hashes[own]])
        place = np.minimum(np.searchsorted(times, readings.at[mine]), len(times) - 1)
        held = RECENT + np.searchsorted(own, mine)  # readings accepted before this one came
        seen = (times[place] == readings.at[mine]) & (place < held) & (place >= held - RECENT)
        same = prints[place] == hashes[mine]
        status[mine[seen & same]] = DUPLICATE
        status[mine[seen & ~same]] = REJECTED
        reason[mine[seen & ~same]] = 1 + REASONS.index(CONFLICT)
