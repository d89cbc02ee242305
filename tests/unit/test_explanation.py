"""Whatever was judged, its parts sum to its score, and what is named first is what made it strange."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.detection.catalogue import SLOW_SERIES_ONLY, STATISTICS
from meterwatch.detection.detector import Detector
from meterwatch.detection.explanation import DIGITS, SLOT_MIN, Explanation, explain
from meterwatch.detection.faults import inject_one
from meterwatch.detection.readings import SCORED, STATUSES
from meterwatch.detection.rounds import Trace
from meterwatch.detection.statistics import ORDINARY, suspicious
from tests.streams import DAY, KINDS, Caller, Kind, Stream, dirty, one_meter, past

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from meterwatch.detection.readings import Observation

MINUTE, HALF_HOUR = KINDS[0], KINDS[2]


@pytest.fixture(scope="module")
def knowing(bundle: Path) -> Callable[[Kind], Caller]:
    """A caller who remembers the past of a kind of meter."""
    detector = Detector.load(bundle)

    @cache
    def seasoned(kind: Kind) -> Caller:
        return Caller(detector).follow(past(kind)) if kind.days else Caller(detector)

    return seasoned


def told(caller: Caller, stream: Stream, place: int, most: int = 8) -> tuple[Explanation, Observation]:
    """One reading's explanation, and what the caller is told of the whole stream."""
    (meter_id,), _, readings = stream.grouped(0, len(stream))
    state, profile = caller.states.get(meter_id), caller.profiles.get(meter_id)
    return explain(caller.detector, meter_id, state, profile, readings, place, most), caller.ask([meter_id], readings)


