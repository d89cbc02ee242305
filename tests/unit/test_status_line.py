"""What `up` prints, on a terminal and elsewhere, on a clock of the test's own."""

from __future__ import annotations

import io
import itertools
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from streaming import status_line
from streaming.replay import Result
from streaming.status_line import CLEAR, EVERY, SPAN, StatusLine, summary

if TYPE_CHECKING:
    from collections.abc import Callable

COUNTS: dict[str, int | None] = {
    "records": 2000, "stored": 1500, "duplicates": 100, "rejected": 400, "held": 0, "anomalous": 12, "events": 3,
    "lag": 1234,
}  # fmt: skip
TEXT = "stored 1,500 · anomalies 12 · events 3 · rejected 400 · lag 1,234 · 0/s"


class Terminal(io.StringIO):
    """A standard output that somebody watches."""

    def isatty(self) -> bool:
        """It is one."""
        return True


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time."""
    now = [0.0]
    monkeypatch.setattr(status_line.time, "monotonic", lambda: now[0])
    return lambda moment: now.__setitem__(0, moment)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    found = Terminal()
    monkeypatch.setattr(status_line, "sys", SimpleNamespace(stdout=found))  # pytest holds the real one
    monkeypatch.setenv("COLUMNS", "200")
    return found


def test_a_terminal_has_one_line_that_moves(at: Callable[[float], None], terminal: Terminal) -> None:
    line = StatusLine()
    at(1.0)
    line.show(COUNTS, 5000)
    line.say("the stream has died")
    line.show({**COUNTS, "lag": 0}, None)
    line.close()
    assert terminal.getvalue() == (
        f"{CLEAR}sent 5,000 · {TEXT}{CLEAR}the stream has died\n{CLEAR}{TEXT.replace('1,234', '0')}\n"
    )


def test_the_line_never_wraps(at: Callable[[float], None], terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    at(1.0)
    StatusLine().show(COUNTS, 5000)
    assert len(terminal.getvalue().removeprefix(CLEAR)) == 19


def test_elsewhere_it_is_plain_lines_now_and_then(
    at: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    line = StatusLine()
    told = []
    for moment in range(100, 131):
        at(float(moment))
        line.show(COUNTS, None)
        told.append(capsys.readouterr().out)
    assert [moment for moment, text in enumerate(told) if text] == [0, EVERY, 2 * EVERY, 3 * EVERY]
    assert {text for text in told if text} == {TEXT + "\n"}
    line.say("a fact")
    line.close()
    assert capsys.readouterr().out == "a fact\n"


def test_what_was_not_sent_stands_out(at: Callable[[float], None], capsys: pytest.CaptureFixture[str]) -> None:
    at(0.0)
    StatusLine().show(COUNTS, 5000, 1200)
    assert capsys.readouterr().out.startswith("sent 5,000 · FAILED 1,200 · stored 1,500")


def test_a_broker_that_is_away_has_no_lag(at: Callable[[float], None], capsys: pytest.CaptureFixture[str]) -> None:
    at(0.0)
    StatusLine().show({**COUNTS, "lag": None}, None)
    assert "lag broker away" in capsys.readouterr().out


def test_the_rate_is_that_of_the_last_seconds(at: Callable[[float], None], terminal: Terminal) -> None:
    """Fifty records a second for a while, then none: the rate falls to nothing within the span and not before."""
    line = StatusLine()
    done = itertools.chain((50 * k for k in range(21)), itertools.repeat(1000))
    rates = []
    for moment in range(30):
        at(float(moment))
        terminal.truncate(terminal.seek(0))
        line.show({**COUNTS, "records": next(done)}, None)
        rates.append(float(terminal.getvalue().rpartition("· ")[2].removesuffix("/s")))
    assert rates[1:21] == [50.0] * 20
    assert all(0 < rate < 50 for rate in rates[21 : 20 + int(SPAN)])
    assert rates[20 + int(SPAN) :] == [0.0] * (10 - int(SPAN))


def test_the_table_says_whether_it_adds_up() -> None:
    told = summary(COUNTS, Result(2001, 2000, 1, 2.0, "late"), [])
    assert [line.split() for line in told.splitlines()] == [
        [], ["sent", "2,001"], ["acknowledged", "2,000"], ["records", "2,000"], ["stored", "1,500"],
        ["duplicates", "100"], ["rejected", "400"], ["held", "0"], ["anomalous", "12"], ["events", "3"],
        ["lag", "1,234"], [], ["Everything", "adds", "up."],
    ]  # fmt: skip
    told = summary({}, None, ["one: 1 is not 2", "lag: 5"])
    assert told.splitlines()[1].split() == ["records", "-"]
    assert told.splitlines()[-2:] == ["DOES NOT ADD UP  one: 1 is not 2", "DOES NOT ADD UP  lag: 5"]
    assert "Everything" not in told
