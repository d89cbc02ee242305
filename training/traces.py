"""Running a detector over whole series, with what training learns from kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meterwatch.detection.rounds import Trace
from training.series import together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterwatch.detection.detector import Detector
    from training.series import Series


def observe_all(detector: Detector, series: Sequence[Series], *, inputs: bool = False) -> Trace:
    """Run series from their first reading on, keeping a trace."""
    trace = Trace(want_inputs=inputs)
    ids = [one.meter_id for one in series]
    detector.observe(ids, [None] * len(ids), [None] * len(ids), together(series), trace)
    return trace
