"""The write path: one writer of readings, verdicts, events, states, rejected records, rollups and the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterwatch.detection.memory import NEVER
from meterwatch.storage.database import Database
from meterwatch.storage.migrate import DatabaseError, migrate
from meterwatch.storage.retention import Retention
from meterwatch.storage.rollups import UPSERT, rollups

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CHANNEL_COLUMNS = (  # the original's names, in the order of meterwatch.detection.readings.CHANNELS
    "global_active_power",
    "global_reactive_power",
    "voltage",
    "global_intensity",
    "sub_metering_1",
    "sub_metering_2",
    "sub_metering_3",
)
CHANNEL_FIELDS = tuple((name, pa.float64()) for name in CHANNEL_COLUMNS)
KEY = (("meter_id", pa.string()), ("at", pa.int64()))
READINGS = pa.schema([*KEY, *CHANNEL_FIELDS, ("partition", pa.int32()), ("record_offset", pa.int64())])
VERDICTS = pa.schema(
    [
        *KEY,
        ("status", pa.string()),
        ("score", pa.float64()),
        ("threshold", pa.float64()),
        ("anomalous", pa.bool_()),
        ("expected_kw", pa.float64()),
        ("lower_kw", pa.float64()),
        ("upper_kw", pa.float64()),
        ("reason", pa.string()),
        ("model_version", pa.string()),
    ]
)
EVENTS = pa.schema(
    [
        ("event_id", pa.string()),
        ("meter_id", pa.string()),
        ("start_at", pa.int64()),
        ("end_at", pa.int64()),
        ("peak_at", pa.int64()),
        ("severity", pa.float64()),
        ("kind", pa.string()),
        ("energy_kwh", pa.float64()),
        ("model_version", pa.string()),
    ]
)
STATES = pa.schema(
    [("meter_id", pa.string()), ("state", pa.binary()), ("at", pa.int64()), ("model_version", pa.string())]
)
PROFILES = pa.schema([("meter_id", pa.string()), ("profile", pa.binary())])
SNAPSHOTS = pa.schema([*KEY, ("state", pa.binary()), ("profile", pa.binary())])
REJECTED = pa.schema(
    [
        ("partition", pa.int32()),
        ("record_offset", pa.int64()),
        ("record_key", pa.binary()),
        ("raw", pa.binary()),
        ("reason", pa.string()),
    ]
)
CANDIDATES = pa.schema([*KEY, *CHANNEL_FIELDS])
COUNTS = ("records", "stored", "duplicates", "rejected", "held")
LEDGER = pa.schema(
    [
        ("topic_id", pa.string()),
        ("topic", pa.string()),
        *((name, pa.int64()) for name in ("partition", "next_offset", *COUNTS, "pruned")),
    ]
)

ABSENT, SAME, OTHER = 0, 1, 2

_SAME_CHANNELS = " AND ".join(f"c.{name} IS p.{name}" for name in CHANNEL_COLUMNS)
_CREATE_TEMPORARY = (
    "CREATE TEMPORARY TABLE wanted (number INTEGER PRIMARY KEY, meter_id TEXT)",
    "CREATE TEMPORARY TABLE candidates (number INTEGER PRIMARY KEY, meter_id TEXT, at INTEGER, "
    + ", ".join(f"{name} REAL" for name in CHANNEL_COLUMNS)
    + ")",
)
_ADD_COUNTS = ", ".join(f"{name} = {name} + excluded.{name}" for name in COUNTS)


class LedgerMovedError(DatabaseError):
    """Another writer has accounted for records of this batch; nothing was written."""


class Advance(NamedTuple):
    """What a batch does to one partition: its records from `old_offset` to before `next_offset` are accounted for."""

    partition: int
    old_offset: int | None  # next_offset as the ledger has it; None: the ledger has no row yet
    next_offset: int
    records: int
    stored: int
    duplicates: int
    rejected: int
    held: int


@dataclass(frozen=True, slots=True)
class Batch:
    """All that a batch of records leads to; tables in the schemas of this module."""

    topic_id: str
    topic: str
    readings: pa.Table  # READINGS
    verdicts: pa.Table  # VERDICTS, one for each row of readings, in the same order
    events: pa.Table  # EVENTS, the newest standing of each, an event_id at most once
    states: pa.Table  # STATES
    profiles: pa.Table  # PROFILES, the changed ones only
    snapshots: pa.Table  # SNAPSHOTS, of meters that this batch takes into another week
    rejected: pa.Table  # REJECTED
    advances: list[Advance]

    def check(self) -> None:
        """Prove the counting identities.

        Raises:
            ValueError: a count is off, which is a fault of the program.
        """
        totals = np.array([advance[3:] for advance in self.advances], np.int64).reshape(-1, len(COUNTS)).sum(axis=0)
        records, stored, duplicates, rejected, held = totals.tolist()
        told = (stored, stored, rejected, records)
        found = (
            self.readings.num_rows,
            self.verdicts.num_rows,
            self.rejected.num_rows,
            stored + duplicates + rejected + held,
        )
        if told != found:
            raise ValueError(f"a batch does not add up: (stored, stored, rejected, records) {told}, but rows {found}")


class MeterStore:
    """The one writer. Readers of the same file use short read-only connections of their own processes."""

    def __init__(self, path: Path, *, busy_seconds: float = 30.0) -> None:
        """Open the database, made or migrated where needed.

        Raises:
            DatabaseError: see `migrate`.
        """
        migrate(path)
        self._db = Database(path, busy_seconds=busy_seconds)
        for statement in _CREATE_TEMPORARY:
            self._db.execute(statement)
        self._retention = Retention(self._db)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self._db.close()

    def ledger(self, topic: str) -> pa.Table:
        """The ledger's rows (schema LEDGER) of every topic that had this name."""
        names = ", ".join(LEDGER.names)
        table = self._db.query(f"SELECT {names} FROM offsets ORDER BY topic_id, partition", LEDGER)  # noqa: S608
        return table.filter(pc.equal(table["topic"], topic))

    def load_states(self, meter_ids: pa.Array) -> pa.Table:
        """What is remembered of the given meters, in their order; null where nothing is.

        Returns:
            meter_id, state, profile, and `at`, the newest reading in the state (NEVER where it has none).
        """
        wanted = pa.table({"number": pa.array(np.arange(len(meter_ids))), "meter_id": meter_ids})
        self._db.insert("temp.wanted", wanted)
        hot = {"state": pa.binary(), "at": pa.int64()}
        state, at = self._parts(f"t.state, coalesce(t.at, {NEVER})", "hot_states", len(meter_ids), hot)
        (profile,) = self._parts("t.profile", "profiles", len(meter_ids), {"profile": pa.binary()})
        self._db.execute("DELETE FROM temp.wanted")
        return pa.table([meter_ids, state, profile, at], names=["meter_id", "state", "profile", "at"])

    def _parts(self, parts: str, table: str, count: int, kinds: dict[str, pa.DataType]) -> list[pa.Array]:
        """Columns beside `temp.wanted`, put in place here: ADBC takes no type from a column that begins null."""
        found = self._db.query(
            f"SELECT w.number, {parts} FROM temp.wanted AS w JOIN {table} AS t ON t.meter_id = w.meter_id",  # noqa: S608
            pa.schema({"number": pa.int64(), **kinds}),
        )
        place = np.full(count, -1)
        place[found["number"].to_numpy()] = np.arange(found.num_rows)
        rows = pa.array(place, mask=place < 0)
        return [found[name].combine_chunks().take(rows) for name in kinds]

    def held(self, candidates: pa.Table) -> NDArray[np.int8]:
        """Look up whether readings (schema CANDIDATES) are in `power_data` already.

        Returns:
            (n,) ABSENT, SAME (a row with equal channels, missing equals missing) or OTHER (a row with another value).
        """
        answer = np.full(candidates.num_rows, ABSENT, np.int8)
        numbered = candidates.add_column(0, "number", pa.array(np.arange(candidates.num_rows)))
        self._db.insert("temp.candidates", numbered)
        found = self._db.query(
            f"SELECT c.number, {_SAME_CHANNELS} FROM temp.candidates AS c "  # noqa: S608
            "JOIN power_data AS p ON p.meter_id = c.meter_id AND p.at = c.at",
            pa.schema([("number", pa.int64()), ("same", pa.int64())]),
        )
        self._db.execute("DELETE FROM temp.candidates")
        answer[found["number"].to_numpy()] = np.where(found["same"].to_numpy() == 1, SAME, OTHER)
        return answer

    def commit(self, batch: Batch) -> None:
        """Write a batch whole or not at all.

        1. Begin: take the write lock, waiting for the service's short label writes.
        2. Compare the ledger with the batch's old offsets; where they differ, another writer was here: write nothing.
        3. Readings.
        4. Verdicts, one a reading.
        5. Rollups: add to the hours and days.
        6. Events: the newest standing replaces the older one.
        7. States, and the profiles that changed; before that, snapshots of what the states were.
        8. Rejected records.
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
            self._db.insert("state_snapshots", batch.snapshots, on_conflict="ON CONFLICT DO NOTHING")  # 7
            newest = "at = coalesce(excluded.at, at)"  # a batch of late readings has no newer one
            self._db.insert("hot_states", batch.states, on_conflict=_replace(STATES, "meter_id", at=newest))
            self._db.insert("profiles", batch.profiles, on_conflict=_replace(PROFILES, "meter_id"))
            self._db.insert("rejected", _of_topic(batch, batch.rejected))  # 8
            self._db.insert("offsets", _advanced(batch), on_conflict=_ADVANCE)  # 9
        self._retention.wake()

    def prune(self, keep_s: int, topic_id: str) -> bool:
        """Delete a bounded piece of what is older than a meter's newest reading by more than `keep_s`.

        See `Retention.piece`; answers whether there may be more.
        """
        return self._retention.piece(keep_s, topic_id)

    def _compare(self, batch: Batch) -> None:
        ledger = self.ledger(batch.topic)
        ledger = ledger.filter(pc.equal(ledger["topic_id"], batch.topic_id))
        have = dict(zip(ledger["partition"].to_pylist(), ledger["next_offset"].to_pylist(), strict=True))
        for advance in batch.advances:
            if have.get(advance.partition) != advance.old_offset:
                raise LedgerMovedError(
                    f"partition {advance.partition} of topic {batch.topic!r} stands at offset "
                    f"{have.get(advance.partition)}, this batch begins at {advance.old_offset}: "
                    "another stream writes to the same database; stop one of them"
                )


_ADVANCE = f"ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset, {_ADD_COUNTS}"


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
    names = ("partition", "next_offset", *COUNTS)
    columns = {name: [getattr(advance, name) for advance in batch.advances] for name in names}
    rows = pa.table({**columns, "pruned": [0] * len(batch.advances)})
    return _of_topic(batch, rows)
