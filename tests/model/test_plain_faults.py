"""Plain faults stand out from a meter's calm days, whatever the threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from meterwatch.detection.detector import Detector
from meterwatch.detection.faults import inject_one
from tests.households import START, household
from tests.streams import Caller, one_meter

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

DAY = 86_400
AT, CHANNELS = household(24, seed=9)  # a household that the bundle has not seen


@pytest.fixture(scope="module")
def detector(bundle: Path) -> Detector:
    """Small models of another household."""
    return Detector.load(bundle)


def scores(detector: Detector, channels: NDArray[np.float64]) -> NDArray[np.float64]:
    ids, _, readings = one_meter("m", AT, channels).grouped(0, len(AT))
    return Caller(detector).ask(ids, readings).verdicts.score


@pytest.mark.parametrize("kind", ["left_on", "night_use", "noise"])
def test_a_plain_fault_stands_out(detector: Detector, kind: str) -> None:
    """Its highest score is above all of the calm days; before it nothing differs."""
    at = START + 18 * DAY + 18 * 3600
    channels, fault = inject_one(AT, CHANNELS, kind, at, 3, 1.0)
    calm, faulty = scores(detector, CHANNELS), scores(detector, channels)
    before, inside = fault.start_at > AT, (fault.start_at <= AT) & (fault.end_at + 3600 >= AT)
    assert faulty[before].tobytes() == calm[before].tobytes()
    assert np.nanmax(faulty[inside]) > np.nanmax(calm[10 * 1440 :])
