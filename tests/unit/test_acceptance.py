"""Lasting changes: put in as said, judged day by day, and counted by the days on which they were told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from meterwatch.detection.detector import Detector
from tests.households import household
from training import acceptance
from training.acceptance import DAY_S, PUMP_DAYS, THEFT_DAYS, Change, changes, heat_pump
from training.series import Series, together

if TYPE_CHECKING:
    from pathlib import Path

DAYS = 90
CADENCE = 900


@pytest.fixture(scope="module")
def whole() -> Series:
    at, channels = household(days=DAYS, seed=21, cadence=CADENCE)
    return Series("m", at, channels)


def test_a_heat_pump_runs_from_its_day_on(whole: Series) -> None:
    """Nothing differs before; from then on part of each hour has so much more, and the current with it."""
    start = int(whole.at[0]) + 20 * DAY_S
    changed = heat_pump(whole, start, 2.0, 1)
    more = changed.channels - whole.channels
    before = whole.at < start
    assert not more[:, before].any()
    assert set(np.unique(more[0].round(3))) == {0.0, 2.0}
    hours = more[0, ~before].reshape(-1, 3600 // CADENCE).max(axis=1)
    assert hours.tolist() == pytest.approx([2.0] * len(hours))
    assert 0.4 < (more[0, ~before] > 0).mean() < 0.8
    assert (more[3, ~before] > 0).tolist() == (more[0, ~before] > 0).tolist()
    assert not more[4:].any()


def test_each_change_is_judged_day_by_day(bundle: Path, whole: Series, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an own call from what was known before says, over all of its days."""
    monkeypatch.setattr(acceptance, "THEFTS", {0.5: 0.5})
    monkeypatch.setattr(acceptance, "PUMPS_KW", (1.0,))
    detector = Detector.load(bundle)
    cut = int(whole.at[0]) + 30 * DAY_S
    past, later = whole.between(int(whole.at[0]), cut), whole.between(cut, int(whole.at[-1]) + 1)
    known = detector.observe(["m"], [None], [None], together([past]))
    found = changes(detector, known, later)
    assert [(change.kind, change.size, len(change.highest)) for change in found] == [
        *[("theft", 0.5, THEFT_DAYS)] * acceptance.STARTS,
        ("heat pump", 1.0, PUMP_DAYS),
    ]
    start = cut + acceptance.SETTLED_DAYS * DAY_S
    own = together([heat_pump(later, start, 1.0, 0)])
    score = detector.observe(["m"], known.states, known.profiles, own).verdicts.score
    for day in (0, 13, PUMP_DAYS - 1):
        part = score[(later.at >= start + day * DAY_S) & (later.at < start + (day + 1) * DAY_S)]
        assert found[-1].highest[day] == np.nanmax(part)
    assert changes(detector, known, later.between(cut, cut + 5 * DAY_S)) == []


def test_told_days_are_counted() -> None:
    """A day counts from the threshold on; an unjudged one does not; sizes are told apart."""
    nothing = float("nan")
    found = [
        Change("theft", 0.5, (0.5, nothing, 0.4, *[0.0] * 11), 0.5),
        Change("theft", 0.5, (0.5, 0.7, 0.9, *[0.0] * 11), 0.5),
        Change("heat pump", 1.0, (0.6, 0.0, 0.5, 0.1), 0.5),
        Change("heat pump", 1.5, (0.1, 0.0, 0.2, nothing), 0.5),
    ]
    assert [change.told for change in found] == [[1], [1, 2, 3], [1, 3], []]
    assert acceptance.figures(found) == {
        "lasting_theft_50_days_told": pytest.approx(2 / 14),
        "lasting_heat_pump_1_kw_last_day": 3.0,
        "lasting_heat_pump_1.5_kw_last_day": 0.0,
    }
    assert acceptance.figures([]) == {}
    assert acceptance.rows(found)[0] == ["theft", "0.5", "1", "0.500000"]
    assert acceptance.rows(found)[-1] == ["heat pump", "1.5", "4", "nan"]
