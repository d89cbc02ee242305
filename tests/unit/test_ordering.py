"""Arrival order decides which readings count; nothing is judged by the clock on the wall."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.detection.calls import FACTS, Call, Rules
from meterwatch.detection.detector import Detector
from meterwatch.detection.memory import Memory
from meterwatch.detection.params import RECENT, DetectorParams
from meterwatch.detection.readings import CHANNELS, REJECTED, STATUSES, Readings
from meterwatch.detection.rounds import Models
from tests import naive
from tests.households import household
from tests.streams import DAY, KINDS, Caller, Stream, dirty, one_meter

if TYPE_CHECKING:
    from pathlib import Path

START = 1_600_000_000
PARAMS = DetectorParams()
BLANK = Detector(PARAMS, Models())  # order needs no model
ACCEPTED = ("scored", "warming_up", "gap")


def told(caller: Caller) -> list[str]:
    """How each reading stands: accepted, or why not."""
    words = []
    for status, _, reason, _ in caller.verdicts:
        name = STATUSES[int(status)]  # type: ignore[call-overload]
        words.append("accepted" if name in ACCEPTED else str(reason) if status == REJECTED else name)
    return words


def plain(twin: list[str]) -> list[str]:
    """The twin's words as a verdict shows them: a meter that starts anew takes the reading in."""
    return ["accepted" if word == "anew" else word for word in twin]


def readings(*sent: tuple[float, float]) -> Stream:
    """A meter's readings as pairs of days since START and kW."""
    channels = np.full((7, len(sent)), np.nan)
    channels[0] = [kw for _, kw in sent]
    return one_meter("m", START + np.array([round(day * DAY) for day, _ in sent]), channels)


def order(*sent: tuple[float, float], detector: Detector = BLANK) -> list[str]:
    """How they stand, in one call and reading by reading."""
    stream = readings(*sent)
    words = told(Caller(detector).follow(stream))
    assert told(Caller(detector).follow(stream, range(len(stream)))) == words
    return words


@settings(max_examples=60, deadline=None)
@given(stream=dirty(KINDS[5:], most=30), cuts=st.sets(st.integers(1, 200), max_size=20))
def test_order_equals_its_slow_twin(stream: Stream, cuts: set[int]) -> None:
    """Any stream, any cut: what is accepted, repeated, late, in conflict, out of range, or a jump."""
    words = told(Caller(BLANK).follow(stream, cuts))
    for m in range(len(stream.meter_ids)):
        mine = np.flatnonzero(stream.meter == m)
        rows = stream.channels[:, mine].T.tolist()
        twin = naive.order(stream.at[mine].tolist(), rows, PARAMS.limit_power, PARAMS.clock_jump_s)
        assert [words[i] for i in mine] == plain(twin)


STEPS = st.one_of(st.integers(-3, 40), st.sampled_from([1, 1, 1, 0, -33, -60, -400, 33, 365]))


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.tuples(STEPS, st.sampled_from([0.5, 0.7])), min_size=8, max_size=60),
    cuts=st.sets(st.integers(1, 59)),
    many=st.integers(2, 4),
)
def test_jumps_returns_and_repeats_equal_their_slow_twin(
    steps: list[tuple[int, float]], cuts: set[int], many: int
) -> None:
    """Times back and forth in days, two values: every way in which one follows the other, cut anywhere."""
    at = np.cumsum([step for step, _ in steps])
    stream = readings(*((float(day), kw) for day, (_, kw) in zip(at.tolist(), steps, strict=True)))
    detector = Detector(replace(PARAMS, clock_return_readings=many), Models())
    rows = stream.channels.T.tolist()
    twin = naive.order(stream.at.tolist(), rows, PARAMS.limit_power, PARAMS.clock_jump_s, many)
    whole, cut = Caller(detector).follow(stream), Caller(detector).follow(stream, cuts)
    assert told(whole) == told(cut) == plain(twin)
    assert (whole.states, whole.profiles) == (cut.states, cut.profiles)


def test_the_same_again_is_a_duplicate_and_another_value_a_conflict() -> None:
    """All channels count; missing equals missing, and -0.0 equals 0.0."""
    assert order((0, 0.5), (1, 0.0), (1, -0.0), (1, 0.6), (0, 0.5), (2, 0.5)) == [
        "accepted", "accepted", "duplicate", "conflict", "duplicate", "accepted",
    ]  # fmt: skip
    for channel in range(len(CHANNELS)):
        stream = readings((0, 0.5), (0, 0.5), (0, 0.5))
        stream.channels[:, :] = 1.0
        stream.channels[channel, 1] = np.nan
        assert told(Caller(BLANK).follow(stream)) == ["accepted", "conflict", "duplicate"]


