"""A round's readings with power, judged at once: what is expected, the slots that they close, their scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.catalogue import SLOW_SERIES_ONLY, STATISTICS
from meterwatch.detection.kinds import SUSPICIOUS, packed
from meterwatch.detection.novelty import novel
from meterwatch.detection.params import RECEPTIVE
from meterwatch.detection.readings import SCORED
from meterwatch.detection.sequence import PAST_INPUTS, TILE, TIME_INPUTS, scaled
from meterwatch.detection.statistics import Window, deviations, suspicious
from meterwatch.detection.thresholds import FAST_GIVES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from meterwatch.detection.calls import Call
    from meterwatch.detection.params import DetectorParams
    from meterwatch.detection.rounds import Models, Trace

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]


def judge_segment(call: Call, models: Models, params: DetectorParams, trace: Trace | None) -> None:
    """Judge the round's readings and move the meters' memory on."""
    call.begin()
    for size, meters in call.sizes():
        _expect(call, models, size, meters, trace)
    closings, worth = call.close()
    if closings.shape[1]:
        _judge_slots(call, models, params, closings, worth, trace)
    if models.fast is not None and models.slow is not None:
        call.amount("surprise")[:] = models.fast.period(np.abs(call.amount("distance"))) - FAST_GIVES
        call.finish()
    if trace is not None:
        _keep(call, models, trace)


def _expect(call: Call, models: Models, size: int, meters: int, trace: Trace | None) -> None:
    """Ask the sequence model about the meters of a size."""
    length = size + -size % TILE
    past = np.empty((meters, PAST_INPUTS, length + RECEPTIVE - 1), np.float32)
    time = np.empty((meters, TIME_INPUTS, length), np.float32)
    call.inputs(size, past, time)
    if trace is not None and trace.want_inputs:
        _keep_inputs(call, size, past[:, :, : size + RECEPTIVE - 1], time[:, :, :size], trace)
    if models.sequence is not None:
        call.expected(size, models.sequence.expect(past, time))


def _keep_inputs(call: Call, size: int, past: NDArray[np.float32], time: NDArray[np.float32], trace: Trace) -> None:
    """The network's inputs and the power that it is to expect, for training."""
    first, counts, sizes = call.turns[4:7]
    mine = np.flatnonzero(sizes == size)
    place = first[mine, None] + np.minimum(np.arange(size), counts[mine, None] - 1)
    row, mw = call.block[0][place], call.block[1][place]
    level = np.maximum(call.memory.hot["level"][mine], 1000).astype(np.float64)
    target = scaled(mw, level[:, None]).astype(np.float32)
    trace.past.append((counts[mine], past, time, target, call.readings.at[row]))


def _judge_slots(
    call: Call, models: Models, params: DetectorParams, closings: Ints, worth: Floats, trace: Trace | None
) -> None:
    """Statistics, forest, weigher and kind of each closed slot, into `closings` and `worth`."""
    memory, (meter, place, by, _, why) = call.memory, closings
    hot, at = memory.hot, call.readings.at[call.block[0][by]]
    level = np.maximum(hot["level"], 1000).astype(np.float64)
    window = Window(memory.slots, memory.flag, call.turns[-1], hot["hot"], level, params.acceptance_days)
    usual = np.empty((4, len(STATISTICS), len(meter))) if trace is not None and trace.want_usual else None
    features = deviations(window, meter, place, usual).T
    why[:] = np.argmax(np.where(np.isnan(features), -np.inf, features), axis=1)
    if trace is not None:
        trace.slot_meter.append(meter.copy())
        trace.slot_at.append(at)
        trace.deviations.append(features.astype(np.float32))
        if usual is not None:
            trace.usual.append(usual)
    if models.forest is None:
        return
    looked_at = suspicious(features)
    seldom = models.forest.score(looked_at[:, SLOW_SERIES_ONLY])
    if trace is not None:
        trace.forest.append(seldom)
    if models.weigher is None or models.slow is None:
        return
    seen = np.column_stack([looked_at, seldom])
    raw = models.weigher.score(seen)
    weighed, hot["peaks"], hot["peak_hour"] = novel(hot["peaks"], hot["peak_hour"], meter, at, raw)
    worth[:] = models.slow.period(weighed)
    strange = np.flatnonzero(worth - models.offset >= params.threshold + SUSPICIOUS)
    if models.kinds is not None and len(strange):
        why[strange] = packed(why[strange].astype(np.int16), models.kinds.probable(seen[strange]))
    if trace is not None:
        trace.raw.append(raw)
        trace.weighed.append(weighed)


def _keep(call: Call, models: Models, trace: Trace) -> None:
    """What training and explanations learn of the round's readings."""
    row = call.block[0]
    if models.fast is not None and models.slow is not None:
        trace.slow.append(call.amount("slow").copy())
        trace.fast.append(call.amount("surprise").copy())
    trace.reading_meter.append(call.readings.meter[row])
    trace.reading_at.append(call.readings.at[row])
    trace.residual.append(np.where(call.facts[0][row] == SCORED, call.amount("distance"), np.nan))
