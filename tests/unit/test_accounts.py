"""The identities of the contract: whichever row is missing, too much or miscounted, what does not add up is named."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from meterwatch.kafka import Topic
from meterwatch.settings import Settings
from meterwatch.storage import tables
from meterwatch.storage.meters import MeterStore
from meterwatch.storage.tables import Advance, Batch
from streaming.accounts import broken_identities, counts, progress
from tests.stored import event, store

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = "records = stored + duplicates + rejected + held"
READINGS = "rows of power_data = stored - pruned"
REJECTED = "rows of rejected = rejected"
HELD = "rows of held_readings = held"
VERDICTS = "verdicts = rows of power_data"
ONE_EACH = "one verdict for each row of power_data"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An instance with ten readings of two meters, two of them anomalous, one duplicate and three rejected records."""
    found = Settings(run_dir=tmp_path)
    file = tmp_path / "meterwatch.db"
    at = np.arange(5, dtype=np.int64) * 60
    power = np.tile(np.arange(5.0), (7, 1))
    store(file, "a", at, power, anomalous=at == 60, events=[event(1, "a", 60, 60)])
    store(file, "b", at, power, anomalous=at == 120)
    rejected = pa.table(
        [[0] * 3, [10, 11, 12], [b"a"] * 3, [b"x"] * 3, ["bad_fields"] * 3], schema=tables.REJECTED
    )  # fmt: skip
    empty = [
        schema.empty_table()
        for schema in (
            tables.READINGS,
            tables.VERDICTS,
            tables.EVENTS,
            tables.STATES,
            tables.PROFILES,
            tables.SNAPSHOTS,
        )
    ]
    advance = Advance(0, 10, 14, records=4, stored=0, duplicates=1, rejected=3, held=0)
    with MeterStore(file) as db:
        db.commit(Batch("id", "first", *empty, rejected, [advance]))
    return found


def change(settings: Settings, sql: str) -> None:
    with closing(sqlite3.connect(settings.run_dir / "meterwatch.db")) as db, db:
        db.execute(sql)


def test_all_is_well(settings: Settings) -> None:
    assert broken_identities(settings) == []


def test_an_instance_without_a_database_adds_up(tmp_path: Path) -> None:
    assert broken_identities(Settings(run_dir=tmp_path / "none")) == []


@pytest.mark.parametrize(
    ("sql", "broken"),
    [
        ("UPDATE offsets SET records = records + 1", [f"{RECORDS}: 15 is not 14"]),
        ("UPDATE offsets SET duplicates = duplicates - 1", [f"{RECORDS}: 14 is not 13"]),
        ("UPDATE offsets SET held = 2", [f"{RECORDS}: 14 is not 16", f"{HELD}: 0 is not 2"]),
        ("UPDATE offsets SET pruned = 1", [f"{READINGS}: 10 is not 9"]),
        ("UPDATE offsets SET stored = 11, duplicates = 0", [f"{READINGS}: 10 is not 11"]),
        ("DELETE FROM rejected WHERE record_offset = 11", [f"{REJECTED}: 2 is not 3"]),
        (
            "DELETE FROM verdicts WHERE meter_id = 'a' AND at = 0",
            [f"{VERDICTS}: 9 is not 10", f"{ONE_EACH}: 9 is not 10"],
        ),
        ("UPDATE verdicts SET at = 7 WHERE meter_id = 'a' AND at = 0", [f"{ONE_EACH}: 9 is not 10"]),
        (
            "DELETE FROM power_data WHERE meter_id = 'b' AND at = 0",
            [f"{READINGS}: 9 is not 10", f"{VERDICTS}: 10 is not 9"],
        ),
    ],
)
def test_each_identity_is_looked_at(settings: Settings, sql: str, broken: list[str]) -> None:
    change(settings, sql)
    assert broken_identities(settings) == broken


def test_counts_are_those_of_this_topic(settings: Settings) -> None:
    topic = Topic("first", "id", {0: (0, 20)})
    expected = {"records": 14, "stored": 10, "duplicates": 1, "rejected": 3, "held": 0, "pruned": 0,
                "late": 0, "anomalous": 2, "events": 1}  # fmt: skip
    assert counts(settings, topic) == {**expected, "lag": 6}
    assert counts(settings, None) == {**expected, "lag": None}
    change(settings, "INSERT INTO offsets SELECT 'old', 'other', 0, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0")
    assert counts(settings, topic) == {**expected, "lag": 6}


def test_progress_is_that_of_each_partition(settings: Settings) -> None:
    """A partition that was never read counts from its first record."""
    expected = [{"partition": 0, "next_offset": 14, "end_offset": 20, "lag": 6},
                {"partition": 1, "next_offset": 3, "end_offset": 5, "lag": 2}]  # fmt: skip
    assert progress(settings, Topic("first", "id", {0: (0, 20), 1: (3, 5)})) == expected
    assert progress(settings, None) == [{"partition": 0, "next_offset": 14, "end_offset": None, "lag": None}]