def test_older_ones_are_late_and_change_nothing() -> None:
    """Between two known times, or so long ago that the value there is not remembered."""
    assert order((0, 0.5), (1, 0.5), (0.5, 0.5), (2, 0.5)) == ["accepted", "accepted", "late", "accepted"]
    many = [(k / 100, 0.5) for k in range(RECENT + 5)]
    assert order(*many, many[5], many[4], many[0])[-3:] == ["duplicate", "late", "late"]
    plain, with_late = (
        Caller(BLANK).follow(readings((0, 0.5), (1, 0.5), *late, (2, 0.5))) for late in ([], [(0.7, 9.0), (-50, 1.0)])
    )
    assert plain.states == with_late.states


def test_a_reading_far_ahead_is_a_jump_until_the_next_goes_on_from_there() -> None:
    """Thirty days are no jump, a second more is; a wrong clock is forgotten, a real absence accepted."""
    second = 1 / DAY
    assert order((0, 1), (30, 1), (60, 1)) == ["accepted"] * 3
    assert order((0, 1), (30 + second, 1), (1, 1)) == ["accepted", "clock_jump", "accepted"]
    assert order((0, 1), (90, 1), (90.1, 1), (90.2, 1)) == ["accepted", "clock_jump", "accepted", "accepted"]
    assert order((0, 1), (90, 1), (120, 1)) == ["accepted", "clock_jump", "accepted"]
    assert order((0, 1), (90, 1), (121, 1), (122, 1)) == ["accepted", "clock_jump", "clock_jump", "accepted"]
    # The next one is what counts: one in the meter's present clears the suspicion, so does the same again not.
    assert order((0, 1), (90, 1), (1, 1), (90.1, 1)) == ["accepted", "clock_jump", "accepted", "clock_jump"]
    assert order((0, 1), (90, 1), (90, 1), (90.1, 1)) == ["accepted", "clock_jump", "clock_jump", "accepted"]
    assert order((0, 1), (90, 1), (0, 1), (90.1, 1)) == ["accepted", "clock_jump", "duplicate", "accepted"]
    # A meter's first reading has nothing to be ahead of.
    assert order((5_000, 1), (5_001, 1)) == ["accepted", "accepted"]
    soon = Detector(replace(PARAMS, clock_jump_s=DAY), Models())
    assert order((0, 1), (1, 1), (2.5, 1), detector=soon) == ["accepted", "accepted", "clock_jump"]


def test_after_a_real_absence_the_past_is_late() -> None:
    """What was accepted after it is the newest; the time of the one rejected before is not held."""
    assert order((0, 1), (90, 1), (90.5, 1), (90, 1), (1, 1)) == [
        "accepted", "clock_jump", "accepted", "late", "late",
    ]  # fmt: skip


MANY = PARAMS.clock_return_readings
HOURS = [k / 24 for k in range(60)]  # of a meter's present, in days


@pytest.mark.parametrize(
    ("before", "wrong"),
    [
        ([], [30_000]),  # the very first reading, and then some, from a clock that was never set
        ([], [30_000, 30_001, 30_002]),
        ([-2, -1], [365]),  # one reading a year ahead is refused
        ([-2, -1], [365, 366, 367]),  # several were believed
        ([-2, -1], [365, 366, 3_000, 3_001]),  # two jumps, one after the other
        ([-2, -1], [-400]),  # a year back and forth again
        ([-2, -1], [-400, -399, -398]),
    ],
)
def test_a_wrong_clock_shuts_no_meter_out(before: list[float], wrong: list[float]) -> None:
    """However it was wrong: after at most as many readings as show a return, all are taken."""
    words = order(*((day, 1.0) for day in (*before, *wrong, *HOURS)))[-len(HOURS) :]
    late = words.index("accepted")
    assert late < MANY
    assert set(words[:late]) <= {"late"}
    assert set(words[late:]) == {"accepted"}


def test_a_jump_within_the_limit_makes_late_until_time_has_caught_up() -> None:
    """Twenty days ahead is no jump; nothing is late for longer than that."""
    words = order((0, 1), (20, 1), *((day, 1.0) for day in range(1, 25)))
    assert words == ["accepted"] * 2 + ["late"] * 19 + ["duplicate"] + ["accepted"] * 4


