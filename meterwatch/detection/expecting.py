"""What is expected of a segment's readings, and how far they are from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.sequence import past_inputs, scaled, time_inputs, unscaled, windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from meterwatch.detection.rounds import Judged, Models, Trace

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

NARROWEST = 0.05  # half width of the band on the scaled axis
FARTHEST = 100.0  # half widths: beyond says no more


@dataclass(frozen=True, slots=True)
class View:
    """The segment's readings with power, and what is known of their meters."""

    hot: NDArray[np.void]  # (a,) copies of the meters' records, written back at the end
    ready: NDArray[np.bool_]  # (a,) the warm-up is over
    base: Ints  # (a,) first slot of the roll day
    level: Floats  # (a,) mW
    first: Ints  # (a,) place of the meter's first reading
    counts: Ints  # (a,)
    meter: Ints  # (n,)
    at: Ints
    slot: Ints
    mw: Ints
    channels: Floats  # (7, n)
    run: Ints  # readings in a row that were the same
    previous: Ints  # time of the reading before
    cadence: Ints


def expect(
    view: View,
    models: Models,
    context: dict[str, Floats],
    scored: NDArray[np.bool_],
    judged: Judged,
    where: Ints,
    trace: Trace | None,
) -> Floats:
    """Fill in what is expected; answer each reading's distance from it in half widths of the band, 0 if unready."""
    if not view.ready.any() or (models.sequence is None and not (trace and trace.want_inputs)):
        return np.zeros(len(view.at))
    middle, low, high = _bounds(view, models, context["readings"], trace)
    if models.sequence is None:
        return np.zeros(len(view.at))
    level = view.level[view.meter]
    own = scaled(view.mw, level)
    half = np.maximum(np.where(own >= middle, high - middle, middle - low), NARROWEST)
    residual = np.where(view.ready[view.meter], np.clip((own - middle) / half, -FARTHEST, FARTHEST), 0.0)
    bounds = [np.rint(unscaled(part, level)) for part in (middle, low, high)]
    for target, part in zip((judged.expected, judged.lower, judged.upper), bounds, strict=True):
        target[where] = np.where(scored, part / 1e6, np.nan)
    excess = (view.mw - np.nan_to_num(bounds[0])).astype(np.int64)
    judged.energy[where] = np.where(scored, excess * view.cadence // 1000, 0)
    return residual


def _bounds(view: View, models: Models, context: Floats, trace: Trace | None) -> Floats:
    """Median, lower and upper bound of each reading on the scaled axis, (3, n); NaN for unready meters."""
    out = np.full((3, len(view.at)), np.nan)
    first, counts, cadence = view.first, view.counts, view.cadence.astype(np.float64)
    time = time_inputs(view.at, (context[0], context[1], context[2]), view.level[view.meter], cadence)
    judged = np.flatnonzero(view.ready & (counts > 0))
    # Meters with about as many readings go through the network together.
    size = np.maximum(1 << np.ceil(np.log2(counts[judged])).astype(np.int64), 16)
    if len(judged) == 1:
        size = counts[judged]
    for length in np.unique(size).tolist():
        rows = judged[size == length]
        past_mw = windows(view.hot["past_mw"][rows], view.mw, first[rows], counts[rows], length)
        past_at = windows(view.hot["past_at"][rows], view.at, first[rows], counts[rows], length)
        past = past_inputs(past_mw, past_at, view.level[rows], cadence[first[rows]])
        source = first[rows][:, None] + np.minimum(np.arange(length), counts[rows][:, None] - 1)
        inputs = np.ascontiguousarray(time[:, source].transpose(1, 0, 2))
        if trace is not None and trace.want_inputs:
            target = scaled(view.mw[source], view.level[rows][:, None]).astype(np.float32)
            trace.past.append((counts[rows], past, inputs, target, view.at[source]))
        if models.sequence is not None:
            answer = models.sequence.expect(past, inputs)
            inside = np.arange(length) < counts[rows][:, None]
            out[:, source[inside]] = answer.transpose(1, 0, 2)[:, inside]
    return out
