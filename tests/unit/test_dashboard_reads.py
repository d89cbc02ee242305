"""What the pages show, read from a real database, without a browser."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from meterwatch.settings import Settings
from meterwatch.storage import queries
from serving.dashboard import address
from serving.dashboard.events_page import PAGE_ROWS
from serving.dashboard.meter_reads import UnknownMeterError
from serving.dashboard.reads import Pages
from serving.dashboard.running import Running, Watch
from tests.alternately import stop_reading
from tests.households import START, household
from tests.instances import free_port
from tests.stored import event, store

if TYPE_CHECKING:
    from datetime import tzinfo
    from pathlib import Path

UTC_ZONE, NEW_YORK = ZoneInfo("UTC"), ZoneInfo("America/New_York")
DAY = 86_400
EVERY = (address.NOW, address.METER, address.EVENTS, address.OVERVIEW, address.HEALTH)


def put(run_dir: Path, meter_id: str, *, day: int, days: int = 1, events: list[dict[str, Any]] | None = None) -> None:
    """Store days of minutes."""
    at, channels = household(days=days, seed=1, start=START + day * DAY)
    stop_reading()
    store(run_dir / "meterwatch.db", meter_id, at, channels, anomalous=np.arange(len(at)) == 60, events=events)


def pages(run_dir: Path, *, zone: tzinfo = UTC_ZONE, model: str | None = "1") -> Pages:
    """The pages of a directory's database."""
    return Pages(Settings(run_dir=run_dir), zone, lambda: model, lambda: None)


@pytest.mark.parametrize("path", EVERY)
def test_an_empty_database_says_what_to_do_and_is_looked_at_again(tmp_path: Path, path: str) -> None:
    shown = pages(tmp_path, model=None).page(path, "")
    assert "meterwatch up" in str(shown.content)
    assert "dvc repro" in str(shown.content)
    assert shown.again_ms > 0
    assert "dvc repro" not in str(pages(tmp_path).page(path, "").content)


@pytest.mark.parametrize("path", EVERY)
def test_readings_that_nobody_judges_are_shown_with_the_next_step(tmp_path: Path, path: str) -> None:
    put(tmp_path, "m", day=0)
    judged, alone = pages(tmp_path).page(path, ""), pages(tmp_path, model=None).page(path, "")
    assert "dvc repro" not in str(judged.content)
    assert (judged.again_ms == 0) == (path != address.HEALTH)
    assert "dvc repro" in str(alone.content)
    assert alone.again_ms > 0


def test_days_months_and_hours_are_the_zones(tmp_path: Path) -> None:
    at, channels = household(days=1, seed=1)
    store(tmp_path / "meterwatch.db", "m", at[:60], channels[:, :60])
    shown = pages(tmp_path, zone=NEW_YORK).overview("m")
    assert shown.daily["data"][0]["x"] == ["2008-12-31"]
    assert shown.monthly["data"][0]["x"] == ["2008-12"]
    (heat,) = shown.week["data"]
    (found,) = [(day, hour) for day in range(7) for hour in range(24) if heat["z"][day][hour] is not None]
    assert found == (2, 19)  # Wednesday evening, five hours before Thursday's first
    assert "2008-12-31 19:00" in shown.spanned
    assert "America/New_York" in shown.spanned


def test_a_page_stays_with_its_meter_when_another_reports_later(tmp_path: Path) -> None:
    put(tmp_path, "a", day=0)
    assert pages(tmp_path).page(address.METER, "").meter_id == "a"
    put(tmp_path, "b", day=5)
    assert pages(tmp_path).page(address.METER, "").meter_id == "b"
    newest = START + DAY - 60
    assert pages(tmp_path).live("", "a", newest) is None
    put(tmp_path, "a", day=1)
    moved = pages(tmp_path).live("", "a", newest)
    assert moved is not None
    assert moved.newest == newest + DAY
    assert moved.figure is not None
    assert "meter=a" in moved.figure["layout"]["uirevision"]


@pytest.mark.parametrize(("end", "moves"), [("2009-01-01T12:00", False), ("2009-01-02T12:00", True)])
def test_a_picture_of_the_past_stays_while_the_verdict_moves(tmp_path: Path, end: str, *, moves: bool) -> None:
    put(tmp_path, "a", day=0)
    put(tmp_path, "a", day=1)
    moved = pages(tmp_path).live(f"?meter=a&start=2009-01-01&end={end}", "a", START + DAY - 60)
    assert moved is not None
    assert (moved.figure is not None) == moves
    assert "2009-01-02 23:59" in str(moved.verdict)


