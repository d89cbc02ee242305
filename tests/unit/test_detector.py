"""Cutting a stream differently never changes the answer, to the last bit: not its verdicts, memory nor events."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.detection.catalogue import STATISTICS
from meterwatch.detection.detector import Detector
from meterwatch.detection.faults import inject_one
from meterwatch.detection.memory import Memory
from meterwatch.detection.params import SLOT_S, SLOTS_A_DAY
from meterwatch.detection.readings import SCORED, STATUSES
from tests.streams import DAY, KINDS, NUMBERS, Caller, Kind, Stream, dirty, mixed, one_meter, past

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EAGER = {
    "warm_up_s": 6 * 3600,
    "settle_s": 600,
    "threshold": -1.3,
    "acceptance_days": 0,
}  # much happens in few readings
MINUTE, HALF_HOUR, NEW = KINDS[0], KINDS[2], KINDS[5]


@pytest.fixture(scope="module")
def detectors(bundle: Path) -> tuple[Detector, Detector]:
    """The bundle as it is, and told to warm up soon and to see an anomaly in little."""
    plain = Detector.load(bundle)
    return plain, Detector(replace(plain.params, **EAGER), plain.models)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def caller(detectors: tuple[Detector, Detector]) -> Callable[..., Caller]:
    """A caller with one of the detectors who remembers the past of a stream's meters."""

    @cache
    def seasoned(which: int, kind: Kind) -> Caller:
        return Caller(detectors[which]).follow(past(kind)) if kind.days else Caller(detectors[which])

    def knowing(stream: Stream, which: int = 0) -> Caller:
        known = [seasoned(which, kind) for kind in KINDS if kind.meter_id in stream.meter_ids]
        merged = Caller(detectors[which])
        for one in known:
            merged.states |= one.states
            merged.profiles |= one.profiles
        return merged

    return knowing


def assert_same(one: Caller, other: Caller) -> None:
    assert one.verdicts == other.verdicts
    assert one.states == other.states
    assert one.profiles == other.profiles
    assert one.events == other.events


@pytest.fixture(scope="module")
def days() -> Stream:
    """Two days of four meters by time, with faults, over the moments at which their profiles change."""
    parts = []
    for kind, fault in zip(KINDS[:4], ("left_on", "outage", "surge", "stuck"), strict=True):
        part = past(kind, 2)
        at = int(part.at[0]) + 20 * 3600
        channels, _ = inject_one(part.at, part.channels, fault, at, 1, 1.0, duration_s=9_000)
        parts.append(one_meter(kind.meter_id, part.at, channels))
    return mixed(parts)


def prove_cut(known: Caller, stream: Stream, cuts: set[int]) -> None:
    """One call, some calls that were asked twice, and a call for each reading."""
    whole = known.again().follow(stream)
    assert_same(known.again().follow(stream, cuts, stumble=True), whole)
    assert_same(known.again().follow(stream, range(len(stream))), whole)


@settings(max_examples=8, deadline=None)
@given(stream=dirty(), which=st.integers(0, 1), cuts=st.sets(st.integers(1, 150)))
def test_any_cut_of_any_stream(caller: Callable[..., Caller], stream: Stream, which: int, cuts: set[int]) -> None:
    """Meters of all cadences mixed, gaps, odd values, repeats, late ones, jumps."""
    prove_cut(caller(stream, which), stream, cuts)


@pytest.mark.long
@settings(max_examples=800, deadline=None)
@given(stream=dirty(most=25), which=st.integers(0, 1), cuts=st.sets(st.integers(1, 300)))
def test_any_cut_of_very_many_streams(
    caller: Callable[..., Caller], stream: Stream, which: int, cuts: set[int]
) -> None:
    """The same for longer streams, and very many of them."""
    prove_cut(caller(stream, which), stream, cuts)


@settings(max_examples=6, deadline=None)
@given(cuts=st.lists(st.integers(1, 6000), max_size=25), which=st.integers(0, 1))
def test_any_cut_of_ordinary_days(caller: Callable[..., Caller], days: Stream, cuts: list[int], which: int) -> None:
    """Long calls take other ways through the code than short ones."""
    known = caller(days, which)
    whole = known.again().follow(days)
    assert not which or len({meter for meter, _ in whole.events.values()}) >= 3
    assert all(whole.profiles[meter] != known.profiles[meter] for meter in days.meter_ids)
    assert_same(known.again().follow(days, cuts), whole)


