"""The read path: bounded, exact, and the same as a plain look at every row."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meterwatch.settings import Settings
from meterwatch.storage import labels, queries
from meterwatch.storage import series as series_module
from tests.households import START, household
from tests.stored import event, store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo
    from pathlib import Path

    from numpy.typing import NDArray

DAY, DAYS = 86_400, 9
ODD_EVERY = 1777


@pytest.fixture(scope="module")
def home() -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Nine days of minutes without an hour of the third, some readings without power, some anomalous."""
    at, channels = household(days=DAYS, seed=3)
    there = (at < START + 2 * 86_400) | (at >= START + 2 * 86_400 + 3600)
    at, channels = at[there], channels[:, there]
    channels[0, 500:510] = np.nan
    return at, channels, np.arange(len(at)) % ODD_EVERY == 5


@pytest.fixture(scope="module")
def filled(
    tmp_path_factory: pytest.TempPathFactory,
    home: tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]],
) -> Settings:
    """A database with the home `h`, an hourly meter `b` that ends later, and four events."""
    run_dir = tmp_path_factory.mktemp("filled")
    at, channels, odd = home
    told = [event(k, "h", START + 3600 * k, START + 3600 * k + 600) for k in range(3)]
    store(run_dir / "meterwatch.db", "h", at, channels, anomalous=odd, events=told)
    later, hourly = household(days=DAYS + 1, seed=4, cadence=3600)
    store(run_dir / "meterwatch.db", "b", later, hourly, events=[event(0, "b", START + 1800, None)])
    return Settings(run_dir=run_dir)


