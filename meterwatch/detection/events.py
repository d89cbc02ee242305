"""Anomalous readings merged into events.

An event opens with an anomalous reading, goes on while the next one follows within `merge_gap_s`, and closes with
the first accepted reading after that. Its energy is the sum of actual minus expected from its first to its last
anomalous reading, in whole joules, so that it is the same however the stream is cut.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.kinds import words
from meterwatch.detection.memory import NEVER
from meterwatch.detection.readings import LATE, Event

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from meterwatch.detection.calls import Call

    Ints = NDArray[np.int64]

JOULES_A_KWH = 3.6e6


def severity(excess: float) -> float:
    """0 at the threshold, 50 when ten times rarer, 75 when a hundred times, towards 100; `excess` in log10."""
    return round(100.0 * (1.0 - float(0.5 ** max(excess, 0.0))), 3)


def follow(call: Call, anomalous: NDArray[np.bool_], threshold: float, gap_s: int) -> list[Event]:
    """Follow the call's meters and answer the events that they touched, in order of meter and start.

    Args:
        call: whose readings have been judged.
        anomalous: (readings,) at or above the threshold.
        threshold: what severity is counted from.
        gap_s: anomalous readings closer than this are one event.
    """
    hot, out = call.memory.hot, list[Event]()
    concerned = hot["ev_start"] > NEVER
    if not anomalous.any() and not concerned.any():
        return out
    concerned[call.readings.meter[anomalous]] = True
    status, _, anew, _, why, energy, *_ = call.facts
    for m in np.flatnonzero(concerned).tolist():
        begin, end = call.turns[1, m - 1] if m else 0, call.turns[1, m]
        accepted = begin + np.flatnonzero(status[begin:end] < LATE)
        edges = [0, *np.flatnonzero(anew[accepted]).tolist(), len(accepted)]
        touched: dict[str, Event] = {}
        prefix = f"{call.memory.digests[m].hex()}-"
        for first, last in itertools.pairwise(edges):
            mine = accepted[first:last]
            if len(mine) and anew[mine[0]]:  # its clock was wrong: what was open has ended
                touched |= {one.event_id: one for one in closed(hot, m, prefix, threshold, gap_s)}
            told = track(
                hot, m, prefix, call.readings.at[mine], anomalous[mine], call.numbers[0, mine], why[mine],
                energy[mine], threshold, gap_s,
            )  # fmt: skip
            touched |= {one.event_id: one for one in told}
        out += touched.values()
    return out


def track(
    hot: NDArray[np.void],
    m: int,
    event_prefix: str,
    at: Ints,
    anomalous: NDArray[np.bool_],
    score: NDArray[np.float64],
    why: Ints,
    energy: Ints,
    threshold: float,
    gap_s: int,
) -> list[Event]:
    """Follow one meter through a segment of accepted readings and answer the events that it touched.

    Args:
        hot: all meters' records; row `m` is this one.
        m: the meter's row, written into the events.
        event_prefix: what stands before the start in an event's id.
        at: times of the accepted readings, rising.
        anomalous: the judged ones at or above the threshold.
        score: NaN where not judged.
        why: what stood out, as `kinds.packed`.
        energy: (actual - expected) x seconds in J; 0 where not judged.
        threshold: what severity is counted from.
        gap_s: anomalous readings closer than this are one event.
    """
    row, touched = hot[m], {}
    start, last, peak = int(row["ev_start"]), int(row["ev_last"]), int(row["ev_peak"])
    top, reason = float(row["ev_score"]), int(row["ev_why"])
    total, pending = int(row["ev_energy"]), int(row["ev_pending"])
    sums = np.append(0, np.cumsum(energy))
    done = 0  # energy of readings before this place is in total or pending

    def event(end: int | None) -> Event:
        return Event(
            m, f"{event_prefix}{start:x}", start, end, peak, severity(top - threshold), words(reason, total),
            total / JOULES_A_KWH,
        )  # fmt: skip

    for i in [*np.flatnonzero(anomalous).tolist(), len(at)]:
        if start > NEVER:
            ended = int(np.searchsorted(at, last + gap_s))
            if ended < len(at) and ended <= i:
                touched[start] = event(last)
                start, pending = NEVER, 0
        if i == len(at):
            break
        if start == NEVER:
            start, total, top, pending, done = int(at[i]), 0, -np.inf, 0, i
        total += pending + int(sums[i + 1] - sums[done])
        pending, done, last = 0, i + 1, int(at[i])
        if score[i] > top:
            top, peak, reason = float(score[i]), int(at[i]), int(why[i])
        touched[start] = event(None)
    if start > NEVER:
        pending += int(sums[-1] - sums[done])
    row["ev_start"], row["ev_last"], row["ev_peak"], row["ev_score"], row["ev_why"] = start, last, peak, top, reason
    row["ev_energy"], row["ev_pending"] = total, pending
    hot[m] = row
    return list(touched.values())


def closed(hot: NDArray[np.void], m: int, event_prefix: str, threshold: float, gap_s: int) -> list[Event]:
    """End one meter's open event, if it has one, without a further reading: its clock was wrong."""
    after = hot["ev_last"][m : m + 1] + gap_s
    nothing = np.zeros(1, np.int64)
    return track(
        hot, m, event_prefix, after, np.zeros(1, np.bool_), np.full(1, np.nan), nothing, nothing,
        threshold, gap_s,
    )  # fmt: skip
