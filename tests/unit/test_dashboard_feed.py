"""What the feed tells of each commit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from meterwatch.settings import Settings
from meterwatch.storage import tables
from meterwatch.storage.meters import MeterStore
from meterwatch.storage.tables import Advance, Batch
from serving.feed import NEWEST_READINGS, News
from tests.alternately import stop_reading
from tests.households import START, household
from tests.stored import event, store

if TYPE_CHECKING:
    from pathlib import Path


def told(news: News, settings: Settings) -> list[tuple[str, dict[str, Any]]]:
    """The names and contents of the server-sent events of one look."""
    found = []
    for message in news.look(settings).decode().split("\n\n")[:-1]:
        name, data = message.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def put(run_dir: Path, day: int, end: int | None) -> None:
    """Store a day with an event that is the same on each."""
    at, channels = household(days=1, seed=1, start=START + day * 86_400)
    stop_reading()
    store(run_dir / "meterwatch.db", "m", at, channels, events=[event(0, "m", START, end)])


def reject(run_dir: Path) -> None:
    """Commit a batch of nothing but one rejected record."""
    stop_reading()
    with MeterStore(run_dir / "meterwatch.db") as db:
        begin = db.known.ledger("first")["next_offset"][0].as_py()
        rows = {
            "partition": [0],
            "record_offset": [begin],
            "record_key": [b""],
            "raw": [b"?"],
            "reason": ["bad_fields"],
        }
        advance = Advance(0, begin, begin + 1, records=1, stored=0, duplicates=0, rejected=1, held=0)
        batch = Batch(
            "id",
            "first",
            tables.READINGS.empty_table(),
            tables.VERDICTS.empty_table(),
            tables.EVENTS.empty_table(),
            tables.STATES.empty_table(),
            tables.PROFILES.empty_table(),
            tables.SNAPSHOTS.empty_table(),
            pa.table(rows, schema=tables.REJECTED),
            [advance],
        )
        db.commit(batch)


def test_each_commit_is_told_once_with_what_is_new(tmp_path: Path) -> None:
    settings, news = Settings(run_dir=tmp_path), News()
    assert told(news, settings) == [("commit", {"records": 0})]  # nothing is there yet
    assert told(news, settings) == []
    put(tmp_path, 0, None)
    first = told(news, settings)
    assert [name for name, _ in first] == ["reading", "verdict"] * NEWEST_READINGS + ["event", "commit"]
    assert first[-3][1]["at"] == "2009-01-01T23:59:00Z"
    assert first[-2][1]["end_at"] is None
    assert first[-1][1] == {"records": 1440}
    assert told(news, settings) == []
    put(tmp_path, 1, START + 600)
    (changed,) = [data for name, data in told(news, settings) if name == "event"]
    assert changed["end_at"] == "2009-01-01T00:10:00Z"


def test_a_commit_of_rejected_records_alone_is_told_too(tmp_path: Path) -> None:
    settings, news = Settings(run_dir=tmp_path), News()
    put(tmp_path, 0, None)
    assert told(news, settings) == [("commit", {"records": 1440})]  # what was there before is no news
    reject(tmp_path)
    assert told(news, settings) == [("commit", {"records": 1441})]
