"""Anomalous readings become events as a plain loop makes them, and the same ones however they are cut."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meterwatch.detection.catalogue import STATISTICS
from meterwatch.detection.events import JOULES_A_KWH, severity, track
from meterwatch.detection.kinds import FAST, WORDS, kind_of, packed, statistic_of, words
from meterwatch.detection.memory import Memory
from tests import naive

if TYPE_CHECKING:
    from meterwatch.detection.readings import Event

GAP = 3600
THRESHOLD = 0.5
WHY = int(packed(np.array(3, np.int16), np.array(5, np.int16)))
Reading = tuple[int, bool, float, int, int]  # at, anomalous, score, why, joules


@st.composite
def readings(draw: st.DrawFn) -> list[Reading]:
    """Accepted readings of one meter: pauses around the gap, some not judged, equal scores among them."""
    least = draw(st.sampled_from([1, 20]))
    steps = st.tuples(
        st.sampled_from([1, 60, 900, GAP - 1, GAP, GAP + 1, 40_000]),
        st.sampled_from([None, -1.0, 0.25, 0.5, 0.5, 2.0, 9.0]),
        st.integers(FAST, len(STATISTICS) - 1) | st.just(WHY),
        st.integers(-(10**6), 10**6),
    )
    at, out = 1_600_000_000, []
    for pause, score, why, joules in draw(st.lists(steps, min_size=least, max_size=60)):
        at += pause
        judged = score is not None
        out.append((at, judged and score >= THRESHOLD, score if judged else np.nan, why, joules if judged else 0))
    return out


def follow(sent: list[Reading], cuts: set[int]) -> tuple[list[Event], list[list[Event]], Memory]:
    """The newest standing of each event, what each call answered, and the memory after it."""
    memory = Memory.decode(["m"], [None], [None])
    newest: dict[str, Event] = {}
    answers = []
    edges = [0, *sorted(cut for cut in cuts if 0 < cut < len(sent)), len(sent)]
    for begin, end in pairwise(edges):
        at, anomalous, score, why, joules = (list(column) for column in zip(*sent[begin:end], strict=True) or [[]] * 5)
        touched = track(
            memory.hot, 0, "p-", np.array(at, np.int64), np.array(anomalous, np.bool_), np.array(score, np.float64),
            np.array(why, np.int64), np.array(joules, np.int64), THRESHOLD, GAP,
        )  # fmt: skip
        newest |= {event.event_id: event for event in touched}
        answers.append(touched)
    return list(newest.values()), answers, memory


@settings(max_examples=200, deadline=None)
@example(sent=[(0, True, 1.0, 3, 5), (60, False, 0.0, 3, 7), (9000, False, 0.0, 3, 9)], cuts={2})
@given(sent=readings(), cuts=st.sets(st.integers(1, 30), min_size=3))
def test_events_equal_their_slow_twin(sent: list[Reading], cuts: set[int]) -> None:
    """In any cut: start, end, peak, severity, kind and energy, with ids that tell them apart."""
    events, answers, memory = follow(sent, cuts)
    twin = naive.events(sent, GAP)
    assert [(e.start_at, e.end_at, e.peak_at, e.severity, e.kind, e.energy_kwh) for e in events] == [
        (start, end, peak, severity(top - THRESHOLD), words(why, total), total / JOULES_A_KWH)
        for start, end, peak, top, why, total in twin
    ]
    assert [e.event_id for e in events] == [f"p-{e.start_at:x}" for e in events]
    for touched in answers:  # the newest standing of each touched event, in order of start, once
        starts = [event.start_at for event in touched]
        assert starts == sorted(set(starts))
    whole = follow(sent, set())
    assert (events, memory.hot.tobytes()) == (whole[0], whole[2].hot.tobytes())


def event(*sent: Reading) -> list[Event]:
    """The events of some readings, in one call."""
    return follow(list(sent), set())[0]


def test_less_than_the_gap_apart_is_one_event() -> None:
    """59 min 59 s merge, an hour does not; an event is open until a reading comes that late."""
    one, two, three = (0, True, 1.0, FAST, 0), (GAP - 1, True, 1.0, FAST, 0), (2 * GAP - 1, True, 1.0, FAST, 0)
    assert [(e.start_at, e.end_at) for e in event(one, two)] == [(0, None)]
    assert [(e.start_at, e.end_at) for e in event(one, two, three)] == [(0, GAP - 1), (2 * GAP - 1, None)]
    calm = (GAP, False, 0.0, FAST, 0)
    assert [(e.start_at, e.end_at) for e in event(one, (GAP - 1, False, 0.0, FAST, 0))] == [(0, None)]
    assert [(e.start_at, e.end_at) for e in event(one, calm)] == [(0, 0)]


def test_energy_is_counted_from_the_first_to_the_last_anomalous_reading() -> None:
    """What lies between them counts, what comes after does not; below the expected is negative."""
    kwh = int(JOULES_A_KWH)
    sent = [
        (0, False, 0.0, FAST, 50 * kwh), (60, True, 1.0, FAST, -kwh), (120, False, 0.0, FAST, -2 * kwh),
        (180, True, 0.7, FAST, -4 * kwh), (240, False, 0.0, FAST, 80 * kwh), (9000, False, 0.0, FAST, 7 * kwh),
    ]  # fmt: skip
    for cuts in (set(), {1, 2, 3, 4, 5}):
        (found,), _, _ = follow(sent, cuts)
        assert (found.energy_kwh, found.end_at, found.peak_at, found.kind) == (-7.0, 180, 60, "sudden fall")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-5, 20), min_size=2))
def test_severity_grows_from_0_to_100(excesses: list[float]) -> None:
    """0 at the threshold and below, 50 when ten times rarer, 75 when a hundred times."""
    told = [severity(excess) for excess in sorted(excesses)]
    assert told == sorted(told)
    assert 0 <= told[0] <= told[-1] <= 100
    assert [severity(excess) for excess in (-1, 0, 1, 2)] == [0, 0, 50, 75]


@pytest.mark.parametrize("why", range(FAST, len(STATISTICS)))
def test_every_reason_has_a_kind(why: int) -> None:
    """Plain words for each statistic; the energy's sign tells a sudden rise from a fall."""
    assert words(why, 1)
    assert (words(why, 1) != words(why, -1)) == (why == FAST)


def test_the_words_say_on_which_side_a_statistic_is_suspicious() -> None:
    """A floor that sank is no base load raised; what falls short is never called high."""
    for place, statistic in enumerate(STATISTICS):
        told = words(place, 0)
        for high, low in (("high", "low"), ("raised", "sunk"), ("restless", "steady")):
            assert (low if statistic.side > 0 else high) not in told or statistic.words == "high voltage", (
                statistic.name
            )


@pytest.mark.parametrize("statistic", range(FAST, len(STATISTICS)))
def test_statistic_and_kind_are_remembered_together(statistic: int) -> None:
    """In one number of 16 bits; without a kind the reason of an older state, whose FAST was -1."""
    for kind, known in enumerate(["", *WORDS.values()]):
        why = packed(np.array([statistic], np.int16), np.array([kind], np.int16))
        assert why.dtype == np.int16
        assert (statistic_of(why).tolist(), kind_of(why).tolist()) == ([statistic], [kind])
        assert words(int(why[0]), 1) == (known or words(statistic, 1))
    older = np.array([statistic], np.int16)
    assert (statistic_of(older).tolist(), kind_of(older).tolist()) == ([statistic], [0])