@pytest.mark.parametrize("kind", [MINUTE, NEW], ids=lambda kind: kind.meter_id)
def test_a_call_a_reading_over_the_turns(caller: Callable[..., Caller], kind: Kind) -> None:
    """Over the change of the profile, and over the end of the warm-up."""
    stream = past(kind, 2)
    stream = stream if kind.days else one_meter(kind.meter_id, stream.at[:1500], stream.channels[:, :1500])
    known = caller(stream)
    turn = 1440 if kind is NEW else 12
    each = range(turn - 10, turn + 80)
    assert_same(known.again().follow(stream, each), known.again().follow(stream))


def test_ready_before_the_cadence_is_settled(detectors: tuple[Detector, Detector]) -> None:
    """A new meter's first day has few pauses to tell its cadence from; an odd one must not change what is scored."""
    hours = np.array([*range(9), 9.25, 9.5, *range(10, 20)])
    start = KINDS[7].end
    stream = one_meter(KINDS[7].meter_id, start + (3600 * hours).astype(np.int64), np.full((7, len(hours)), np.nan))
    stream.channels[0] = 0.5 + hours % 3
    whole = Caller(detectors[1]).follow(stream)
    assert [row[0] for row in whole.verdicts].count(SCORED) > 10
    assert_same(Caller(detectors[1]).follow(stream, range(len(stream))), whole)


def test_company_leaves_a_meter_without_power_alone(detectors: tuple[Detector, Detector]) -> None:
    """A slot that is open when its day ends is forgotten, whoever else is in the call with which the next begins."""
    day = past(MINUTE, 2)
    opened = one_meter("new", day.at[:70], day.channels[:, :70])
    blind = one_meter("new", day.at[:1] + 2 * DAY, np.full((7, 1), np.nan))
    other = one_meter("other", day.at[:3] + 2 * DAY, day.channels[:, :3])
    alone = Caller(detectors[0]).follow(opened)
    assert Memory.decode(["new"], [alone.states["new"]], [None]).hot["counts"][0, 0] > 0
    together = alone.again().follow(mixed([blind, other]))
    assert together.states["new"] == alone.follow(blind).states["new"]
    assert together.profiles["new"] == alone.profiles["new"]


@settings(max_examples=12, deadline=None)
@given(stream=dirty(), which=st.integers(0, 1))
def test_company_changes_nothing(caller: Callable[..., Caller], stream: Stream, which: int) -> None:
    """Many meters in one call are judged as each is alone."""
    known = caller(stream, which)
    together = known.again().follow(stream)
    alone = {meter_id: caller(stream, which).follow(stream.alone(meter_id)) for meter_id in stream.meter_ids}
    for m, meter_id in enumerate(stream.meter_ids):
        mine = [row for row, meter in zip(together.verdicts, stream.meter, strict=True) if meter == m]
        assert mine == alone[meter_id].verdicts
        assert together.states[meter_id] == alone[meter_id].states[meter_id]
        assert together.profiles.get(meter_id) == alone[meter_id].profiles.get(meter_id)
    assert together.events == {key: event for one in alone.values() for key, event in one.events.items()}


def test_a_crowd_is_judged_as_each_alone(detectors: tuple[Detector, Detector]) -> None:
    """Forty new meters that start and end at different times, one of them without any power."""
    base = past(HALF_HOUR, 8)
    parts = [
        one_meter(f"m{k}", base.at[k : 64 + 3 * k], base.channels[:, k : 64 + 3 * k] * (1 + k / 10)) for k in range(40)
    ]
    parts.append(one_meter("blind", base.at[:5], np.full((7, 5), np.nan)))
    together = Caller(detectors[1]).follow(mixed(parts, 1))
    for part in parts:
        alone = Caller(detectors[1]).follow(part)
        meter_id = part.meter_ids[0]
        assert alone.states[meter_id] == together.states[meter_id]
        assert alone.profiles.get(meter_id) == together.profiles.get(meter_id)
    assert len(together.events) > 20


