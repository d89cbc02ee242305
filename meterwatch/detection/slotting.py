"""Readings into slots: which reading closes which slot, and the slot's values.

A slot closes with the reading after which the next one belongs to a later slot, judged by the meter's cadence, so
that its last reading is judged with it; where a reading is missing, it closes when the next one comes. A reading
that stands for more than a slot (half an hour, an hour) fills them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.memory import BEYOND, NEVER
from meterwatch.detection.params import SLOT_S
from meterwatch.detection.slots import (
    MAX,
    MEAN,
    MIN,
    MISMATCH,
    MISSING,
    REACTIVE,
    RESIDUAL,
    REST,
    RUN,
    SERIES,
    VOLTAGE,
    encode,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

FILL = 4  # slots that a reading may fill: an hour
_SPAN = 2**42
PARTS = (MEAN, REST, VOLTAGE, MISMATCH, RESIDUAL, REACTIVE)  # the series behind `sums` and `counts`


def running_max(meter: Ints, values: Ints, initial: Ints) -> Ints:
    """Largest value of the meter so far, this one included; `initial` is (meters,)."""
    key = np.maximum.accumulate(meter * _SPAN + np.maximum(values, initial[meter]))
    return key - meter * _SPAN


def before(meter: Ints, values: Ints, initial: Ints) -> Ints:
    """The value of the meter's reading before each one; `initial` (meters,) for its first."""
    out = np.empty_like(values)
    out[1:] = values[:-1]
    first = np.ones(len(values), np.bool_)
    first[1:] = meter[1:] != meter[:-1]
    out[first] = initial[meter[first]]
    return out


@dataclass(frozen=True, slots=True)
class Closing:
    """Slots that close in a segment, in order of meter and time."""

    meter: Ints  # (c,) local meter
    slot: Ints  # (c,) absolute slot
    until: Ints  # (c,) the slots slot..until-1 take its value
    by: Ints  # (c,) the reading with which it closes
    last: Ints  # (c,) its last reading in the segment, -1 where all came before
    group: NDArray[np.int64]  # (n,) for each reading the closing it adds to, -1: ignored, c + local meter: stays open
    score: NDArray[np.float64]  # (c,) filled in when the slot is judged, NaN where it is not
    why: NDArray[np.int16]  # (c,) what stands out most, as `kinds.packed`


