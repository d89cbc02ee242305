"""When `up` is done, what it hears, and that it ends everything: its own steps, with parts that are stand-ins."""

from __future__ import annotations

import os
import signal
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from meterwatch.settings import Settings
from streaming import children, sending, supervisor
from streaming.broker import Broker
from streaming.errors import BrokerAwayError
from streaming.replay import Result
from streaming.sending import Sending
from streaming.supervisor import Supervisor, _told_to_end

if TYPE_CHECKING:
    from pathlib import Path

COUNTS = {"records": 3, "stored": 3, "duplicates": 0, "rejected": 0, "held": 0, "anomalous": 0, "events": 0}


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    """A supervisor whose parts need no care."""
    monkeypatch.setattr(supervisor, "LOOK", 0.0)
    monkeypatch.setattr(supervisor, "TICK", 0.001)
    settings = Settings(run_dir=tmp_path)
    found = Supervisor(settings, Broker(settings), threading.Event())
    monkeypatch.setattr(found, "_revive", lambda **_: None)
    return found


def sent(result: Result, monkeypatch: pytest.MonkeyPatch) -> Sending:
    """A replay that has ended so."""
    replay = SimpleNamespace(run=lambda _: result, sent=result.sent, failed=result.failed)
    monkeypatch.setattr(sending, "Replay", lambda *_, **__: replay)
    found = Sending(Settings(), [], None, 0)
    found._thread.join()
    return found


def test_what_is_sent_during_a_look_is_waited_for(parts: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last records leave while the counts are taken, which do not know them yet: that is not the end."""
    lags = [0, 3, 3, 0]
    monkeypatch.setattr(Sending, "has_ended", property(lambda _: len(lags) < 4))
    parts._sending = sent(Result(3, 3, 0, 1.0, None), monkeypatch)
    monkeypatch.setattr(parts, "_look", lambda: parts._counts.update(lag=lags.pop(0)))
    parts.run(exit_when_done=True, open_browser=False)
    assert lags == []


def test_a_broker_that_is_away_is_not_the_end(parts: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    lags = [None, None, 0]
    monkeypatch.setattr(parts, "_look", lambda: parts._counts.update(lag=lags.pop(0)))
    parts.run(exit_when_done=True, open_browser=False)
    assert lags == []


def test_without_that_wish_it_goes_on_until_it_is_told(parts: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def look() -> None:
        parts._counts["lag"] = 0
        looks.append(1)
        if len(looks) == 5:
            parts._told.set()

    monkeypatch.setattr(parts, "_look", look)
    parts.run(exit_when_done=False, open_browser=False)
    assert len(looks) == 5


@pytest.mark.parametrize(
    ("lag", "became", "broken", "code", "says"),
    [
        (0, Result(3, 3, 0, 1.0, None), [], 0, "Everything adds up."),
        (0, None, [], 0, "Everything adds up."),
        (2, None, [], 1, "lag: 2 records are not accounted for yet"),
        (None, None, [], 1, "lag: None"),
        (0, Result(3, 2, 1, 1.0, "x"), [], 1, "sent: 1 records were not acknowledged"),
        (0, None, ["rows of rejected = rejected: 1 is not 2"], 1, "rows of rejected = rejected: 1 is not 2"),
    ],
)
def test_the_exit_code_is_the_accounts(
    parts: Supervisor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    lag: int | None, became: Result | None, broken: list[str], code: int, says: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(supervisor.accounts, "broken_identities", lambda _: list(broken))
    parts._counts = {**COUNTS, "lag": lag}
    parts._sending = sent(became, monkeypatch) if became else None
    assert parts.result() == code
    assert says in capsys.readouterr().out


def test_what_was_not_acknowledged_is_told_once(
    parts: Supervisor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts._sending = sent(Result(5, 3, 2, 1.0, "too large"), monkeypatch)
    assert parts._has_sent()
    assert parts._has_sent()
    assert capsys.readouterr().out.count("2 of 5 records were not acknowledged") == 1


def test_every_part_is_ended_whatever_becomes_of_the_others(parts: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that is gone cannot be written to; that keeps nothing running."""
    ended: list[str] = []

    def ends(name: str) -> Any:
        def end() -> None:
            ended.append(name)
            raise OSError(name)

        return end

    monkeypatch.setattr(parts._line, "close", ends("line"))
    monkeypatch.setattr(parts, "_end_replay", ends("replay"))
    monkeypatch.setattr(parts._stream, "end", ends("stream"))
    monkeypatch.setattr(parts._service, "end", ends("service"))
    monkeypatch.setattr(parts, "_end_broker", ends("broker"))
    with pytest.raises(OSError, match="broker"):
        parts.end()
    assert ended == ["line", "replay", "stream", "service", "broker"]


@pytest.mark.parametrize(("times", "seconds", "gives_up"), [(0, 0, False), (2, 0, False), (7, 60, False), (3, 0, True)])
@pytest.mark.parametrize("moment", ["start", "look", "replay"])
def test_a_broker_that_is_killed_while_all_starts_is_started_again(
    parts: Supervisor, monkeypatch: pytest.MonkeyPatch, moment: str, times: int, seconds: float, *, gives_up: bool
) -> None:
    """Before it answers, before its topic is looked at, or before there is a sender, unless it is so for long."""
    faults = [BrokerAwayError("gone")] * times
    begun: list[str] = []

    def does(name: str) -> Any:
        def step(*_: object, **__: object) -> Any:
            if name == moment and faults:
                raise faults.pop()
            begun.append(name)
            return SimpleNamespace(run=lambda _: Result(0, 0, 0, 0.0, None))

        return step

    monkeypatch.setattr(children, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(children, "GIVE_UP_SECONDS", seconds)
    parts._patience.works()
    for child in (parts._service, parts._stream):
        monkeypatch.setattr(child, "watch", does("child"))
    monkeypatch.setattr(parts._broker, "start", does("start"))
    monkeypatch.setattr(parts, "_same_topic", does("look"))
    monkeypatch.setattr(sending, "Replay", does("replay"))
    if gives_up:
        with pytest.raises(BrokerAwayError):
            parts.start([], None, 0)
    else:
        parts.start([], None, 0)
        assert begun[-3:] == ["start", "look", "replay"]
    assert begun.count("child") == 2


@pytest.mark.parametrize("number", supervisor.ENDING)
def test_signals_are_heard_for_as_long_as_it_runs(number: signal.Signals) -> None:
    before = signal.signal(number, lambda *_: pytest.fail("not ours"))
    try:
        with _told_to_end() as told:
            assert not told.is_set()
            os.kill(os.getpid(), number)
            assert told.wait(5)
        assert signal.getsignal(number) is not signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _told_to_end() as told:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert not told.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)
