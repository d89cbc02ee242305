"""Batches on their way at once: judged while the one before is written, and never written out of turn or half."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from meterwatch.storage.migrate import DatabaseError
from tests.instances import wait_for
from tests.unit.test_batches import Stream, judge, ledger, parsed, records_of

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from meterwatch.storage.tables import Batch
    from tests.unit.test_batches import Dump

SIZE = 1000


class Gates:
    """Holds back what a stream asks and writes, until each is let through."""

    def __init__(self, stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = self.written = 0
        self.asking, self.writing = threading.Semaphore(0), threading.Semaphore(0)
        self._commit = stream.store.commit
        stream.ask = self._ask
        monkeypatch.setattr(stream.store, "commit", self._write)

    def _ask(self, request: pa.Table) -> pa.Table:
        if not request.num_rows:  # who answers?
            return judge(request)
        self.asked += 1
        assert self.asking.acquire(timeout=60)
        return judge(request)

    def _write(self, batch: Batch) -> None:
        self.written += 1
        assert self.writing.acquire(timeout=60)
        self._commit(batch)

    def open(self) -> None:
        """Let everything through from now on."""
        for gate in (self.asking, self.writing):
            gate.release(1000)


def take(stream: Stream, number: int) -> None:
    """Hand over the batch of this number and wait for nothing."""
    stream.batches.take(parsed(records_of(3, 4 * SIZE)[number * SIZE : (number + 1) * SIZE], number * SIZE))


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    return Stream(tmp_path / "m.db")


@pytest.fixture
def gates(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> Gates:
    return Gates(stream, monkeypatch)


def test_a_batch_is_judged_with_the_states_that_the_one_being_written_brings(
    stream: Stream, gates: Gates, dump: Dump, tmp_path: Path
) -> None:
    """Late readings, doubles and conflicts are decided against it as well: the tables are those of one at a time."""
    gates.asking.release(2)
    for number in (0, 1, 2):  # the last one is handed over when the second is decided, that is when the first is there
        if number == 2:
            wait_for("the second batch to be asked about", lambda: gates.asked == 2)
            assert (gates.written, stream.batches.offsets) == (1, {})
            gates.writing.release()
        take(stream, number)
    wait_for("the third to be asked about", lambda: gates.asked == 3)
    gates.open()
    stream.batches.finish()
    alone = Stream(tmp_path / "alone.db")
    for number in (0, 1, 2):
        take(alone, number)
        alone.batches.finish()
    assert dump(stream.store) == dump(alone.store)


def test_what_cannot_be_written_stops_what_was_judged_after_it(
    stream: Stream, gates: Gates, dump: Dump, monkeypatch: pytest.MonkeyPatch
) -> None:
    gates.open()
    take(stream, 0)
    stream.batches.finish()
    before = dump(stream.store)

    def refuse(_: Batch) -> None:
        wait_for("the next batch to be asked about", lambda: gates.asked == 3)
        raise DatabaseError("the disk is full")

    monkeypatch.setattr(stream.store, "commit", refuse)
    take(stream, 1)
    take(stream, 2)
    with pytest.raises(DatabaseError, match="full"):
        stream.batches.finish()
    with pytest.raises(DatabaseError, match="full"):
        take(stream, 3)
    assert str(stream.batches.failure) == "the disk is full"
    assert dump(stream.store) == before
    assert stream.batches.offsets == {0: SIZE}

    monkeypatch.setattr(stream.store, "commit", gates._commit)
    stream.begin()
    for number in (1, 2, 3):
        take(stream, number)
    stream.batches.finish()
    assert ledger(stream)["next_offset"] == 4 * SIZE


def test_what_cannot_be_judged_lets_the_batch_before_it_be_written(stream: Stream, gates: Gates) -> None:
    gates.asking.release()
    take(stream, 0)
    wait_for("the first batch to be asked about", lambda: gates.asked == 1)
    stream.ask = lambda _: pytest.fail("no service")
    take(stream, 1)
    gates.open()
    with pytest.raises(pytest.fail.Exception):
        stream.batches.finish()
    stream.batches.close()
    assert ledger(stream)["next_offset"] == SIZE


def test_the_end_finishes_what_is_being_judged_and_leaves_the_rest(stream: Stream, gates: Gates) -> None:
    """Both batches on their way are whole in the database; one that came after the end was asked for is not there."""
    gates.asking.release()
    take(stream, 0)
    take(stream, 1)
    wait_for("the second batch to be asked about", lambda: gates.asked == 2)
    stream.batches.ending = True
    gates.open()
    take(stream, 2)
    stream.batches.close()
    assert not stream.batches.is_busy()
    assert (gates.asked, ledger(stream)["next_offset"]) == (2, 2 * SIZE)


def test_records_that_come_twice_are_skipped_though_they_are_not_yet_written(stream: Stream, gates: Gates) -> None:
    gates.open()
    take(stream, 0)
    take(stream, 0)
    stream.batches.finish()
    assert ledger(stream)["next_offset"] == SIZE
    assert gates.written == 1