def test_a_replay_and_what_fills_a_short_absence_is_no_return() -> None:
    """Times of before the hole, or of after it, and an absence within the limit: late, and nothing begins anew."""
    year = [*range(100), *range(200, 300)]  # a real absence of a hundred days; its first reading is refused
    words = order(*((float(day), 1.0) for day in (*year, *year)))
    assert [k for k, word in enumerate(words[: len(year)]) if word != "accepted"] == [100]
    again = words[len(year) :]
    assert set(again[:-RECENT]) == {"late"}
    assert set(again[-RECENT:]) == {"duplicate"}
    filled = [(float(day), 1.0) for day in (0, 29)] + [(k / 10, 1.0) for k in range(1, 280)] + [(30.0, 1.0)]
    words = order(*filled)
    assert set(words[2:-1]) == {"late"}
    assert words[-1] == "accepted"


def test_live_readings_among_what_fills_a_long_absence_break_the_row() -> None:
    """So many in a row, nothing accepted between them."""
    live = [(400 + k / 100, 1.0) for k in range(20)]
    filling = [[(200 + k + j / 100, 1.0) for j in range(MANY - 1)] for k in range(20)]
    sent = [(0.0, 1.0), (399.0, 1.0)]
    for one, some in zip(live, filling, strict=True):
        sent += [one, *some]
    words = order(*sent)
    assert words[:3] == ["accepted", "clock_jump", "accepted"]
    assert words.count("accepted") == 1 + len(live)


def test_a_meter_that_starts_anew_is_judged_as_a_new_one(bundle: Path) -> None:
    """Nothing of the wrong time is left in its scores; what was open then is closed."""
    whole = Detector.load(bundle)
    detector = Detector(replace(whole.params, threshold=-6.0), whole.models)  # every score is an event
    at, channels = household(6, 3)
    cut = len(at) // 2
    new = one_meter("m", at[cut:], channels[:, cut:])
    both = one_meter("m", np.concatenate([at[:cut] + 400 * DAY, at[cut:]]), channels)
    alone = Caller(detector).follow(one_meter("m", new.at[MANY - 1 :], new.channels[:, MANY - 1 :]))
    for cuts in ([], [cut + 7, cut + MANY - 1, cut + MANY], range(cut - 3, cut + MANY + 3)):
        caller = Caller(detector).follow(both, cuts)
        assert told(caller)[cut : cut + MANY - 1] == ["late"] * (MANY - 1)
        assert caller.verdicts[cut + MANY - 1 :] == alone.verdicts
        assert caller.profiles == alone.profiles
        opened = [event for _, event in caller.events.values() if event.start_at > at[-1]]
        assert opened
        assert all(event.end_at for event in opened)
        assert {e.event_id for _, e in caller.events.values() if e.start_at <= at[-1]} == set(alone.events)


@pytest.mark.parametrize("channel", range(7), ids=CHANNELS)
def test_limits_are_those_of_the_channel(channel: int) -> None:
    """Power of either sign up to a million kW; the others from nothing to a million; infinity never."""
    values = [1e6, np.nextafter(1e6, 2e6), -1e6, np.nextafter(-1e6, -2e6), -0.001, 0.0, np.inf, -np.inf, np.nan]
    channels = np.full((7, len(values)), np.nan)
    channels[channel] = values
    stream = one_meter("m", START + 60 * np.arange(len(values)), channels)
    signed = channel < 2
    ok = [True, False, signed, False, signed, True, False, False, True]
    assert told(Caller(BLANK).follow(stream)) == ["accepted" if one else "out_of_range" for one in ok]


def test_one_out_of_range_is_no_time_to_be_late_against() -> None:
    """Neither its time nor its value is held, though it lies ahead; limits are the model's."""
    assert order((0, 1), (3, 2e6), (1, 1), (3, 1)) == ["accepted", "out_of_range", "accepted", "accepted"]
    narrow = Detector(replace(PARAMS, limit_power=10.0), Models())
    assert order((0, 9), (1, -11), (2, 11), detector=narrow) == ["accepted", "out_of_range", "out_of_range"]


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.lists(st.sampled_from([0.0, -0.0, 1.0, 0.1, np.nan]), min_size=7, max_size=7), min_size=2, max_size=9
    )
)
def test_hashes_tell_values_apart(rows: list[list[float]]) -> None:
    """Equal just where all channels are, also where a value moved to another channel."""
    unknown = Readings(np.zeros(len(rows), np.int64), START + np.arange(len(rows)), np.array(rows).T)
    call = Call(Rules.of(PARAMS, 0.0), Memory.decode(["m"], [None], [None]), unknown, expects=False)
    hashes = call.facts[FACTS.index("print")]
    keys = [tuple("?" if np.isnan(value) else value + 0.0 for value in row) for row in rows]
    for i in range(len(rows)):
        for j in range(i):
            assert (hashes[i] == hashes[j]) == (keys[i] == keys[j])
