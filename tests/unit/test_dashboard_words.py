"""Addresses and wording of the pages."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.dashboard import address, health_page, wording
from serving.dashboard.address import AddressError, View
from serving.dashboard.events_table import around
from serving.dashboard.health_page import ledger_card, rejected_card

UTC_ZONE, PARIS = ZoneInfo("UTC"), ZoneInfo("Europe/Paris")
TIMES = st.integers(0, address.LAST_TIME - 10**6)
METERS = st.one_of(st.none(), st.text(min_size=1, max_size=60).filter(lambda text: text.isprintable()))


@given(meter=METERS, name=st.sampled_from(sorted(address.RANGES)))
def test_a_live_view_survives_its_address(meter: str | None, name: str) -> None:
    view = View(meter, name)
    assert view == address.parse(view.search(PARIS), PARIS)


@given(meter=METERS, start=TIMES, length=st.integers(1, 10**6), zone=st.sampled_from([UTC_ZONE, PARIS]))
def test_a_fixed_view_survives_its_address_in_every_zone(
    meter: str | None, start: int, length: int, zone: ZoneInfo
) -> None:
    view = View(meter, start=start, end=start + length)
    assert view == address.parse(view.search(zone), zone)


def test_times_without_an_offset_are_the_zones() -> None:
    view = address.parse("?meter=m&start=2007-11-01T10:00&end=2007-11-01 12:00:30", PARIS)
    assert view.start == int(datetime(2007, 11, 1, 9, tzinfo=UTC).timestamp())
    assert view.end == int(datetime(2007, 11, 1, 11, 0, 30, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ("?range=2y", "no range '2y'"),
        ("?start=2007-11-01", "both a start and an end"),
        ("?start=2007-11-02&end=2007-11-01", "not after its start"),
        ("?start=now&end=2007-11-01", "'now' is not a time"),
        ("?start=0001-01-01&end=9999-12-31", "1970 to 2199"),
        ("?meter=" + quote("m" * 300), "300 characters"),
    ],
)
def test_an_address_that_cannot_be_says_why(search: str, said: str) -> None:
    with pytest.raises(AddressError, match=said):
        address.parse(search, UTC_ZONE)


def test_a_live_window_ends_at_the_newest_reading_and_all_begins_with_the_oldest() -> None:
    assert View("m", "6h").window(1000, 100_000) == (100_000 - 21_600, 100_000)
    assert View("m", "all").window(1000, 100_000) == (1000, 100_000)
    assert View("m", start=5, end=9).window(1000, 100_000) == (5, 9)


def test_a_short_history_fills_the_picture_down_to_ten_minutes() -> None:
    assert View("m", "1d").window(95_000, 100_000) == (95_000, 100_000)
    for name in address.RANGES:
        assert View("m", name).window(100_000, 100_000) == (99_400, 100_000)


@given(start=TIMES, length=st.integers(0, 10**6))
def test_an_event_is_looked_at_with_time_on_either_side(start: int, length: int) -> None:
    view = around({"meter_id": "m", "start_at": start, "peak_at": start + length}, start + length)
    assert view.at == start + length
    assert view.start is not None
    assert view.end is not None
    assert start - view.start >= 3600
    assert view.end - (start + length) >= 3600


@pytest.mark.parametrize(
    ("value", "digits", "unit", "text"),
    [
        (1234567.0, 0, "", "1,234,567"),
        (1.5, 3, "kW", "1.500 kW"),
        (-2.0, 1, "kWh", "\u22122.0 kWh"),
        (-0.004, 2, "kWh", "0.00 kWh"),
        (None, 1, "kW", wording.MISSING),
        (float("nan"), 1, "kW", wording.MISSING),
    ],
)
def test_numbers(value: float | None, digits: int, unit: str, text: str) -> None:
    assert text == wording.number(value, digits, unit)


@pytest.mark.parametrize(("value", "text"), [(1.5, "+1.5"), (-1.5, "\u22121.5"), (0.0, "0.0"), (0.01, "0.0")])
def test_energy_says_above_or_below(value: float, text: str) -> None:
    assert text == wording.signed(value, 1)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (45, "45 s"), (3600, "1 h"), (5400, "1 h 30 min"), (180_060, "2 d 2 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert text == wording.duration(seconds)


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (0.0, "about once a month"),
        (1.0, "about once in 10 months"),
        (2.0, "about once in 8.3 years"),
        (-1.0, "about once in 3.0 days"),
        (-2.0, "about once in 7.3 hours"),
        (-4.0, "several times an hour"),
    ],
)
def test_a_score_is_told_as_how_often_it_happens(score: float, text: str) -> None:
    assert text == wording.rarity(score)


def test_moments_are_the_zones() -> None:
    at = int(datetime(2007, 7, 1, 12, tzinfo=UTC).timestamp())
    assert wording.moment(at, PARIS) == "2007-07-01 14:00"
    assert wording.moment(at + 7, UTC_ZONE) == "2007-07-01 12:00:07"
    assert wording.moment(None, UTC_ZONE) == wording.MISSING


LEDGER = {
    "topic": "first",
    "partition": 0,
    "next_offset": 12,
    "records": 12,
    "stored": 8,
    "duplicates": 1,
    "rejected": 3,
    "held": 0,
    "pruned": 0,
}


def test_books_that_do_not_balance_are_called_out() -> None:
    assert "NOT" not in str(ledger_card([LEDGER]))
    assert "NOT" in str(ledger_card([LEDGER | {"stored": 7}]))


def test_rejected_bytes_are_shown_as_text_whatever_they_are() -> None:
    samples = [b"\xff\x00x", b"", None, b"9" * 1000]
    shown = str(rejected_card([{"reason": "bad_fields", "records": 4, "samples": samples}]))
    assert "\\\\xff" in shown
    assert "(empty)" in shown
    assert "(1,000 bytes)" in shown
    assert health_page._shown(b"\x00\t\xc3\xa9") == "\\x00\\té"