def faulty(kind: Kind, fault: str, days: int = 2) -> Stream:
    part = past(kind, days)
    channels, _ = inject_one(part.at, part.channels, fault, int(part.at[0]) + DAY // 2, 1, 1.0)
    return one_meter(kind.meter_id, part.at, channels)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_the_parts_sum_to_the_score_of_any_reading(knowing: Callable[[Kind], Caller], data: st.DataObject) -> None:
    """Of any kind of meter, clean or dirty, known or new; and the verdict is the one that was given."""
    kind = data.draw(st.sampled_from(KINDS))
    stream = data.draw(dirty([kind]) | st.sampled_from([faulty(kind, f) for f in ("left_on", "outage", "surge")]))
    place = data.draw(st.integers(0, len(stream) - 1))
    found, answer = told(knowing(kind), stream, place, data.draw(st.integers(0, 60)))
    verdicts = answer.verdicts
    assert found.status == STATUSES[verdicts.status[place]]
    assert found.reason == verdicts.reasons[verdicts.reason[place]]
    assert found.anomalous == verdicts.anomalous[place]
    if verdicts.status[place] != SCORED:
        assert (found.score, found.expected_kw, found.decided_by, found.contributions) == (None, None, None, ())
        return
    assert (found.score, found.expected_kw) == (verdicts.score[place], verdicts.expected_kw[place])
    amounts = [part.amount for part in found.contributions]
    assert round(math.fsum(amounts), DIGITS) == round(verdicts.score[place], DIGITS)
    assert amounts == [round(amount, DIGITS) for amount in amounts]
    named = [abs(part.amount) for part in found.contributions if part.window_min]
    assert named == sorted(named, reverse=True)


def ordinary_of(detector: Detector) -> float:
    """Where a quarter hour without anything suspicious stands, from the models alone."""
    models = detector.models
    assert models.forest
    assert models.weigher
    assert models.slow
    plain = np.full((1, len(STATISTICS)), ORDINARY)
    row = np.append(plain, models.forest.score(plain[:, SLOW_SERIES_ONLY]))[None]
    return float(models.slow.period(models.weigher.score(row))[0]) - models.offset


@pytest.mark.parametrize(("kind", "fault"), [(MINUTE, "left_on"), (MINUTE, "stuck"), (HALF_HOUR, "outage")])
def test_the_first_part_put_to_its_usual_value_lowers_the_margin(
    knowing: Callable[[Kind], Caller], kind: Kind, fault: str
) -> None:
    """What is named first is suspicious, and without it the weigher says less."""
    caller, stream = knowing(kind), faulty(kind, fault)
    detector = caller.detector
    (meter_id,), _, readings = stream.grouped(0, len(stream))
    trace = Trace()
    answer = detector.observe([meter_id], [caller.states[meter_id]], [caller.profiles[meter_id]], readings, trace)
    raw, at = np.concatenate(trace.raw), np.concatenate(trace.slot_at)
    place = int(np.searchsorted(stream.at, at[np.argmax(raw)]))
    found, _ = told(caller, stream, place, most=len(STATISTICS))
    assert found.decided_by == "statistics"
    assert found.judged_at == at[np.argmax(raw)]
    first = next(part for part in found.contributions if part.window_min)
    assert first.amount > 0
    (index,) = (
        k for k, s in enumerate(STATISTICS) if (s.words, s.window * SLOT_MIN) == (first.words, first.window_min)
    )
    models = detector.models
    assert models.forest
    assert models.weigher
    row = suspicious(np.concatenate(trace.deviations)[np.argmax(raw)][None].astype(np.float64))
    row = np.append(row, models.forest.score(row[:, SLOW_SERIES_ONLY]))[None]
    assert row[0, index] > ORDINARY
    usual = row.copy()
    usual[0, index] = ORDINARY
    assert models.weigher.score(usual)[0] < models.weigher.score(row)[0]
    assert found.contributions[-1].words == "an ordinary quarter hour"
    assert found.contributions[-1].amount == pytest.approx(ordinary_of(detector), abs=len(STATISTICS) * 10.0**-DIGITS)
    assert answer.verdicts.score[place] == found.score


@pytest.mark.parametrize("fault", ["left_on", "outage", "surge"])
def test_a_statistic_is_shown_in_plain_units(knowing: Callable[[Kind], Caller], fault: str) -> None:
    """A mean in kW beside that of the same quarter hours, and their neighbours, of the days before."""
    stream, before = faulty(MINUTE, fault), past(MINUTE)
    start = len(stream) // 4
    found = next(
        one
        for place in range(start + 14, start + 900, 15)
        if (one := told(knowing(MINUTE), stream, place, most=99)[0]).judged_at
        and any(part.words.startswith(("more power", "less power", "consumption")) for part in one.contributions)
    )
    end = int(np.searchsorted(stream.at, found.judged_at or 0)) + 1
    power = np.concatenate([before.channels[0], stream.channels[0, :end]])
    for part in found.contributions:
        if not part.words.startswith(("more power", "less power", "consumption")):
            continue
        w = part.window_min or 0
        assert part.value == pytest.approx(power[len(power) - w :].mean(), rel=2e-3, abs=1e-5)  # as slots remember it
        ends = [len(power) - 1440 * day + beside for day in range(1, 9) for beside in (-15, 0, 15)]
        usual = [power[e - w : e].mean() for e in ends if e >= w]
        assert part.usual == pytest.approx(np.median(usual), rel=2e-3)
        assert (part.usual_low or 9) <= (part.usual or 0) <= (part.usual_high or 0)
        assert (part.unit, part.channel) == ("kW", "active power")


def test_a_sudden_reading_is_explained_by_the_expected(knowing: Callable[[Kind], Caller]) -> None:
    """Where its own surprise decides, the reading stands against its band."""
    stream = past(MINUTE, 1)
    channels = stream.channels.copy()
    channels[0, 300] = 20.0
    found, _ = told(knowing(MINUTE), one_meter(MINUTE.meter_id, stream.at, channels), 300)
    assert found.decided_by == "expectation"
    first, last = found.contributions
    assert (first.words, first.value, first.usual, first.usual_low, first.usual_high) == (
        "far from the expected", 20.0, found.expected_kw, found.lower_kw, found.upper_kw,
    )  # fmt: skip
    assert first.amount > 0
    assert last.words == "an ordinary reading"


def test_what_was_judged_before_is_one_part(knowing: Callable[[Kind], Caller]) -> None:
    """Too few readings to close a quarter hour: the state says the score, not why."""
    stream = faulty(MINUTE, "left_on")
    late = Caller(knowing(MINUTE).detector, dict(knowing(MINUTE).states), dict(knowing(MINUTE).profiles))
    cut = int(np.flatnonzero(stream.at % 900 == 0)[60])
    late.follow(one_meter(MINUTE.meter_id, stream.at[:cut], stream.channels[:, :cut]))
    found, _ = told(late, one_meter(MINUTE.meter_id, stream.at[cut:], stream.channels[:, cut:]), 1)
    assert [part.words for part in found.contributions] == ["a quarter hour that was judged before these readings"]
    assert found.contributions[0].amount == round(found.score or 0, DIGITS)
    assert found.judged_at is None
