"""The rate of a replay, on a clock that moves only when somebody waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.settings import Settings
from streaming import replay
from streaming.errors import StreamError
from streaming.lines import Record
from streaming.replay import Replay, Result, check, parse_rate

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORD = Record(b"default", b"1;2")


@pytest.mark.parametrize(("text", "rate"), [("50/s", 50.0), ("0.5/s", 0.5), ("7", 7.0), (" 2/s ", 2.0), ("max", None)])
def test_rates(text: str, rate: float | None) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "0/s", "-1/s", "fast", "5/m", "1e3/s", "nan", "inf", "5/s/s"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match="is no rate; give readings a second as 50/s, or max"):
        parse_rate(text)


class Clock:
    """Time passes while somebody waits, and a little while a record is sent."""

    def __init__(self, a_record: float) -> None:
        self.now = 1000.0
        self.a_record = a_record
        self.sent: list[float] = []
        self.is_set = lambda: False  # as an event that tells to stop

    def __len__(self) -> int:
        return 0  # records on their way

    def monotonic(self) -> float:
        """Now."""
        return self.now

    def wait(self, seconds: float) -> bool:
        """Let time pass; nobody tells to stop."""
        assert 0 < seconds <= replay.TURN  # it looks up often enough to hear that it is told to stop
        self.now += seconds
        return False

    def produce(self, *_: Any) -> None:
        """Send a record."""
        self.sent.append(self.now)
        self.now += self.a_record

    def poll(self, _: float) -> None:
        """What was delivered."""

    def flush(self, _: float) -> int:
        """Nothing is on its way."""
        return 0


@pytest.fixture(scope="module")
def patched() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay.topics, "ensure", lambda *_: None)
        yield patch


def sent_at(patched: pytest.MonkeyPatch, rate: float | None, at_once: int, count: int, a_record: float) -> list[float]:
    clock = Clock(a_record)
    patched.setattr(replay, "Producer", lambda _: clock)
    patched.setattr(replay, "time", clock)
    paced = Replay(Settings(), rate, at_once)
    patched.setattr(paced, "stop", clock)
    result = paced.run([RECORD] * count)
    assert (result.sent, result.acknowledged, result.failed) == (count, count, 0)
    return [moment - 1000.0 for moment in clock.sent]


@settings(deadline=None)
@given(rate=st.floats(0.5, 5000), at_once=st.integers(0, 20), count=st.integers(0, 60), lazy=st.floats(0, 1))
def test_no_record_is_early_and_none_later_than_it_must(
    patched: pytest.MonkeyPatch, rate: float, at_once: int, count: int, lazy: float
) -> None:
    """The first ones at once, each further one a step after the one before; sending costs a part of the step."""
    a_record = lazy / rate
    times = sent_at(patched, rate, at_once, count, a_record)
    head = min(at_once, count)
    assert times[:head] == pytest.approx([k * a_record for k in range(head)])
    begin = head * a_record
    assert times[head:] == pytest.approx([begin + k / rate for k in range(count - head)])


def test_full_speed_waits_for_nobody(patched: pytest.MonkeyPatch) -> None:
    assert sent_at(patched, None, 0, 100, 0.0) == [0.0] * 100


def test_a_sender_that_was_held_up_catches_up(patched: pytest.MonkeyPatch) -> None:
    """The rate is kept over the whole, not from record to record."""
    times = sent_at(patched, 100.0, 0, 50, 0.02)  # sending takes twice as long as the step
    assert times == pytest.approx([0.02 * k for k in range(50)])


class Silent(Clock):
    """A broker that is away after some records: those that it never took wait."""

    def __init__(self, takes: int) -> None:
        super().__init__(0.0)
        self.takes = takes

    def __len__(self) -> int:
        return max(0, len(self.sent) - self.takes)

    def flush(self, seconds: float) -> int:
        """Wait in vain."""
        self.now += seconds
        return len(self)


@pytest.mark.parametrize("takes", [0, 3, 10])
def test_a_broker_that_stays_away_is_given_up_with_all_that_waits(patched: pytest.MonkeyPatch, takes: int) -> None:
    """Two minutes in a row, at a slow rate too; what is left of the file is not sent at all."""
    broker = Silent(takes)
    patched.setattr(replay, "Producer", lambda _: broker)
    patched.setattr(replay, "time", broker)
    paced = Replay(Settings(), 0.1)  # a record each ten seconds
    broker.is_set, stops = paced.stop.is_set, paced.stop.set
    patched.setattr(paced, "stop", broker)
    patched.setattr(broker, "set", stops, raising=False)
    result = paced.run([RECORD] * 100)
    assert (result.acknowledged, result.failed) == (takes, result.sent - takes)
    assert result.sent < 100
    assert broker.now - 1000.0 == pytest.approx(10 * takes + replay.DELIVERY_SECONDS, abs=11)
    with pytest.raises(StreamError, match="the broker has been away for 120 s"):
        check(result)


def test_who_does_not_give_up_waits(patched: pytest.MonkeyPatch) -> None:
    """As long as the broker takes, though it is ten hours."""
    broker = Silent(3)
    patched.setattr(replay, "Producer", lambda _: broker)
    patched.setattr(replay, "time", broker)
    paced = Replay(Settings(), 0.1, gives_up=False)
    patched.setattr(broker, "is_set", lambda: broker.now > 1000 + 35_999)
    patched.setattr(paced, "stop", broker)
    assert paced.run([RECORD] * 10_000).sent == 3600


def test_what_was_not_acknowledged_is_an_error_with_its_first_cause() -> None:
    check(Result(5, 5, 0, 1.0, None))
    with pytest.raises(StreamError, match=r"2 of 5 records were not acknowledged .*\(Broker: too large\)"):
        check(Result(5, 3, 2, 1.0, "Broker: too large"))
    with pytest.raises(StreamError, match="stopped before it answered"):
        check(Result(5, 3, 2, 1.0, None))
