"""Slow twins: each says in plain loops what a fast function has to answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterwatch.detection.alarms import Scored

HOUR, DAY = 3600, 86_400


def alarms(times: Sequence[int]) -> list[tuple[int, int]]:
    """Anomalous readings less than 1 h apart are one alarm."""
    merged: list[list[int]] = []
    for time in times:
        if merged and time - merged[-1][-1] < HOUR:
            merged[-1].append(time)
        else:
            merged.append([time])
    return [(run[0], run[-1]) for run in merged]


def count(meters: Sequence[Scored], threshold: float) -> tuple[list[bool], list[float], int, float]:
    """Found faults, delays, false alarms and quiet months, alarm by alarm and second by second of the contract."""
    found, delays, cost, quiet = [], [], 0, 0
    for one in meters:
        spans = []
        for label in one.labels:
            more = max((label.end_at - label.start_at) * 0.1, 1800)
            spans.append((label.start_at - more, label.end_at + more))
        times = [int(t) for t, s in zip(one.at, one.score, strict=True) if s >= threshold]
        hit = [False] * len(spans)
        for first, last in alarms(times):
            touched = [i for i, (start, end) in enumerate(spans) if first <= end and last >= start]
            for i in touched:
                hit[i] = True
            if not touched:
                cost += max(1, math.ceil((last - first) / DAY))
                continue
            inside = set()  # minutes of the alarm within a labelled span; all times in these tests are whole minutes
            for label in one.labels:
                inside |= set(range(max(first, label.start_at), min(last, label.end_at), 60))
            outside = (last - first) - 60 * len(inside)
            cost += max(0, math.ceil((outside - DAY) / DAY))
        found += hit
        for label in one.labels:
            after = [t for t in times if label.start_at <= t <= label.end_at]
            delays.append(after[0] - label.start_at if after else math.nan)
        quiet += one.cadence_s * sum(
            math.isfinite(s) and not any(start <= t <= end for start, end in spans)
            for t, s in zip(one.at, one.score, strict=True)
        )
    return found, delays, cost, quiet / (30.44 * DAY)


def recall_at_budget(meters: Sequence[Scored], budget: float) -> float:
    """The best share of faults found over every threshold that keeps within the budget."""
    best = 0.0
    for threshold in {float(s) for one in meters for s in one.score if math.isfinite(s)}:
        found, _, cost, months = count(meters, threshold)
        if cost <= budget * months + 1e-9 and found:
            best = max(best, sum(found) / len(found))
    return best