@settings(max_examples=15, deadline=None)
@given(stream=dirty(), which=st.integers(0, 1), share=st.floats(0, 1))
def test_later_readings_change_no_earlier_verdict(
    caller: Callable[..., Caller], stream: Stream, which: int, share: float
) -> None:
    """A stream that ends early, or goes on otherwise, has the same verdicts up to there."""
    known, cut = caller(stream, which), 1 + int(share * (len(stream) - 1))
    until = Stream(stream.meter_ids, stream.meter[:cut], stream.at[:cut], stream.channels[:, :cut])
    other = stream.channels.copy()
    other[:, cut:] = 5.0
    whole = known.again().follow(stream).verdicts[:cut]
    assert known.again().follow(until).verdicts == whole
    assert known.again().follow(replace(stream, channels=other)).verdicts[:cut] == whole


@settings(max_examples=15, deadline=None)
@given(row=st.integers(0, 300), value=st.floats(-50, 50), kind=st.sampled_from(KINDS[:4]))
def test_the_judged_reading_is_not_inside_its_own_expectation(
    caller: Callable[..., Caller], row: int, value: float, kind: Kind
) -> None:
    """Whatever a reading says, what was expected of it stays the same."""
    stream = past(kind, 20 if kind.cadence > 60 else 1)
    part = one_meter(kind.meter_id, stream.at[: row + 1], stream.channels[:, : row + 1].copy())
    _, _, readings = part.grouped(0, row + 1)
    first = caller(part).ask(part.meter_ids, readings).verdicts
    readings.channels[0, -1] = value
    second = caller(part).ask(part.meter_ids, readings).verdicts
    for name in ("expected_kw", "lower_kw", "upper_kw"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
    assert first.score[:-1].tobytes() == second.score[:-1].tobytes()


@settings(max_examples=12, deadline=None)
@given(stream=dirty(), which=st.integers(0, 1))
def test_numbers_where_scored_and_nowhere_else(caller: Callable[..., Caller], stream: Stream, which: int) -> None:
    """Anomalous is score >= threshold, and unknown is said, not faked."""
    known = caller(stream, which)
    ids, _, readings = stream.grouped(0, len(stream))
    verdicts = known.ask(ids, readings).verdicts
    scored = verdicts.status == SCORED
    for name in NUMBERS:
        assert (np.isfinite(getattr(verdicts, name)) == scored).all(), name
    assert (verdicts.anomalous == (verdicts.score >= known.detector.params.threshold)).all()
    assert (verdicts.lower_kw[scored] <= verdicts.expected_kw[scored]).all()
    assert (verdicts.expected_kw[scored] <= verdicts.upper_kw[scored]).all()
    assert (verdicts.threshold[scored] == known.detector.params.threshold).all()
    words = np.array(verdicts.reasons, dtype=object)[verdicts.reason]
    assert all(words[(verdicts.status != SCORED) & (verdicts.status != STATUSES.index("late"))
                     & (verdicts.status != STATUSES.index("duplicate"))])  # fmt: skip
    assert all(words[verdicts.anomalous])


def test_a_score_at_the_threshold_is_anomalous(caller: Callable[..., Caller]) -> None:
    """Equal is enough; a hair above it is not reached."""
    stream = past(MINUTE, 1)
    known, (ids, _, readings) = caller(stream), stream.grouped(0, 1)
    score = float(known.ask(ids, readings).verdicts.score[0])
    for threshold, reached in ((score, True), (np.nextafter(score, 9), False)):
        told = Detector(replace(known.detector.params, threshold=threshold), known.detector.models)
        answer = Caller(told, known.states, known.profiles).ask(ids, readings)
        assert (answer.verdicts.anomalous.tolist(), len(answer.events)) == ([reached], int(reached))


@pytest.mark.parametrize("kind", KINDS[:4], ids=lambda kind: kind.meter_id)
def test_an_anomalous_reading_marks_every_slot_that_it_fills(caller: Callable[..., Caller], kind: Kind) -> None:
    """A slot of a minute's reading, two of half an hour's, four of an hour's: none of them teaches what is usual."""
    stream = past(kind, 1)
    short = one_meter(kind.meter_id, stream.at[:25], stream.channels[:, :25])
    seasoned = caller(short)
    always = Detector(replace(seasoned.detector.params, threshold=-6.0), seasoned.detector.models)
    known = Caller(always, seasoned.states, seasoned.profiles).follow(short)
    memory = Memory.decode([kind.meter_id], [known.states[kind.meter_id]], [None])
    base = int(memory.hot["day"][0]) * SLOTS_A_DAY + int(memory.roll_slot[0])
    begin = int(short.at[20]) // SLOT_S - base
    filled = slice(begin, begin + max(kind.cadence // SLOT_S, 1))
    assert known.verdicts[20][1]
    assert memory.hot["hot_flag"][0, filled].all()


def test_reasons_say_why(caller: Callable[..., Caller]) -> None:
    """How many readings are missing, what is missing, how short the history is, what stands out."""
    new = past(NEW, 2)
    words = [row[2] for row in caller(new).follow(new).verdicts]
    assert words[1:1440] == [f"{1438 - k:,} more readings with power are needed" for k in range(1439)]
    assert words[1440] == "short history (1 days)"
    stream = past(HALF_HOUR, 2)
    channels = stream.channels.copy()
    channels[0, 10], channels[0, 20] = np.nan, 200.0
    at = stream.at + 2 * 3600 * (np.arange(len(stream)) > 30)
    told = [row[2] for row in caller(stream, 1).follow(one_meter("half hour", at, channels)).verdicts]
    assert told[10] == "no power in this reading"
    assert told[20] in {"far from the expected", *(one.words for one in STATISTICS)}
    assert told[31] == "too soon after an absence"
    calm = Detector(replace(caller(stream).detector.params, threshold=99.0), caller(stream).detector.models)
    known = Caller(calm, caller(stream).states, caller(stream).profiles)
    assert {row[2] for row in known.follow(stream).verdicts} == {""}  # forty days are a long history


def test_asking_changes_neither_question_nor_detector(caller: Callable[..., Caller], days: Stream) -> None:
    """What goes in is not written to, and threads may share a detector."""
    known = caller(days)
    ids, _, readings = days.grouped(0, 3000)
    for values in (readings.meter, readings.at, readings.channels):
        values.flags.writeable = False
    first = known.ask(ids, readings)
    with ThreadPoolExecutor(4) as pool:
        for answer in pool.map(lambda _: known.ask(ids, readings), range(4)):
            assert answer.states == first.states
            assert answer.events == first.events
            assert answer.verdicts.score.tobytes() == first.verdicts.score.tobytes()


def test_no_meter_and_no_reading(detectors: tuple[Detector, Detector]) -> None:
    """Nothing is asked, nothing is answered; a meter without a reading keeps its memory."""
    nothing = Stream((), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((7, 0)))
    _, _, readings = nothing.grouped(0, 0)
    assert detectors[0].observe([], [], [], readings).states == []
    known = Caller(detectors[0]).follow(past(HALF_HOUR))
    answer = known.ask(["half hour"], readings)
    assert answer.states == [known.states["half hour"]]
    assert answer.profiles == [None]
    assert (len(answer.verdicts.status), answer.events) == (0, [])


def test_a_call_may_span_months(caller: Callable[..., Caller]) -> None:
    """A year's absence in one call as in two: the profile is emptied by time, not by calls."""
    first = past(HALF_HOUR, 3)
    stream = Stream(
        first.meter_ids,
        np.zeros(2 * len(first), np.int64),
        np.concatenate([first.at, first.at + 365 * DAY]),
        np.concatenate([first.channels, first.channels], axis=1),
    )
    known = caller(stream)
    whole = known.again().follow(stream)
    assert_same(known.again().follow(stream, [len(first)]), whole)
    assert_same(known.again().follow(stream, range(len(first) - 3, len(first) + 4)), whole)


def test_an_events_energy_is_what_its_verdicts_say(detectors: tuple[Detector, Detector], days: Stream) -> None:
    """Actual less expected, summed in kWh from the first to the last anomalous reading; below is negative."""
    caller = Caller(detectors[0]).follow(past(MINUTE))
    stream = days.alone(MINUTE.meter_id)
    ids, _, readings = stream.grouped(0, len(stream))
    often = float(np.nanquantile(caller.ask(ids, readings).verdicts.score, 0.9))
    caller.detector = Detector(replace(caller.detector.params, threshold=often), caller.detector.models)
    answer = caller.ask(ids, readings)
    verdicts = answer.verdicts
    scored = verdicts.status == SCORED
    excess = np.where(scored, stream.channels[0] - verdicts.expected_kw, 0.0) / 60
    whole = [event for event in answer.events if event.start_at >= stream.at[0]]
    assert whole
    for event in whole:
        inside = (stream.at >= event.start_at) & (stream.at <= (event.end_at or stream.at[verdicts.anomalous][-1]))
        assert event.energy_kwh == pytest.approx(excess[inside].sum(), abs=1e-6 * inside.sum())