def test_a_range_without_readings_says_when_there_are_some(tmp_path: Path) -> None:
    put(tmp_path, "a", day=0)
    shown = pages(tmp_path).page(address.METER, "?meter=a&start=2030-01-01&end=2030-01-02")
    assert "2009-01-01 00:00" in str(shown.content)


def test_an_open_event_lasts_until_the_newest_reading(tmp_path: Path) -> None:
    put(tmp_path, "a", day=0, events=[event(0, "a", START + 3600, None)])
    shown = str(pages(tmp_path).page(address.EVENTS, "").content)
    assert "going on" in shown
    assert "22 h 59 min" in shown
    moved = pages(tmp_path).live("", "a", 0)
    assert moved is not None
    assert moved.figure is not None
    (tint,) = moved.figure["layout"]["shapes"]
    assert (tint["x0"], tint["x1"]) == ((START + 3600) * 1000, (START + DAY - 60) * 1000)


@pytest.mark.parametrize(("energy", "cost"), [(1.5, "+0.38"), (-1.5, "\u22120.38"), (None, "\u2013")])
def test_cost_has_the_sign_of_the_energy(tmp_path: Path, energy: float | None, cost: str) -> None:
    put(tmp_path, "a", day=0, events=[event(0, "a", START + 3600, START + 7200) | {"energy_kwh": energy}])
    assert cost in str(pages(tmp_path).page(address.EVENTS, "").content)


def test_a_page_of_events_beyond_the_last_is_the_last(tmp_path: Path) -> None:
    put(tmp_path, "m", day=0, events=[event(k, "m", START + k, START + k) for k in range(PAGE_ROWS + 1)])
    shown = str(pages(tmp_path).page(address.EVENTS, "?page=99").content)
    assert f"{PAGE_ROWS + 1} to {PAGE_ROWS + 1} of" in shown


def test_a_file_holds_every_row_that_was_asked_for(tmp_path: Path) -> None:
    """More than a page of the list, narrowed and ordered as the address says, in the zone's time."""
    count = PAGE_ROWS + 1
    put(tmp_path, "m", day=0, events=[event(k, "m", START + k, None if k else START + 60) for k in range(count)])
    put(tmp_path, "other", day=0)
    shown = pages(tmp_path, zone=NEW_YORK)

    def saved(path: str, search: str, meter_id: str | None = None) -> list[dict[str, str]]:
        return list(csv.DictReader(shown.file(path, search, meter_id)["content"].splitlines()))

    assert [row["event_id"] for row in saved(address.EVENTS, "?meter=m")] == [f"m-{k}" for k in reversed(range(count))]
    (ended,) = saved(address.EVENTS, "?end=2008-12-31T19:00:00")
    assert (ended["start_at"], ended["end_at"]) == ("2008-12-31T19:00:00-05:00", "2008-12-31T19:01:00-05:00")
    assert float(ended["cost"]) == round(1.5 * Settings().energy_price, 4)
    assert [row["meter_id"] for row in saved(address.NOW, "?sort=-meter")] == ["other", "m"]
    assert [row["meter_id"] for row in saved(address.NOW, "?q=oth")] == ["other"]
    hour = "?start=2008-12-31T19:00&end=2008-12-31T20:00"
    read = saved(address.METER, hour, "other")
    assert len(read) == 61
    assert [row["anomalous"] for row in read] == ["0"] * 60 + ["1"]
    assert read == saved(address.METER, f"{hour}&meter=other", "m")


def test_the_machines_pace_and_its_last_commit_are_those_that_were_seen(tmp_path: Path) -> None:
    now = [1000.0]
    watch = Watch(Settings(run_dir=tmp_path, kafka_bootstrap_servers=f"127.0.0.1:{free_port()}"), lambda: now[0])

    def look(records: int) -> Running:
        with queries.reading(Settings(run_dir=tmp_path)) as db:
            return watch.look(db, [{"records": records}] if records else [])

    first = look(0)
    assert (first.lag, first.pace, first.committed_at, first.watched_at, first.size) == (None, None, None, 1000, 0)
    assert first.free > 0
    for at, records, pace, committed in ((1010, 50, 5.0, 1010), (1020, 50, 2.5, 1010), (1100, 90, None, 1100)):
        now[0] = at
        seen = look(records)
        assert (seen.pace, seen.committed_at) == (pace, committed)


def test_an_unknown_meter_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a", day=0)
    for path in (address.METER, address.EVENTS, address.OVERVIEW):
        with pytest.raises(UnknownMeterError, match="nobody"):
            pages(tmp_path).page(path, "?meter=nobody")
