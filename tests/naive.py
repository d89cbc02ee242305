"""Slow twins: each says in plain loops what a fast function has to answer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection import slots as code
from meterwatch.detection.catalogue import STATISTICS
from meterwatch.detection.params import HISTORY, HOT, PAST, SLOTS_A_DAY
from meterwatch.detection.slots import LENGTHS
from meterwatch.detection.statistics import DAYS, WEEKS, Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from meterwatch.detection.alarms import Scored
    from meterwatch.detection.catalogue import Statistic
    from meterwatch.detection.memory import Memory

HOUR, DAY = 3600, 86_400
SLOT = 900


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


def order(at: Sequence[int], rows: Sequence[Sequence[float]], limit: float, jump_s: int, many: int = 32) -> list[str]:
    """How each reading of one meter stands: accepted, anew, duplicate, late, or why it is rejected."""
    told: list[str] = []
    held: list[tuple[int, list[float | None]]] = []  # what was accepted since the meter last started
    hole: tuple[float, float] = (0, 0)  # that the last jump left
    jump: int | None = None
    behind: list[int] = []  # times in a row from far within the hole
    for time, row in zip(at, rows, strict=True):
        values = [None if math.isnan(value) else value for value in row]
        power, others = values[:2], values[2:]
        if any(v is not None and abs(v) > limit for v in power) or any(
            v is not None and not 0 <= v <= limit for v in others
        ):
            told.append("out_of_range")
        elif held and time <= held[-1][0]:
            same_time = [kept for then, kept in held[-32:] if then == time]
            if not same_time and hole[0] < time < hole[1] and (behind or held[-1][0] - time > jump_s):
                behind = [*behind, time] if behind and 0 < time - behind[-1] <= jump_s else [time]
                if len(behind) == many:
                    told.append("anew")
                    held, hole, jump, behind = [(time, values)], (hole[0], time), None, []
                    continue
            told.append(("duplicate" if same_time == [values] else "conflict") if same_time else "late")
        elif held and time - held[-1][0] > jump_s and not (jump is not None and 0 < time - jump <= jump_s):
            jump = time
            told.append("clock_jump")
        else:
            if not held or time - held[-1][0] > jump_s:
                proven = sum(then >= hole[1] for then, _ in held[-32:]) >= many - 1
                hole = ((held[-1][0] if proven else hole[0]) if held else -math.inf, time)
            jump, behind = None, []
            held.append((time, values))
            told.append("accepted")
    return told


def put_in_order(at: Sequence[int], lateness: int, jump_s: int) -> tuple[list[int], list[int]]:
    """Record by record of one meter: which go on, in this order, and which are refused as clock jumps."""
    released: list[int] = []
    refused: list[int] = []
    waiting: list[int] = []
    front: int | None = None
    suspect: int | None = None
    for i, now in enumerate(at):
        going: list[int] = []
        settles = False
        if front is None or abs(now - front) <= jump_s:
            settles = front is None or now + lateness > front
            waiting.append(i)
        elif suspect is not None and 0 < now - at[suspect] <= jump_s:
            going, waiting, suspect, front = waiting, [suspect, i], None, now
        else:
            settles = True
        if settles and suspect is not None and front is not None:
            (refused if at[suspect] > front else going).append(suspect)
            suspect = None
        if i not in waiting:
            suspect = i
        else:
            front = now if front is None else max(front, now)
        assert front is not None
        going += [k for k in waiting if at[k] + lateness <= front]
        waiting = [k for k in waiting if k not in going]
        released += sorted(going, key=lambda k: (at[k], k))
    return released, sorted(refused)


def cadences(at: Sequence[int], turn: int, warm_up_s: int = DAY) -> list[int]:
    """Seconds that each of one meter's readings stands for; `turn` is its day's first slot.

    The shortest pause so far (an hour until there is one), until eight pauses can be looked at when its day changes
    or its warm-up ends: then the usual one of the last 64.
    """
    told: list[int] = []
    settled: int | None = None
    shortest, warm = HOUR, False
    for i, time in enumerate(at):
        pauses = [b - a for a, b in pairwise(at[max(i - 65, 0) : i])]
        usual = min(sorted(pauses)[(len(pauses) - 1) // 2], HOUR) if len(pauses) >= 8 else None
        if i and (time // SLOT - turn) // 96 != (at[i - 1] // SLOT - turn) // 96:
            settled = usual or settled
        running = settled or min([shortest, *(b - a for a, b in pairwise(at[max(i - 1, 0) : i + 1]))])
        if not warm and i >= -(-warm_up_s // running):
            warm = True
            settled = settled or usual or shortest
        if not settled:
            shortest = running
        told.append(settled or running)
    return told


def slots(at: Sequence[int], rows: Sequence[Sequence[float]], turn: int) -> dict[int, dict[int, int | None]]:
    """Thousandths of each slot by series, from one meter's readings with power; `turn` is its day's first slot."""
    found: dict[int, dict[int, int | None]] = {}
    run, before = 0, None
    begin, inside = 0, []  # the open slot and its readings
    closed = -(10**12)
    today: int | None = None

    def close(until: int) -> None:
        columns = list(zip(*inside, strict=True))
        series = (code.MEAN, code.REST, code.VOLTAGE, code.MISMATCH, code.REACTIVE)
        values = {k: _mean(column) for k, column in zip(series, columns, strict=False)}
        values |= {code.MAX: max(columns[0]), code.MIN: min(columns[0]), code.RUN: 1000 * columns[-1][-1]}
        found.update(dict.fromkeys(range(begin, until), values))
        inside.clear()

    for time, row, cadence in zip(at, rows, cadences(at, turn), strict=True):
        slot = time // SLOT
        day = (slot - turn) // 96
        if day != today:
            inside.clear()  # what is still open when its day is over is forgotten
            today = day
        told = tuple(None if math.isnan(value) else value for value in row)
        run, before = (run + 1 if told == before else 1), told
        until = min((time + cadence) // SLOT, slot + 4)
        if slot >= closed or until > closed:
            first = max(slot, closed)
            if inside and first != begin:
                close(begin + 1)
            begin = first
            inside.append((*_parts(row, cadence), run))
            if until > begin:
                close(until)
        closed = max(closed, until)
    return found


def _parts(row: Sequence[float], cadence: int) -> tuple[int, int | None, int | None, int | None, int | None]:
    kw, kvar, volt, ampere, *subs = row
    mw, apparent = round(kw * 1e6), volt * ampere / 1000
    gap = abs(apparent - math.hypot(kw, 0.0 if math.isnan(kvar) else kvar))
    return (
        mw,
        None if math.isnan(sum(subs)) else mw - round(sum(subs) * 3.6e6 / cadence),
        None if math.isnan(volt) else round(volt * 1000),
        None if math.isnan(apparent) else round(gap * 1e6),
        None if math.isnan(kvar) else round(kvar * 1e6),
    )


def _mean(column: Iterable[int | None]) -> int | None:
    known = [value for value in column if value is not None]
    return sum(known) // len(known) if known else None


def quartiles(values: Sequence[float], least: int) -> tuple[float, float, float] | None:
    """Median, lower and upper quartile, or None of too few."""
    if len(values) < least:
        return None
    up = sorted(values)
    n = len(up)
    return (up[(n - 1) // 2] + up[n // 2]) / 2, up[n // 4], up[n - 1 - n // 4]


@dataclass
class Laid:
    """Some meters' slots, history and today's in one row."""

    codes: list[NDArray[np.int16]]  # per series (m, length + HOT)
    flag: NDArray[np.uint8]  # (m, HISTORY)
    level: NDArray[np.float64]  # (m,) mW
    acceptance_days: int = 21

    def usable(self, m: int, place: int) -> bool:
        """Whether a slot may teach: today's do, and flagged ones only where they are the new normal."""
        accepted = int(self.flag[m, -28 * SLOTS_A_DAY :].sum()) >= self.acceptance_days * SLOTS_A_DAY
        return place >= HISTORY or accepted or not self.flag[m, place]

    def window(self) -> Window:
        """The same as the detector holds it."""
        slots = np.concatenate([codes[:, :-HOT] for codes in self.codes], axis=1)
        hot = np.stack([codes[:, -HOT:] for codes in self.codes], axis=1)
        return Window(slots, self.flag, np.arange(len(slots)), hot, self.level, self.acceptance_days)


