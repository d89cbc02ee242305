"""The write path: one writer of readings, verdicts, events, states, rejected records, rollups and the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import pyarrow as pa
import pyarrow.compute as pc

from meterwatch.storage.database import Database
from meterwatch.storage.known import Known
from meterwatch.storage.migrate import DatabaseError, migrate
from meterwatch.storage.retention import Retention
from meterwatch.storage.rollups import UPSERT, rollups
from meterwatch.storage.tables import COUNTS, EVENTS, OF_THESE, PROFILES, RELEASED, STATES

if TYPE_CHECKING:
    from pathlib import Path

    from meterwatch.storage.tables import Batch


class LedgerMovedError(DatabaseError):
    """Another writer has accounted for records of this batch; nothing was written."""


class MeterStore:
    """The one writer. Readers of the same file use short read-only connections of their own processes.

    `known` is what it looks up. Not for use by two threads at once, but for `known.load_states`.
    """

    def __init__(self, path: Path, *, busy_seconds: float = 30.0) -> None:
        """Open the database, made or migrated where needed.

        Raises:
            DatabaseError: see `migrate`.
        """
        migrate(path)
        self._db = Database(path, busy_seconds=busy_seconds)
        self._aside = Database(path, busy_seconds=busy_seconds)
        self.known = Known(self._db, self._aside)
        self._retention = Retention(self._db)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self._aside.close()
        self._db.close()

    def commit(self, batch: Batch) -> None:
        """Write a batch whole or not at all.

        1. Begin: take the write lock, waiting for the service's short label writes.
        2. Compare the ledger with the batch's old offsets; where they differ, another writer was here: write nothing.
        3. Readings.
        4. Verdicts, one a reading.
        5. Rollups: add to the hours and days.
        6. Events: the newest standing replaces the older one, by triggers into the outbox too; a label that was given
           before learns the end.
        7. States, and the profiles that changed; before that, snapshots of what the states were.
        8. Rejected records, and those that wait to be put in order.
        9. Offsets: advance the ledger.
        10. Commit.

        Nothing outside the database is told of the batch before step 10, and a process killed between any two steps
        leaves what was before step 1: the records are read again from the old offsets.

        Raises:
            LedgerMovedError: step 2 found another writer's offsets.
            DatabaseError: full, locked or damaged.
            ValueError: the batch does not add up.
        """
        batch.check()
        sums = rollups(batch.readings, batch.verdicts)  # before the lock is taken
        with self._db.transaction():  # 1 and 10
            self._compare(batch)  # 2
            self._db.insert("power_data", batch.readings)  # 3
            self._db.insert("verdicts", batch.verdicts)  # 4
            self._db.insert("rollups", sums, on_conflict=UPSERT)  # 5
            self._db.insert("events", batch.events, on_conflict=_replace(EVENTS, "event_id"))  # 6
            if batch.events.num_rows:
                ends = batch.events.select(["end_at", "event_id"])
                self._db.execute("UPDATE labels SET end_at = ? WHERE event_id = ?", ends)
            self._keep_states(batch.snapshots)  # 7
            self._db.insert("hot_states", batch.states, on_conflict=_replace(STATES, "meter_id", **_NEWEST))
            self._db.insert("profiles", batch.profiles, on_conflict=_replace(PROFILES, "meter_id"))
            self._db.insert("rejected", _of_topic(batch, batch.rejected))  # 8
            self._release(batch)
            self._db.insert("held_readings", _of_topic(batch, batch.held), on_conflict=_SUSPECTED)
            self._db.insert("offsets", _advanced(batch), on_conflict=_ADVANCE)  # 9
        self._retention.wake()

    def prune(self, keep_s: int, topic_id: str) -> bool:
        """Delete a bounded piece of what is older than a meter's newest reading by more than `keep_s`.

        See `Retention.piece`; answers whether there may be more.
        """
        return self._retention.piece(keep_s, topic_id)

    def _keep_states(self, snapshots: pa.Table) -> None:
        """A beginning ends what was known of later times: the clock that told them was wrong."""
        begins = snapshots.filter(snapshots["state"].is_null())
        if begins.num_rows:
            self._db.execute(
                "DELETE FROM state_snapshots WHERE meter_id = ? AND at >= ?", begins.select(["meter_id", "at"])
            )
        self._db.insert("state_snapshots", snapshots, on_conflict="ON CONFLICT DO NOTHING")

    def _release(self, batch: Batch) -> None:
        if batch.released.num_rows:
            names = ("topic_id", "topic", *RELEASED.names)
            self._db.execute(
                "DELETE FROM held_readings WHERE " + " AND ".join(f"{name} = ?" for name in names),  # noqa: S608
                _of_topic(batch, batch.released).select(names),
            )

    def _compare(self, batch: Batch) -> None:
        ledger = self.known.ledger(batch.topic)
        ledger = ledger.filter(pc.equal(ledger["topic_id"], batch.topic_id))
        have = dict(zip(ledger["partition"].to_pylist(), ledger["next_offset"].to_pylist(), strict=True))
        for advance in batch.advances:
            if have.get(advance.partition) != advance.old_offset:
                raise LedgerMovedError(
                    f"partition {advance.partition} of topic {batch.topic!r} stands at offset "
                    f"{have.get(advance.partition)}, this batch begins at {advance.old_offset}: "
                    "another stream writes to the same database; stop one of them"
                )


_ADD_COUNTS = ", ".join(f"{name} = {name} + excluded.{name}" for name in (*COUNTS, *OF_THESE))
_ADVANCE = f"ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset, {_ADD_COUNTS}"
_SUSPECTED = "ON CONFLICT DO UPDATE SET suspect = excluded.suspect"
_NEWEST = {
    "at": "at = coalesce(excluded.at, at)",  # a batch of late readings has no newer one
    "furthest_at": "furthest_at = max(coalesce(furthest_at, excluded.furthest_at), "
    "coalesce(excluded.furthest_at, furthest_at))",
}


def _replace(schema: pa.Schema, key: str, **special: str) -> str:
    """The clause that puts a new row in the place of the one with the same key."""
    news = [special.get(name, f"{name} = excluded.{name}") for name in schema.names if name != key]
    return f"ON CONFLICT ({key}) DO UPDATE SET " + ", ".join(news)


def _of_topic(batch: Batch, table: pa.Table) -> pa.Table:
    """`table` with the batch's topic as further columns."""
    for name, value in (("topic_id", batch.topic_id), ("topic", batch.topic)):
        table = table.append_column(name, pa.repeat(value, table.num_rows))
    return table


def _advanced(batch: Batch) -> pa.Table:
    names = ("partition", "next_offset", *COUNTS, *OF_THESE)
    columns = {name: [getattr(advance, name) for advance in batch.advances] for name in names}
    rows = pa.table({**columns, "pruned": [0] * len(batch.advances)})
    return _of_topic(batch, rows)
