"""The page of now: states, order, pages, search and the day's line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterwatch.settings import Settings
from meterwatch.storage import queries, standing
from serving.dashboard import listing
from serving.dashboard.address import AddressError
from serving.dashboard.listing import ORDERS, PAGE_ROWS, STATES, Listing
from serving.dashboard.now_page import now_body
from serving.dashboard.sparkline import sparkline
from serving.dashboard.standings import Listed, Standings
from tests.alternately import stop_reading
from tests.households import START, household
from tests.stored import event, store

if TYPE_CHECKING:
    from pathlib import Path

HOUR, DAY = 3600, 86_400
HOSTILE = "<script>alert(1)</script>"
METERS = 2 * PAGE_ROWS + 7


def put(run_dir: Path, meter_id: str, *, cadence: int = 300, hours: float = 24, odd: bool = False) -> int:
    """Store a meter from START on; answers the time of its newest reading."""
    at, channels = household(days=1, seed=len(meter_id), cadence=cadence)
    at, channels = at[at < START + hours * HOUR], channels[:, at < START + hours * HOUR]
    stop_reading()
    told = [event(0, meter_id, int(at[-1]), None)] if odd else []
    store(run_dir / "meterwatch.db", meter_id, at, channels, anomalous=np.arange(len(at)) >= len(at) - odd, events=told)
    return int(at[-1])


def listed(run_dir: Path, asked: Listing, *, now: float = START + 9 * DAY) -> Listed:
    """What a page shows, at a time of the clock."""
    with queries.reading(Settings(run_dir=run_dir)) as db:
        return Standings(lambda: now).listed(db, asked)


def states(run_dir: Path, *, now: float) -> dict[str, str]:
    """Every meter's state."""
    return {row.meter.meter_id: row.state for row in listed(run_dir, Listing(), now=now).rows}


@given(
    text=st.text(max_size=40).map(str.strip),
    state=st.sampled_from(["", *STATES]),
    order=st.sampled_from(ORDERS),
    descending=st.booleans(),
    page=st.integers(1, 10**6),
)
def test_a_listing_survives_its_address(text: str, state: str, order: str, *, descending: bool, page: int) -> None:
    asked = Listing(text, state, order, descending, page)
    assert listing.parse(asked.query()) == asked


