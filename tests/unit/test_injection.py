"""A fault put into lines on their way: plainly labelled, in its place, and nothing else changed."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meterwatch.detection.errors import DataError
from meterwatch.detection.fault_kinds import KINDS
from streaming.errors import StreamError
from streaming.injection import SECONDS, with_fault
from streaming.lines import numbers
from tests.households import household

if TYPE_CHECKING:
    from collections.abc import Sequence

DAYS = 2
LATE = b"1/1/2009;00:00:00;1;0;240;4;0;0;0"


def lines_of(channels: int = 7) -> list[bytes]:
    """A household's lines; the channels beyond the first few are missing."""
    at, values = household(DAYS, 3)
    missing = ["?"] * (len(values) - channels)
    return [
        b";".join([moment(second), ";".join([*map(str, row), *missing]).encode()])
        for second, row in zip(at.tolist(), values[:channels].T.tolist(), strict=True)
    ]


def moment(second: int) -> bytes:
    return dt.datetime.fromtimestamp(second, dt.UTC).strftime("%-d/%-m/%Y;%H:%M:%S").encode()


LINES = lines_of()


def changed(before: Sequence[bytes], after: Sequence[bytes]) -> list[int]:
    assert len(before) == len(after)
    return [row for row, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_shows_in_its_eight_hours_and_is_labelled(kind: str) -> None:
    after, told = with_fault(LINES, kind)
    rows = changed(LINES, after)
    assert rows
    begin = len(LINES) * 3 // 4
    assert begin <= rows[0]
    assert rows[-1] < begin + SECONDS // 60
    assert told.startswith(f"Not real: a fault {kind!r}")
    first = moment_of(LINES[begin])
    assert first.strftime("%d %b %Y %H:%M") in told
    assert all(numbers(line) is not None for line in after)
    assert all(after[row].split(b";")[:2] == LINES[row].split(b";")[:2] for row in rows)


@settings(max_examples=10, deadline=None)
@example(odd={700: LATE}, first=700)
@given(
    odd=st.dictionaries(
        st.integers(0, len(LINES) - 1),
        st.sampled_from([b"\xff\x00", b"x;y", LATE, b"31/02/2009;00:00:00;1;0;240;4;0;0;0"]),
        max_size=40,
    ),
    first=st.integers(0, len(LINES) * 3 // 4),
)  # fmt: skip
def test_what_is_no_reading_or_not_in_order_is_passed_over(odd: dict[int, bytes], first: int) -> None:
    lines = [odd.get(row, line) for row, line in enumerate(LINES)]
    after, _ = with_fault(lines, "left_on", first)
    rows = changed(lines, after)
    assert rows
    assert not (odd.keys() - {0}) & set(rows)  # the first line is in order whatever its time
    assert first <= rows[0] < len(lines)


def test_a_channel_that_did_not_change_is_the_same_number() -> None:
    after, _ = with_fault(LINES, "left_on")
    for row in changed(LINES, after):
        before, now = numbers(LINES[row]), numbers(after[row])
        assert before is not None
        assert now is not None
        assert np.array(now)[2] == pytest.approx(before[2], abs=1.0)  # volts sag a little, they do not vanish
        assert now[0] >= before[0]


def test_separators_and_missing_values_stay() -> None:
    lines = [line.replace(b";", b",") for line in lines_of(channels=1)]
    after, _ = with_fault(lines, "left_on")
    (row, *_) = changed(lines, after)
    assert after[row].count(b",") == 8
    assert after[row].endswith(b",?,?,?,?,?,?")


@pytest.mark.parametrize(
    ("lines", "kind", "error", "says"),
    [
        ([], "left_on", StreamError, "no UCI lines"),
        ([b"x;y"] * 10, "left_on", StreamError, "no UCI lines"),
        (LINES, "nonsense", DataError, "nonsense"),
    ],
)
def test_what_cannot_be_done_is_said(lines: list[bytes], kind: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        with_fault(lines, kind)


def moment_of(line: bytes) -> dt.datetime:
    date, time = line.decode().split(";")[:2]
    return dt.datetime.strptime(f"{date} {time} +0000", "%d/%m/%Y %H:%M:%S %z")
