"""A call's accepted readings, a meter-day at a time.

A meter's profile changes only where its roll day does, at a slot of the day of its own. Between two such moments
every context is fixed, so a round judges all readings of all meters up to their next moment at once; the same
arithmetic is done in the same order whether a round holds a day or a single reading.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from meterwatch.detection.segment import judge_segment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from meterwatch.detection.calls import Call
    from meterwatch.detection.forest import Trees
    from meterwatch.detection.kinds import Kinds
    from meterwatch.detection.params import DetectorParams
    from meterwatch.detection.sequence import SequenceModel
    from meterwatch.detection.thresholds import Tail

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Models:
    """What was learned. Training runs with parts that are not there yet; a bundle has them all."""

    sequence: SequenceModel | None = None
    forest: Trees | None = None
    weigher: Trees | None = None
    kinds: Kinds | None = None  # none in bundles made before they were taught
    slow: Tail | None = None
    fast: Tail | None = None
    offset: float = 0.0  # taken off the larger of both periods: two chances to be wrong are not one


@dataclass(slots=True)
class Trace:
    """What training learns from, a block a round; meters as rows of the call."""

    slot_meter: list[Ints] = field(default_factory=list)
    slot_at: list[Ints] = field(default_factory=list)  # time of the reading that closed the slot
    deviations: list[Floats] = field(default_factory=list)  # (n, statistics)
    forest: list[Floats] = field(default_factory=list)  # (n,)
    raw: list[Floats] = field(default_factory=list)  # (n,) output of the weigher
    weighed: list[Floats] = field(default_factory=list)  # (n,) less what the last day had told already
    usual: list[Floats] = field(default_factory=list)  # (4, statistics, n) as `deviations` fills it
    past: list[tuple[Ints, NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], Ints]] = field(
        default_factory=list
    )  # counts (m,), past and time inputs, target and time (m, length); beyond a meter's count they repeat
    reading_at: list[Ints] = field(default_factory=list)
    reading_meter: list[Ints] = field(default_factory=list)
    residual: list[Floats] = field(default_factory=list)  # in half widths of the band
    slow: list[Floats] = field(default_factory=list)  # of each reading, log10 of months: its slot's, NaN where stale
    fast: list[Floats] = field(default_factory=list)  # and its own, the larger one less an offset is the score
    want_inputs: bool = False  # keep the sequence model's inputs and targets in `past`
    want_usual: bool = False  # keep what each statistic was compared with in `usual`


def run_rounds(call: Call, models: Models, params: DetectorParams, trace: Trace | None) -> None:
    """Judge the call's accepted readings and move its memory on."""
    while call.turn():
        if call.many:  # those without power are a gap each
            judge_segment(call, models, params, trace)
