"""A disk that is full, a database that another process holds: a clear line, nothing half written, and on it goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from meterwatch.kafka import Topic
from meterwatch.storage.meters import MeterStore
from meterwatch.storage.migrate import DatabaseError
from streaming.batches import Batches
from tests.comparing import compare, differences
from tests.instances import ROOT
from tests.small_disk import fill, small_disk
from tests.unit.conftest import dumped
from tests.unit.test_batches import Stream, judge, parsed, records_of

RECORDS = records_of(1, 4000)
BATCH = 500
ROOMS = (0, 4096, 8192, 20_000, 40_000, 80_000)  # bytes
HOLD = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("BEGIN IMMEDIATE")
print(flush=True)
sys.stdin.read()
"""


def take(store: MeterStore, begin: int, end: int) -> None:
    """Have some records judged and committed, as a stream that starts at the ledger does."""
    offsets = {row["partition"]: row["next_offset"] for row in store.known.ledger("first").to_pylist()}
    batches = Batches(store, judge, Topic("first", "id", {0: (0, 0)}), offsets)
    try:
        batches.take(parsed(RECORDS[begin:end], begin))
        batches.finish()
    finally:
        batches.close()


def calm(file: Path) -> Path:
    """The database of a stream that had room and was alone."""
    stream = Stream(file)
    stream.take(RECORDS)
    stream.store.close()
    return file


def test_wherever_the_disk_is_full_nothing_is_half_written(tmp_path: Path) -> None:
    with small_disk(tmp_path, "16m") as disk:
        done = subprocess.run(
            disk.inside(sys.executable, "-m", "tests.unit.test_full_disk", tmp_path),
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr


def run_full(disk: Path) -> None:
    """Each batch with less room than it needs, several times; then with enough."""
    store, failed = MeterStore(disk / "m.db"), 0
    for begin in range(0, len(RECORDS), BATCH):
        for room in ROOMS:
            before = dumped(store)
            filler = fill(disk, room)
            try:
                take(store, begin, begin + BATCH)
            except DatabaseError as error:
                failed += 1
                filler.unlink()
                assert "make space and start again, nothing was half written" in str(error)  # noqa: PT017
                assert dumped(store) == before
            else:
                filler.unlink()
        take(store, begin, begin + BATCH)
    store.close()
    assert failed >= len(ROOMS), failed
    assert differences(compare(disk / "m.db", calm(disk / "calm.db"))) == 0


def test_a_database_that_is_locked_is_said_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "m.db"
    with MeterStore(file, busy_seconds=0.05) as store:
        take(store, 0, BATCH)
        before = dumped(store)
        with subprocess.Popen(
            [sys.executable, "-c", HOLD, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other:
            assert other.stdout is not None
            other.stdout.readline()
            with pytest.raises(DatabaseError, match="is locked by another process; end that process, or try again"):
                take(store, BATCH, len(RECORDS))
            assert dumped(store) == before
            other.communicate()
        take(store, BATCH, len(RECORDS))
    assert differences(compare(file, calm(tmp_path / "calm.db"))) == 0


if __name__ == "__main__":
    run_full(Path(sys.argv[1]))
