"""The database's schema: created, kept, refused."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from meterwatch.storage.migrate import DatabaseError, database_path, migrate, migrations

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = {
    "power_data": "meter_id at global_active_power global_reactive_power voltage global_intensity sub_metering_1 "
    "sub_metering_2 sub_metering_3 partition record_offset",
    "verdicts": "meter_id at status score threshold anomalous expected_kw lower_kw upper_kw reason model_version",
    "events": "event_id meter_id start_at end_at peak_at severity kind energy_kwh model_version",
    "rejected": "topic_id topic partition record_offset raw reason",
    "meter_states": "meter_id state profile at model_version",
    "offsets": "topic_id topic partition next_offset records stored duplicates rejected held pruned",
    "labels": "event_id meter_id start_at end_at label note labelled_by labelled_at",
}


def test_a_new_database_has_the_contract_s_columns(tmp_path: Path) -> None:
    """Every table that outsiders read is there under its name, and the file is in WAL mode."""
    file = tmp_path / "deep" / "m.db"
    assert migrate(file) == len(migrations())
    with closing(sqlite3.connect(file)) as db:
        for table, names in COLUMNS.items():
            have = {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
            assert set(names.split()) <= have, table
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_migrating_again_changes_nothing(tmp_path: Path) -> None:
    """A second start finds the schema as it is and keeps the rows."""
    file = tmp_path / "m.db"
    migrate(file)
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("INSERT INTO profiles VALUES ('m', x'01')")
        before = list(db.iterdump())
    migrate(file)
    with closing(sqlite3.connect(file)) as db:
        assert list(db.iterdump()) == before


def test_migrations_are_numbered_without_a_hole() -> None:
    """The version is a count, so the numbers run from 1."""
    assert [step.version for step in migrations()] == list(range(1, len(migrations()) + 1))


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    """An older program never touches what a newer one wrote."""
    file = tmp_path / "m.db"
    migrate(file)
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("INSERT INTO schema_version VALUES (999, 'future', 0)")
    with pytest.raises(DatabaseError, match="has schema 999"):
        migrate(file)


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" + bytes(range(256)) * 20])
def test_a_corrupt_file_is_named_and_kept(tmp_path: Path, content: bytes) -> None:
    """What is not a database is never overwritten."""
    file = tmp_path / "m.db"
    file.write_bytes(content)
    with pytest.raises(DatabaseError, match=r"m\.db is damaged"):
        migrate(file)
    assert file.read_bytes() == content


def test_someone_else_s_database_is_refused(tmp_path: Path) -> None:
    """A database of another program gets no tables of ours."""
    file = tmp_path / "m.db"
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("CREATE TABLE recipes (name TEXT)")
    content = file.read_bytes()
    with pytest.raises(DatabaseError, match="not a meterwatch database"):
        migrate(file)
    assert file.read_bytes() == content


def test_another_kind_of_address_is_refused() -> None:
    """Only SQLite today, and the message says so."""
    with pytest.raises(DatabaseError, match="sqlite:///FILE"):
        database_path("postgresql://127.0.0.1/m")
