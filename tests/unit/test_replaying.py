"""What stands for the records that made a far reading count."""

from __future__ import annotations

import numpy as np
import pytest

from meterwatch.detection.detector import Detector
from meterwatch.detection.memory import NEVER
from meterwatch.detection.params import DetectorParams
from meterwatch.detection.rounds import Models
from meterwatch.storage.snapshots import Judged
from serving.replaying import as_readings

DAY = 86_400
DETECTOR = Detector(DetectorParams(clock_jump_s=30 * DAY), Models())
FAR = 40 * DAY


@pytest.mark.parametrize(
    ("at", "newest", "jump", "expected"),
    [
        ([60, 120], 0, NEVER, [60, 120]),
        ([60, FAR], 0, NEVER, [60, FAR - 1, FAR]),
        ([FAR, FAR + 60], 0, NEVER, [FAR - 1, FAR, FAR + 60]),
        ([FAR, FAR + 60], None, NEVER, [FAR, FAR + 60]),  # a new meter may begin anywhere
        ([FAR, FAR + 60], 0, FAR - 5, [FAR, FAR + 60]),  # the state remembers the jump itself
        ([FAR, FAR + 60], 0, FAR + 5, [FAR - 1, FAR, FAR + 60]),  # another jump came after it
        ([30 * DAY], 0, NEVER, [30 * DAY]),
    ],
)
def test_a_jump_is_put_before_a_far_reading(at: list[int], newest: int | None, jump: int, expected: list[int]) -> None:
    """As it was: a reading far ahead counts only after another one that was rejected for it."""
    run = [Judged(second, "1", k, (1.0, *[None] * 6)) for k, second in enumerate(at)]
    readings = as_readings(run, newest, jump, DETECTOR)
    assert readings.at.tolist() == expected
    assert (np.isnan(readings.channels[0]) == ~np.isin(readings.at, at)).all()


def test_and_the_detector_takes_it_so() -> None:
    """The stand-in is rejected, the reading behind it is not."""
    run = [Judged(second, "1", k, (1.0, *[None] * 6)) for k, second in enumerate((60, FAR, FAR + 60))]
    verdicts = DETECTOR.observe(["m"], [None], [None], as_readings(run, None, NEVER, DETECTOR)).verdicts
    assert [verdicts.reasons[k] == "clock_jump" for k in verdicts.reason] == [False, True, False, False]
