"""The database's schema: created, kept, refused."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meterwatch.settings import Settings
from meterwatch.storage import queries
from meterwatch.storage.migrate import APPLICATION_ID, DatabaseError, database_path, migrate, migrations
from tests.unit.test_batches import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD = sorted((Path(__file__).parents[1] / "old").glob("schema_*.sql"))
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


@pytest.fixture(params=OLD, ids=lambda path: path.stem)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A database that an older version's stream wrote, with readings, events, states, rejected records and a label."""
    file = tmp_path / "m.db"
    with closing(sqlite3.connect(file)) as db, db:
        db.executescript(request.param.read_text())
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    return file


def rows(file: Path, tables: dict[str, str]) -> dict[str, list[tuple[object, ...]]]:
    """The rows of some tables, in the columns given."""
    with closing(sqlite3.connect(file)) as db:
        return {
            name: sorted(db.execute(f"SELECT {columns} FROM {name}").fetchall(), key=repr)
            for name, columns in tables.items()
        }


def test_an_older_database_is_migrated_with_its_rows_and_goes_on(old: Path) -> None:
    """Every row is what it was, and the stream goes on from it: it knows what is stored, its states and offsets."""
    with closing(sqlite3.connect(old)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")]
        tables = {name: ", ".join(row[1] for row in db.execute(f"PRAGMA table_info({name})"))
                  for name in names if name != "schema_version"}  # fmt: skip
    before = rows(old, tables)
    assert all(before[name] for name in COLUMNS)
    assert migrate(old) == len(migrations())
    assert rows(old, tables) == before
    with closing(sqlite3.connect(old)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert {row[0] for row in db.execute("SELECT meter_id FROM state_snapshots WHERE state IS NULL")} == {"a", "b"}

    stream = Stream(old)
    stream.batches.offsets.update({0: 120})
    stream.take([("a", 119 * 60, 1.0), ("a", 119 * 60, 2.0), ("a", 7260, 1.0), ("a", None, None)], 120)
    (ledger,) = stream.store.known.ledger("first").to_pylist()
    stream.store.close()
    (was,) = before["offsets"]
    names = tables["offsets"].split(", ")
    grown = {name: ledger[name] - was[names.index(name)] for name in ("records", "stored", "duplicates", "rejected")}
    assert grown == {"records": 4, "stored": 1, "duplicates": 1, "rejected": 2}
    assert ("a", 7260, "scored") in rows(old, {"verdicts": "meter_id, at, status"})["verdicts"]


def test_a_reader_brings_an_older_database_up_to_date_too(old: Path) -> None:
    """A service may start before the stream does."""
    with queries.reading(Settings(database_url=f"sqlite:///{old}")) as db:
        assert db.execute("SELECT count(*) FROM sent_again").fetchone()[0] == 0
        assert db.execute("SELECT max(version) FROM schema_version").fetchone()[0] == len(migrations())


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


def test_a_reader_refuses_what_a_writer_does(tmp_path: Path) -> None:
    """With the same words, and the file is left as it is."""
    file, good = tmp_path / "m.db", Settings(run_dir=tmp_path)
    migrate(file)
    migrate(tmp_path / "meterwatch.db")
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("INSERT INTO schema_version VALUES (999, 'future', 0)")
    with queries.reading(good) as db:
        assert queries.ledger(db) == []
    with (
        pytest.raises(sqlite3.DatabaseError, match="has schema 999"),
        queries.reading(Settings(database_url=f"sqlite:///{file}")),
    ):
        pytest.fail("it was opened")
    with queries.reading(good) as db:
        assert queries.ledger(db) == []
    file.write_bytes(b"not a database at all" * 100)
    with (
        pytest.raises(sqlite3.DatabaseError, match=r"m\.db is damaged"),
        queries.reading(Settings(database_url=f"sqlite:///{file}")),
    ):
        pytest.fail("it was opened")


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
