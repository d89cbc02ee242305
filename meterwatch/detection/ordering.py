"""Which readings count: arrival order decides, never the wall clock.

A reading newer than all before it is accepted. What comes at or before the newest time is a duplicate or a
conflict when it repeats one of the `RECENT` accepted readings that the state remembers, else late. A first
reading far ahead is a clock jump; when the next one goes on from there, the absence was real.

An accepted jump leaves a hole between the times before and after it, and a meter's very first reading leaves all
that is before it. When `clock_return_readings` in a row come from far within the hole, the clock had been wrong, and
the meter starts anew from there: nobody is late for ever. What repeats or fills in the time before a hole, as a replay
does, is no such return.
"""

from __future__ import annotations

from collections import deque
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
    anew: NDArray[np.bool_]  # (n,) accepted, and the meter starts anew with it: all before had a wrong clock


REASONS = (OUT_OF_RANGE, CONFLICT, CLOCK_JUMP)


def channel_hash(channels: NDArray[np.float64]) -> NDArray[np.uint32]:
    """One number for the values of all channels, (7, n) → (n,); missing equals missing, -0.0 equals 0.0."""
    clean = np.where(np.isnan(channels), np.nan, channels + 0.0)
    bits = np.ascontiguousarray(clean).view(np.uint64)
    total = np.full(bits.shape[1], 0x9E3779B97F4A7C15, np.uint64)
    factor, shift = np.uint64(0xBF58476D1CE4E5B9), np.uint64(29)
    for row in bits:
        total = (total ^ row) * factor
        total ^= total >> shift
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
        return Order(status, reason, hashes, np.zeros(n, np.bool_))

    key = meter[good] * _SPAN + at[good]
    start = meter[good] * _SPAN + hot["newest"][meter[good]]
    top = np.maximum.accumulate(key)
    before = start.copy()
    before[1:] = np.maximum(start[1:], top[:-1])
    ahead = key - before
    status[good[ahead <= 0]] = LATE
    known = before - meter[good] * _SPAN > NEVER
    jumps = known & (ahead > params.clock_jump_s)
    returns = (-ahead > params.clock_jump_s) | ((ahead <= 0) & (hot["back"][meter[good]] > 0))
    if returns.any():
        returns &= _in_hole(hot, meter[good], at[good])
    walked = np.zeros(len(hot), np.bool_)
    walked[meter[good[jumps | returns]]] = True
    _tell_repeats(hot, readings, hashes, status, reason, ~walked)
    anew = np.zeros(n, np.bool_)
    for m in np.flatnonzero(walked).tolist():
        mine = good[slice(*np.searchsorted(meter[good], [m, m + 1]))]
        status[mine], reason[mine], anew[mine] = _walk(hot, m, at[mine], hashes[mine], params)
    accepted = np.flatnonzero((status == ACCEPTED) & ~walked[meter])
    meters, first, counts = np.unique(meter[accepted], return_index=True, return_counts=True)
    new = hot["newest"][meters] == NEVER
    hot["hole_until"][meters[new]] = at[accepted[first[new]]]
    hot["newest"][meters] = at[accepted[first + counts - 1]]
    hot["jump_at"][meters], hot["back_at"][meters], hot["back"][meters] = NEVER, NEVER, 0
    append(hot, "recent_at", meters, first, counts, at[accepted])
    append(hot, "recent_hash", meters, first, counts, hashes[accepted])
    return Order(status, reason, hashes, anew)


def _in_hole(hot: NDArray[np.void], meter: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether readings (n,) lie in the hole that their meter's last jump left; a new meter's first is one."""
    until = hot["hole_until"].copy()
    meters, first = np.unique(meter, return_index=True)
    new = hot["newest"][meters] == NEVER
    until[meters[new]] = at[first[new]]
    return np.asarray((at > hot["hole_from"][meter]) & (at < until[meter]))


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
    if len(meters) == 1:  # a long segment, or a single reading
        row, end = ring[meters[0]], first[0] + counts[0]
        count = min(int(counts[0]), size)
        row[: size - count] = row[count:]
        row[size - count :] = values[end - count : end]
        return
    source = np.arange(size) + counts[:, None]
    fresh = values[np.clip(first[:, None] + source - size, 0, len(values) - 1)] if len(values) else 0
    ring[meters] = np.where(source < size, ring[meters[:, None], np.minimum(source, size - 1)], fresh)


def _walk(
    hot: NDArray[np.void], m: int, at: NDArray[np.int64], hashes: NDArray[np.uint32], params: DetectorParams
) -> tuple[list[int], list[int], list[bool]]:
    """One meter with a jump, reading by reading: status, reason and whether the meter starts anew with it."""
    row, limit = hot[m], params.clock_jump_s
    newest, jump, begin, end, back_at, back = (
        int(row[name]) for name in ("newest", "jump_at", "hole_from", "hole_until", "back_at", "back")
    )
    recent = deque(zip(row["recent_at"].tolist(), row["recent_hash"].tolist(), strict=True), RECENT)
    told: list[tuple[int, int, bool]] = []
    for now, print_ in zip(at.tolist(), hashes.tolist(), strict=True):
        status, reason, anew = ACCEPTED, 0, False
        if now <= newest:
            known = next((held for time, held in recent if time == now), None)
            if known is not None:
                status, reason = (DUPLICATE, 0) if known == print_ else (REJECTED, 1 + REASONS.index(CONFLICT))
            else:
                status = LATE
                if begin < now < end and (back or newest - now > limit):
                    back = back + 1 if back and 0 < now - back_at <= limit else 1
                    back_at = now
                    anew = back == params.clock_return_readings
        elif newest > NEVER and now - newest > limit and not (jump > NEVER and 0 < now - jump <= limit):
            status, reason, jump = REJECTED, 1 + REASONS.index(CLOCK_JUMP), now
        if anew:
            status, end = ACCEPTED, now
            recent.extend([(NEVER, 0)] * RECENT)
        elif status == ACCEPTED and (newest == NEVER or now - newest > limit):
            since = sum(time >= end for time, _ in recent) if end > NEVER else RECENT
            if since >= params.clock_return_readings - 1:  # fewer prove no right clock between two jumps
                begin = newest
            end = now
        if status == ACCEPTED:
            newest, jump, back, back_at = now, NEVER, 0, NEVER
            recent.append((now, print_))
        told.append((status, reason, anew))
    hot["newest"][m], hot["jump_at"][m], hot["hole_from"][m], hot["hole_until"][m] = newest, jump, begin, end
    hot["back_at"][m], hot["back"][m] = back_at, back
    hot["recent_at"][m], hot["recent_hash"][m] = zip(*recent, strict=True)
    statuses, reasons, news = zip(*told, strict=True)
    return list(statuses), list(reasons), list(news)


def _tell_repeats(
    hot: NDArray[np.void],
    readings: Readings,
    hashes: NDArray[np.uint32],
    status: NDArray[np.int8],
    reason: NDArray[np.int8],
    plain: NDArray[np.bool_],
) -> None:
    """Turn LATE into DUPLICATE or REJECTED(conflict) where the reading's time is among the recent ones.

    Of the `plain` meters (m,); the others are walked.
    """
    late = np.flatnonzero((status == LATE) & plain[readings.meter])
    if not len(late):
        return
    accepted = np.flatnonzero(status == ACCEPTED)
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
