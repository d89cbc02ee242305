"""Plain faults stand out from a meter's calm days, whatever the threshold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from meterwatch.detection.detector import Detector
from meterwatch.detection.faults import inject_one
from meterwatch.detection.kinds import WORDS
from tests.households import START, household
from tests.streams import Caller, one_meter
from training.fit import FitParams, fit
from training.series import Series

if TYPE_CHECKING:
    from numpy.typing import NDArray

DAY = 86_400
AT, CHANNELS = household(24, seed=9)  # a household that the bundle has not seen


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    """Models of another household that were taught with faults enough to know most kinds."""
    at, channels = household(days=42, seed=7)
    sizes = FitParams(
        trees=25,
        sample=256,
        filters=8,
        epochs=2,
        segments=400,
        faults=120,
        faults_per_month=8.0,
        iterations=60,
        folds=2,
    )
    return Detector.load(fit([Series("taught", at, channels)], sizes, tmp_path_factory.mktemp("taught")))


@pytest.mark.parametrize("kind", ["noise", "outage", "stuck"])
def test_a_plain_fault_is_called_by_its_name(detector: Detector, kind: str) -> None:
    """The event of its highest score, from a threshold that no calm day reaches."""
    channels, fault = inject_one(AT, CHANNELS, kind, START + 18 * DAY + 18 * 3600, 3, 1.0)
    calm = float(np.nanmax(scores(detector, CHANNELS)[10 * 1440 :]))
    strict = Detector(replace(detector.params, threshold=calm), detector.models)
    ids, _, readings = one_meter("m", AT, channels).grouped(0, len(AT))
    events = Caller(strict).ask(ids, readings).events
    worst = max((event for event in events if event.start_at >= fault.start_at), key=lambda event: event.severity)
    assert fault.start_at <= worst.peak_at <= fault.end_at + 3600
    assert worst.kind == WORDS[kind]


def scores(detector: Detector, channels: NDArray[np.float64]) -> NDArray[np.float64]:
    ids, _, readings = one_meter("m", AT, channels).grouped(0, len(AT))
    return Caller(detector).ask(ids, readings).verdicts.score


@pytest.mark.parametrize("kind", ["left_on", "noise", "outage", "stuck"])
def test_a_plain_fault_stands_out(detector: Detector, kind: str) -> None:
    """Its highest score is above all of the calm days; before it nothing differs."""
    at = START + 18 * DAY + 18 * 3600
    channels, fault = inject_one(AT, CHANNELS, kind, at, 3, 1.0)
    calm, faulty = scores(detector, CHANNELS), scores(detector, channels)
    before, inside = fault.start_at > AT, (fault.start_at <= AT) & (fault.end_at + 3600 >= AT)
    assert faulty[before].tobytes() == calm[before].tobytes()
    assert np.nanmax(faulty[inside]) > np.nanmax(calm[10 * 1440 :])