@pytest.mark.parametrize(
    ("search", "said"),
    [("?state=odd", "no state"), ("?sort=name", "no order"), ("?page=0", "no page"), ("?q=" + "m" * 300, "300")],
)
def test_an_address_that_lists_nothing_says_why(search: str, said: str) -> None:
    with pytest.raises(AddressError, match=said):
        listing.parse(search)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More meters than two pages hold, some anomalous, one of them with a hostile id."""
    run_dir: Path = tmp_path_factory.mktemp("many")
    for k in range(METERS - 1):
        put(run_dir, f"m{k:03d}" + "x" * (k % 7), cadence=3600, odd=k % 10 == 0)
    put(run_dir, HOSTILE, cadence=3600)
    return run_dir


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("descending", [False, True])
def test_pages_hold_every_meter_once_in_the_order_asked_for(many: Path, order: str, *, descending: bool) -> None:
    pages = [listed(many, Listing(order=order, descending=descending, page=page)) for page in (1, 2, 3)]
    rows = [row for page in pages for row in page.rows]
    assert [len(page.rows) for page in pages] == [PAGE_ROWS, PAGE_ROWS, 7]
    assert len({row.meter.meter_id for row in rows}) == METERS == pages[0].found
    values = {
        "state": [STATES.index(row.state) for row in rows],
        "meter": [row.meter.meter_id for row in rows],
        "power": [row.meter.power for row in rows],
        "severity": [row.meter.severity or -1.0 for row in rows],
    }.get(order, [])
    known = [value for value in values if value != -1.0]
    assert known == sorted(known, reverse=descending)
    assert values[: len(known)] == known  # what is unknown comes last


def test_a_page_beyond_the_last_is_the_last(many: Path) -> None:
    shown = listed(many, Listing(page=99))
    assert shown.listing.page == 3
    assert len(shown.rows) == 7


def test_search_and_state_narrow_the_list_and_are_counted(many: Path) -> None:
    every = listed(many, Listing())
    assert every.counts == {"anomalous": 11, "silent": 0, "unjudged": 0, "warming_up": 0, "normal": METERS - 11}
    found = listed(many, Listing("M01"))
    assert {row.meter.meter_id[:3] for row in found.rows} == {"m01"}
    assert found.counts["anomalous"] == 1
    only = listed(many, Listing("m01", "anomalous"))
    assert (only.found, only.counts) == (1, found.counts)
    assert [row.meter.meter_id for row in listed(many, Listing(HOSTILE)).rows] == [HOSTILE]


def test_every_row_is_told_and_an_empty_list_says_so(many: Path) -> None:
    zone = ZoneInfo("UTC")
    told = str(now_body(listed(many, Listing()), None, zone=zone))
    assert "1 to 50 of 107 meters" in told
    assert "2009-01-01 23:00 (UTC)" in told
    assert "holds “nobody”" in str(now_body(listed(many, Listing("nobody")), None, zone=zone))
    assert "in this state" in str(now_body(listed(many, Listing(state="silent")), None, zone=zone))


def test_silence_takes_three_cadences_and_an_hour(tmp_path: Path) -> None:
    minutes, half_hours = put(tmp_path, "minutes", cadence=60), put(tmp_path, "half hours", cadence=1800)
    assert states(tmp_path, now=minutes + HOUR) == {"half hours": "normal", "minutes": "normal"}
    assert states(tmp_path, now=minutes + HOUR + 1) == {"half hours": "normal", "minutes": "silent"}
    assert states(tmp_path, now=half_hours + 3 * 1800)["half hours"] == "normal"
    assert states(tmp_path, now=half_hours + 3 * 1800 + 1)["half hours"] == "silent"


def test_in_a_replay_silence_counts_to_the_newest_reading_of_all(tmp_path: Path) -> None:
    put(tmp_path, "gone", hours=10, odd=True)
    newest = put(tmp_path, "there", odd=True)
    assert states(tmp_path, now=newest + 5 * 365 * DAY) == {"gone": "silent", "there": "anomalous"}
    shown = listed(tmp_path, Listing(), now=newest + 5 * 365 * DAY)
    assert (shown.now, shown.replayed) == (newest, True)
    assert not listed(tmp_path, Listing(), now=newest + HOUR).replayed


def test_meters_are_read_again_only_after_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    standings = standing.standings
    monkeypatch.setattr(standing, "standings", lambda db: read.append(1) or standings(db))
    shown, settings = Standings(lambda: START + 9 * DAY), Settings(run_dir=tmp_path)
    for count, meters in ((1, ("a",)), (2, ("a", "b"))):
        put(tmp_path, meters[-1])
        for _ in range(3):
            with queries.reading(settings) as db:
                assert shown.listed(db, Listing()).found == len(meters)
        assert len(read) == count


def test_a_standing_is_the_newest_reading_with_its_verdict_and_event(many: Path) -> None:
    with queries.reading(Settings(run_dir=many)) as db:
        for found in standing.standings(db):
            newest = queries.newest(db, found.meter_id)
            assert newest is not None
            assert (found.at, found.power, found.expected, found.status) == tuple(
                newest[name] for name in ("at", "active_power_kw", "expected_kw", "status")
            )
            events, _ = queries.events(db, found.meter_id, limit=1)
            assert found.event_open == bool(events)
            assert standing.first_scored(db, found.meter_id) == START


def test_a_days_line_holds_the_hours_means_and_their_anomalies(tmp_path: Path) -> None:
    at, channels = household(days=2, seed=3, cadence=300)
    there = (at < START + 30 * HOUR) | (at >= START + 33 * HOUR)
    odd = (at >= START + 40 * HOUR) & (at < START + 41 * HOUR)
    store(tmp_path / "meterwatch.db", "m", at[there], channels[:, there], anomalous=odd[there])
    with queries.reading(Settings(run_dir=tmp_path)) as db:
        mean, anomalous = standing.day_before(db, "m", START + 2 * DAY - 1)
    power = np.where(there, channels[0], np.nan)[at >= START + DAY].reshape(24, -1)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(mean, power.mean(axis=1), atol=1e-9)
    assert np.flatnonzero(np.isnan(mean)).tolist() == [6, 7, 8]
    assert np.flatnonzero(anomalous).tolist() == [16]
    image = sparkline(mean, anomalous)
    svg = unquote(image.src)
    assert svg.count("M") == 2 + 1  # two runs of hours, one diamond
    places = [float(place) for place in re.findall(r",([\d.]+)", svg)]
    assert all(0 < place < image.height for place in places)
    assert "1 anomalous hour" in image.alt
    assert "No reading" in sparkline(np.full(24, np.nan), np.zeros(24, bool)).alt