def close(hot: NDArray[np.void], meter: Ints, at: Ints, cadence: Ints) -> Closing:
    """Find the closings among a segment's readings with power and move `closed` on."""
    n = len(at)
    slot = at // SLOT_S
    until = np.minimum((at + cadence) // SLOT_S, slot + FILL)
    prior = before(meter, running_max(meter, until, hot["closed"]), hot["closed"])
    # A reading that came a little early still fills what it reaches beyond the slots that are closed.
    counted = np.flatnonzero((slot >= prior) | (until > prior))
    cm, cs = meter[counted], np.maximum(slot, prior)[counted]
    # The open slot that the state remembers is a group without readings of its own unless the first one joins it.
    opened = np.flatnonzero(hot["counts"][:, 0] > 0)
    lead = np.concatenate([opened, cm])
    order = np.argsort(lead, kind="stable")
    gm = lead[order]
    gs = np.concatenate([hot["slot"][opened], cs])[order]
    gi = np.concatenate([np.full(len(opened), -1), counted])[order]
    new = np.ones(len(gm), np.bool_)
    new[1:] = (gm[1:] != gm[:-1]) | (gs[1:] != gs[:-1])
    head = np.flatnonzero(new)
    tail = np.append(head[1:], len(gm))[: len(head)] - 1  # no readings: no groups
    meter_g, slot_g, last = gm[head], gs[head], gi[tail]
    own = (last >= 0) & (until[np.maximum(last, 0)] > slot_g)
    follower = np.full(len(head), -1)
    follower[:-1] = np.where(meter_g[1:] == meter_g[:-1], gi[head[1:]], -1)
    closes = own | (follower >= 0)
    number = np.where(closes, np.cumsum(closes) - 1, closes.sum() + meter_g)
    group = np.full(n, -1, np.int64)
    real = gi >= 0
    group[gi[real]] = number[np.cumsum(new) - 1][real]
    kept = np.flatnonzero(closes)
    reach = np.where(own, until[np.maximum(last, 0)], slot_g + 1)
    last_of = np.flatnonzero(np.append(meter[1:] != meter[:-1], True))
    hot["closed"][meter[last_of]] = running_max(meter, until, hot["closed"])[last_of]
    by = np.where(own, last, follower)
    nothing = np.full(len(kept), np.nan)
    return Closing(
        meter_g[kept], slot_g[kept], reach[kept], by[kept], last[kept], group, nothing, np.zeros(len(kept), np.int16)
    )


def accumulate(
    hot: NDArray[np.void],
    closing: Closing,
    slot: Ints,
    parts: list[Ints],
    known: list[NDArray[np.bool_]],
    run: Ints,
) -> NDArray[np.int16]:
    """Add a segment's readings to their slots; leave the open ones in `hot`, answer the closed ones' codes.

    Args:
        hot: the meters' records.
        closing: what `close` answered.
        slot: absolute slot of each reading.
        parts: thousandths for each of PARTS, power first.
        known: where each part is not missing.
        run: readings in a row that were the same, at each reading.

    Returns:
        (series, c) codes in the order of SERIES; DEVIATION is left MISSING.
    """
    c, m = len(closing.meter), len(hot)
    sums, counts = np.zeros((len(PARTS), c + m), np.int64), np.zeros((len(PARTS), c + m), np.int64)
    largest, least = np.full(c + m, -BEYOND), np.full(c + m, BEYOND)
    runs, open_slot = np.zeros(c + m, np.int64), np.zeros(c + m, np.int64)
    # What the state held goes to the meter's first group: its first closing, or the open one.
    opened = np.flatnonzero(hot["counts"][:, 0] > 0)
    first = np.searchsorted(closing.meter, opened)
    has = (first < c) & (closing.meter[np.minimum(first, c - 1)] == opened) if c else np.zeros(len(opened), np.bool_)
    home = np.where(has, first, c + opened)
    sums[:, home], counts[:, home] = hot["sums"][opened].T, hot["counts"][opened].T
    largest[home], least[home], runs[home] = hot["largest"][opened], hot["least"][opened], hot["slot_run"][opened]
    open_slot[home] = hot["slot"][opened]
    used = np.flatnonzero(closing.group >= 0)
    group = closing.group[used]
    if len(used):
        head = np.flatnonzero(np.append(True, group[1:] != group[:-1]))
        to = group[head]
        there = np.stack(known)[:, used]
        sums[:, to] += np.add.reduceat(np.where(there, np.stack(parts)[:, used], 0), head, axis=1)
        counts[:, to] += np.add.reduceat(there.astype(np.int64), head, axis=1)
        largest[to] = np.maximum(largest[to], np.maximum.reduceat(parts[0][used], head))
        least[to] = np.minimum(least[to], np.minimum.reduceat(parts[0][used], head))
        tail = np.append(head[1:], len(group)) - 1
        runs[to], open_slot[to] = run[used][tail], slot[used][tail]
    hot["sums"], hot["counts"] = sums[:, c:].T, counts[:, c:].T
    hot["largest"], hot["least"] = largest[c:], least[c:]
    hot["slot_run"], hot["slot"] = runs[c:], np.where(counts[0, c:] > 0, open_slot[c:], NEVER)
    codes = np.full((len(SERIES), c), MISSING, np.int16)
    if c:
        means = encode(sums[:, :c] // np.maximum(counts[:, :c], 1))
        codes[PARTS, :] = np.where(counts[:, :c] > 0, means, MISSING)
        codes[(MAX, MIN, RUN), :] = encode(np.stack([largest[:c], least[:c], runs[:c] * 1000]))
    return codes