@pytest.fixture(autouse=True)
def _thin_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the small database take the path of the large one: extremes found through the rollups."""
    monkeypatch.setattr(series_module, "READ_WHOLE", 2000)


@given(begin=st.integers(-7200, DAYS * 86_400), length=st.integers(0, DAYS * 86_400), points=st.integers(2, 700))
@settings(max_examples=60, deadline=None)
def test_series_keeps_what_must_be_seen(
    filled: Settings,
    home: tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]],
    begin: int,
    length: int,
    points: int,
) -> None:
    at, channels, odd = home
    start, end = START + begin, START + begin + length
    with queries.reading(filled) as db:
        found = queries.series(db, "h", start, end, points)
    inside = (at >= start) & (at <= end)
    kept = np.isin(at, found["at"])
    assert np.array_equal(np.sort(found["at"]), found["at"])
    assert np.array_equal(at[kept], found["at"])
    assert not (kept & ~inside).any()
    assert kept[odd & inside].all()
    assert np.array_equal(channels[0, kept], found["active_power_kw"], equal_nan=True)
    if inside.sum() <= points:
        assert kept.sum() == inside.sum()
    power = np.where(inside, channels[0], np.nan)
    if not np.isnan(power).all():
        shown = found["active_power_kw"]
        assert (np.nanmin(power), np.nanmax(power)) == (np.nanmin(shown), np.nanmax(shown))
    # Two points a span, two hours in part at either end, and the anomalous ones.
    assert kept.sum() <= points + 4 + (odd & inside).sum()


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, NDArray[np.int64], NDArray[np.float64]]:
    """Four days of minutes of which 2,900 are anomalous: quiet, every few minutes, and for hours on end."""
    run_dir = tmp_path_factory.mktemp("busy")
    at, channels = household(days=4, seed=6)
    share = np.repeat(np.tile([0.0, 0.03, 1.0, 0.9, 0.6], 12), 96)
    odd = np.random.default_rng(6).random(len(at)) < share
    store(run_dir / "meterwatch.db", "m", at, channels, anomalous=odd)
    return Settings(run_dir=run_dir), at[odd], np.stack([at, channels[0]])


@given(begin=st.integers(-7200, 4 * DAY), length=st.integers(0, 4 * DAY), points=st.integers(12, 6000))
@example(begin=0, length=4 * DAY, points=12)
@settings(max_examples=60, deadline=None)
def test_a_picture_has_so_many_points_at_most_and_every_anomaly_inside_a_mark(
    busy: tuple[Settings, NDArray[np.int64], NDArray[np.float64]], begin: int, length: int, points: int
) -> None:
    home, odd, whole = busy
    start, end = START + begin, START + begin + length
    with queries.reading(home) as db:
        found = queries.picture(db, "m", start, end, points)
    at, begins = found["at"], np.flatnonzero(found["stands_for"])
    inside = whole[:, (whole[0] >= start) & (whole[0] <= end)]
    odd = odd[(odd >= start) & (odd <= end)]

    assert len(at) <= points
    assert np.isin(np.stack([at, found["active_power_kw"]]), inside).all()
    if inside.size:
        assert {inside[1].min(), inside[1].max()} <= set(found["active_power_kw"])
    assert np.isin(at[found["anomalous"]], odd).all()
    ends = np.append(begins[1:], len(at))[: len(begins)]
    marks = [at[first:last][found["anomalous"][first:last]] for first, last in zip(begins, ends, strict=True)]
    assert at[found["anomalous"]].tolist() == [one for mark in marks for one in mark]
    covered = [((odd >= mark[0]) & (odd <= mark[-1])).sum() for mark in marks]
    assert (
        covered == found["stands_for"][begins].tolist()
    )  # each mark covers what it says, from an anomaly to an anomaly
    assert sum(covered) == len(odd)  # and together they cover each of them once
    shared = [mark for mark, count in zip(marks, covered, strict=True) if count > 1]
    assert all(mark[-1] - mark[0] <= (length + 1) / max(points // 2 // 2, 1) for mark in shared)
    if len(odd) <= points // 2:
        assert covered == [1] * len(odd)


@pytest.mark.parametrize("zone", [UTC, ZoneInfo("Europe/Paris")], ids=str)
def test_daily_equals_a_sum_by_hand(
    filled: Settings, home: tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]], zone: tzinfo
) -> None:
    at, channels, _ = home
    naive: dict[str, float] = {}
    for moment, power in zip(at.tolist(), channels[0].tolist(), strict=True):
        day = datetime.fromtimestamp(moment, zone).date().isoformat()
        naive[day] = naive.get(day, 0.0) + (0.0 if np.isnan(power) else power / 60)
    with queries.reading(filled) as db:
        days, total, average = queries.daily(db, "h", 3, zone)
    assert days == sorted(naive)
    assert total == pytest.approx([naive[day] for day in days])
    assert average[2:] == pytest.approx([np.mean(total[k - 2 : k + 1]) for k in range(2, len(days))])
    assert np.isnan(average[:2]).all()


def test_week_and_month_equal_means_by_hand(
    filled: Settings, home: tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]
) -> None:
    at, channels, _ = home
    with queries.reading(filled) as db:
        week, (months, mean, average) = queries.week(db, "h"), queries.monthly(db, "h")
    slot = (at // 86_400 + 3) % 7 * 24 + at // 3600 % 24
    power, there = np.nan_to_num(channels[0]), ~np.isnan(channels[0])
    counts = np.bincount(slot, there, 7 * 24)
    assert (counts == 0).sum() == 1  # the hour without readings
    naive = np.bincount(slot, power, 7 * 24) / np.where(counts, counts, np.nan)
    assert week.ravel() == pytest.approx(naive, abs=1e-6, nan_ok=True)
    assert months == ["2009-01"]
    assert mean == pytest.approx([np.nanmean(channels[0])], abs=1e-6)
    assert np.isnan(average).all()


def test_voltage_and_correlation(
    filled: Settings, home: tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]
) -> None:
    _, channels, _ = home
    with queries.reading(filled) as db:
        edges, counts = queries.voltage(db, "h")
        names, matrix = queries.correlation(db, "h")
    assert counts.sum() == channels.shape[1]
    assert (edges[0], edges[-1]) == (channels[2].min(), channels[2].max())
    complete = channels[:, ~np.isnan(channels).any(axis=0)]
    assert matrix == pytest.approx(np.corrcoef(complete))
    assert names[0] == "active_power_kw"


@given(limit=st.integers(1, 4000))
@settings(max_examples=15, deadline=None)
def test_pages_put_together_are_the_whole(
    filled: Settings, home: tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]], limit: int
) -> None:
    at, _, _ = home
    start, end = int(at[100]), int(at[5000])
    found: list[int] = []
    after: int | None = None
    with queries.reading(filled) as db:
        while True:
            page = queries.page(db, "readings", "h", start, end, after=after, limit=limit)
            found += page.columns["at"]
            after = page.after
            if after is None:
                break
    assert found == at[100:5000].tolist()


def test_meters_and_newest(filled: Settings) -> None:
    with queries.reading(filled) as db:
        found = queries.meters(db, 10)
        assert [row["meter_id"] for row in found] == ["b", "h"]
        assert [row["meter_id"] for row in queries.meters(db, 10, after="b")] == ["h"]
        assert queries.latest_meter(db) == "b"
        assert queries.cadence(db, "h") == 60
        assert queries.newest(db, "nobody") is None
        newest = queries.newest_rows(db, 50)
        every = db.execute("SELECT meter_id, at FROM power_data ORDER BY at DESC, meter_id").fetchall()
    assert [row["at"] for row in newest] == [row["at"] for row in every[:50]]


def test_events_by_time_and_page(filled: Settings) -> None:
    with queries.reading(filled) as db:
        everything, total = queries.events(db)
        touching, _ = queries.events(db, "h", start=START + 3600, end=START + 3601)
        rest, again = queries.events(db, before=(everything[0]["start_at"], everything[0]["event_id"]))
    assert total == again == 4
    assert [found["start_at"] for found in everything] == sorted((e["start_at"] for e in everything), reverse=True)
    assert [found["event_id"] for found in touching] == ["h-1"]
    assert rest == everything[1:]


def test_a_label_learns_when_its_event_ended(tmp_path: Path) -> None:
    place, at, power = Settings(run_dir=tmp_path), np.array([1_200_000_000]), np.ones((7, 1))
    store(tmp_path / "meterwatch.db", "h", at, power, events=[event(1, "h", 1_200_000_000, None)])
    assert labels.put(place, "h-1", label="real", note="", by="ada")
    store(tmp_path / "meterwatch.db", "h", at + 60, power, events=[event(1, "h", 1_200_000_000, 1_200_000_060)])
    with closing(sqlite3.connect(tmp_path / "meterwatch.db")) as db:
        assert db.execute("SELECT end_at FROM labels").fetchall() == [(1_200_000_060,)]


def test_a_label_stays_with_its_event(filled: Settings) -> None:
    assert labels.put(filled, "h-1", label="real", note="kettle", by="ada")
    assert labels.put(filled, "h-1", label="false_alarm", note="", by="ada")
    assert not labels.put(filled, "nobody-1", label="real", note="", by="ada")
    with queries.reading(filled) as db:
        found = queries.event(db, "h-1")
    assert found is not None
    assert found["label"] == "false_alarm"


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Settings]:
    yield Settings(run_dir=tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_no_database_answers_like_an_empty_one(empty: Settings) -> None:
    with queries.reading(empty) as db:
        assert queries.meters(db, 10) == []
        assert queries.latest_meter(db) is None
        assert queries.daily(db, "h", 7)[0] == []
        assert queries.monthly(db, "h")[0] == []
        assert queries.newest_rows(db, 10) == []
        assert queries.events(db) == ([], 0)
        assert len(queries.series(db, "h", 0, 10**9, 100)["at"]) == 0
        assert set(queries.statuses(db).values()) == {0}
        assert queries.week(db, "h").shape == (7, 24)
        assert queries.voltage(db, "h")[1].sum() == 0


def test_another_file_in_its_place_is_noticed(filled: Settings, tmp_path: Path) -> None:
    place = Settings(run_dir=tmp_path)
    at, channels = household(days=1, seed=5)
    store(tmp_path / "meterwatch.db", "first", at, channels)
    with queries.reading(place) as db:
        assert queries.latest_meter(db) == "first"
    (tmp_path / "meterwatch.db").unlink()
    shutil.copy(filled.run_dir / "meterwatch.db", tmp_path / "meterwatch.db")
    with queries.reading(place) as db:
        assert queries.latest_meter(db) == "b"