def usual(window: Laid, m: int, slot: int, lags: Iterable[int]) -> tuple[float, float, float] | None:
    """What mean power is usual at a slot of today: the same slot and its neighbours of the periods before today."""
    values = []
    for lag in lags:
        place = HISTORY + slot - lag
        if place < HISTORY and window.usable(m, place) and window.codes[code.MEAN][m, place] != code.MISSING:
            values.append(float(code.decode(window.codes[code.MEAN][m, place])))
    return quartiles(values, 3)


def network_inputs(memory: Memory, sent: Sequence[tuple[int, float]], k: int) -> tuple[list[list[float]], list[float]]:
    """What the network sees of reading `k` of those `sent` (time, kW) after a meter's `memory`: past and time."""
    hot = memory.hot[0]
    level = max(float(hot["level"]), 1000.0)

    def scaled(milliwatts: float) -> float:
        ratio = milliwatts / (0.1 * level)
        return math.copysign(math.log1p(abs(ratio)), ratio)

    def single(*values: float) -> list[float]:
        return np.array(values).astype(np.float32).tolist()

    seen = [*zip(hot["past_at"].tolist(), hot["past_mw"].tolist(), strict=True)]
    seen += [(at, round(kw * 1e6)) for at, kw in sent[:k]]
    seen, cadence = seen[-PAST:], float(hot["cadence"])
    powers = [min(max(scaled(mw), -20.0), 20.0) for _, mw in seen[1:]]
    pauses = [math.log(min(max((b - a) / cadence, 1.0), 1000.0)) for (a, _), (b, _) in pairwise(seen)]
    at = sent[k][0]
    slot = at // SLOT - int(hot["day"]) * SLOTS_A_DAY - int(memory.roll_slot[0])
    codes = [np.concatenate([one, hot["hot"][i][None]], axis=1) for i, one in enumerate(memory.series)]
    laid = Laid(codes, memory.flag, np.array([level]))
    found = []
    for lags in (DAYS, WEEKS):
        near = [lag + beside for lag in lags.tolist() for beside in (-1, 0, 1)]
        found.append(usual(laid, 0, slot, near))
    middles = [scaled(one[0]) if one else 0.0 for one in found]
    spreads = [scaled(one[2]) - scaled(one[1]) if one else 0.0 for one in found]
    hour = 2 * math.pi * (at % DAY) / DAY
    calendar = [math.sin(hour), math.cos(hour), math.sin(2 * hour), math.cos(2 * hour), float((at // DAY + 3) % 7 >= 5)]
    known = [float(one is not None) for one in found]
    return [single(*powers), single(*pauses)], single(*middles, *spreads, *known, *calendar, math.log(cadence / SLOT))


def deviations(window: Laid, m: int, slot: int) -> list[float]:
    """Every statistic at a slot of today in robust deviations from its own past, on its suspicious side."""
    return [_deviation(window, m, slot, statistic) for statistic in STATISTICS]


def _deviation(window: Laid, m: int, slot: int, statistic: Statistic) -> float:
    level = float(window.level[m])
    judged = _value(window, m, slot, statistic, 0)
    floor = 0.05 * level
    if statistic.log:
        floor = 0.1
    elif statistic.series == code.VOLTAGE:
        floor = 500.0
    elif statistic.series == code.RESIDUAL:
        floor = 50.0
    told = []
    for lags in (DAYS, WEEKS):
        near = [lag + beside for lag in lags.tolist() for beside in (-1, 0, 1)]
        past = [_value(window, m, slot, statistic, lag) for lag in near if window.usable(m, HISTORY + slot - lag)]
        found = quartiles([value for value in past if value is not None], 10)
        if found and judged is not None:
            middle, low, high = found
            told.append((judged - middle) / ((high - low) / 1.349 + floor) * statistic.side)
    return max(-50.0, min(50.0, *told)) if told else math.nan


def _value(window: Laid, m: int, slot: int, statistic: Statistic, lag: int) -> float | None:
    codes, k = window.codes[statistic.series][m], statistic.series
    end = LENGTHS[k] + slot - lag
    places = range(end - statistic.window + 1, end + 1)
    if places[0] < 0:
        return None
    known = [place for place in places if codes[place] != code.MISSING]
    if 2 * len(known) < statistic.window:
        return None
    power = [int(code.decode(codes[place])) for place in known]
    if statistic.how in ("max", "min"):
        value = float(max(power) if statistic.how == "max" else min(power))
    elif statistic.how == "mean":
        value = sum(power) / len(known)
    elif statistic.how == "span":
        value = (sum(power) - sum(int(code.decode(window.codes[code.MIN][m, p])) for p in known)) / len(known)
    else:
        pairs = [(p - 1, p) for p in known if p > 0 and codes[p - 1] != code.MISSING]
        value = sum(abs(int(code.decode(codes[b])) - int(code.decode(codes[a]))) for a, b in pairs) / len(known)
    if statistic.log:
        small = 1000.0 if k in (code.RUN, code.DEVIATION) else 0.02 * float(window.level[m])
        return float(np.sign(value) * np.log1p(abs(value) / small))
    return value


def events(
    readings: Iterable[tuple[int, bool, float, int, int]], gap_s: int
) -> list[tuple[int, int | None, int, float, int, int]]:
    """Start, end (None: open), peak, score and reason there, and joules of each event, reading by reading."""
    done: list[tuple[int, int | None, int, float, int, int]] = []
    start = last = peak = why = total = since = 0
    top, is_open = 0.0, False
    for at, anomalous, score, reason, joules in readings:
        if is_open and at - last >= gap_s:
            done.append((start, last, peak, top, why, total))
            is_open = False
        since += joules
        if anomalous:
            if not is_open:
                start, total, top, since, is_open = at, 0, -math.inf, joules, True
            total, since, last = total + since, 0, at
            if score > top:
                top, peak, why = score, at, reason
    return [*done, (start, None, peak, top, why, total)] if is_open else done


def novel(meter: Sequence[int], at: Sequence[int], score: Sequence[float]) -> list[float]:
    """Each score less three quarters of the largest positive one of the meter's 25 hours before its hour."""
    out = []
    for m, t, s in zip(meter, at, score, strict=True):
        hour = t // HOUR
        before = [v for n, u, v in zip(meter, at, score, strict=True) if n == m and hour - 25 <= u // HOUR < hour]
        out.append(s - 0.75 * max([0.0, *before]))
    return out
