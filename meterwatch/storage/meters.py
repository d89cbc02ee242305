"""The write path: one writer of readings, verdicts, events, states, rejected records, rollups and the ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterwatch.detection.memory import NEVER
from meterwatch.storage.database import Database
from meterwatch.storage.migrate import DatabaseError, migrate
from meterwatch.storage.retention import Retention
from meterwatch.storage.rollups import COUNTED, UPSERT, rollups

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
    [
        ("meter_id", pa.string()),
        ("state", pa.binary()),
        ("at", pa.int64()),
        ("furthest_at", pa.int64()),
        ("model_version", pa.string()),
    ]
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
HELD = pa.schema(
    [
        ("partition", pa.int32()),
        ("record_offset", pa.int64()),
        ("record_key", pa.binary()),
        ("raw", pa.binary()),
        *KEY,
        ("channels", pa.binary()),  # seven float64, NaN where missing
        ("suspect", pa.bool_()),
    ]
)
RELEASED = pa.schema([("meter_id", pa.string()), ("partition", pa.int32()), ("record_offset", pa.int64())])
CANDIDATES = pa.schema([*KEY, *CHANNEL_FIELDS])
COUNTS = ("records", "stored", "duplicates", "rejected", "held")
OF_THESE = ("late", "gaps", "conflicts")  # the first two of what is stored, the last of what is rejected
LEDGER = pa.schema(
    [
        ("topic_id", pa.string()),
        ("topic", pa.string()),
        *((name, pa.int64()) for name in ("partition", "next_offset", *COUNTS, *OF_THESE, "pruned")),
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
_ADD_COUNTS = ", ".join(f"{name} = {name} + excluded.{name}" for name in (*COUNTS, *OF_THESE))


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
    held: int  # negative where more goes on than waits anew
    late: int = 0
    gaps: int = 0
    conflicts: int = 0


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
    # HELD, what waits from now on or otherwise than before, and RELEASED, what waits no longer.
    held: pa.Table = field(default_factory=HELD.empty_table)
    released: pa.Table = field(default_factory=RELEASED.empty_table)

    def check(self) -> None:
        """Prove the counting identities, and that each verdict's status is one that is counted.

        Raises:
            ValueError: either is off, which is a fault of the program.
        """
        status = pc.unique(self.verdicts["status"]).to_pylist()
        if not set(status) <= set(COUNTED):
            raise ValueError(f"a batch has verdicts of a status that is none of {', '.join(COUNTED)}: {status}")
        records, stored, duplicates, rejected, held = (
            sum(getattr(advance, name) for advance in self.advances) for name in COUNTS
        )
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
    """The one writer. Readers of the same file use short read-only connections of their own processes.

    Not for use by two threads at once, but for `load_states`, which one may call while another commits.
    """

    def __init__(self, path: Path, *, busy_seconds: float = 30.0) -> None:
        """Open the database, made or migrated where needed.

        Raises:
            DatabaseError: see `migrate`.
        """
        migrate(path)
        self._db = Database(path, busy_seconds=busy_seconds)
        self._remembered = Database(path, busy_seconds=busy_seconds)  # for `load_states`
        for statement in _CREATE_TEMPORARY:
            self._db.execute(statement)
        self._remembered.execute(_CREATE_TEMPORARY[0])
        self._retention = Retention(self._db)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self._remembered.close()
        self._db.close()

    def ledger(self, topic: str) -> pa.Table:
        """The ledger's rows (schema LEDGER) of every topic that had this name."""
        names = ", ".join(LEDGER.names)
        table = self._db.query(f"SELECT {names} FROM offsets ORDER BY topic_id, partition", LEDGER)  # noqa: S608
        return table.filter(pc.equal(table["topic"], topic))

    def load_states(self, meter_ids: pa.Array) -> pa.Table:
        """What is remembered of the given meters, in their order; null where nothing is.

        Returns:
            meter_id, state, profile, and as times `at`, the newest reading in the state, and `furthest_at`, the newest
            one that ever was in it (NEVER where it has none).
        """
        wanted = pa.table({"number": pa.array(np.arange(len(meter_ids))), "meter_id": meter_ids})
        self._remembered.insert("temp.wanted", wanted)
        hot = {"state": pa.binary(), "at": pa.int64(), "furthest_at": pa.int64()}
        times = f"coalesce(t.at, {NEVER}), coalesce(t.furthest_at, {NEVER})"
        state, at, furthest = self._parts(f"t.state, {times}", "hot_states", len(meter_ids), hot)
        (profile,) = self._parts("t.profile", "profiles", len(meter_ids), {"profile": pa.binary()})
        self._remembered.execute("DELETE FROM temp.wanted")
        names = ["meter_id", "state", "profile", "at", "furthest_at"]
        return pa.table([meter_ids, state, profile, at, furthest], names=names)

    def _parts(self, parts: str, table: str, count: int, kinds: dict[str, pa.DataType]) -> list[pa.Array]:
        """Columns beside `temp.wanted`, put in place here: ADBC takes no type from a column that begins null."""
        found = self._remembered.query(
            f"SELECT w.number, {parts} FROM temp.wanted AS w JOIN {table} AS t ON t.meter_id = w.meter_id",  # noqa: S608
            pa.schema({"number": pa.int64(), **kinds}),
        )
        place = np.full(count, -1)
        place[found["number"].to_numpy()] = np.arange(found.num_rows)
        rows = pa.array(place, mask=place < 0)
        return [found[name].combine_chunks().take(rows) for name in kinds]

    def sources_waiting(self) -> list[tuple[str, str]]:
        """Topic id and topic of the records that wait to be put in order."""
        schema = pa.schema([("topic_id", pa.string()), ("topic", pa.string())])
        found = self._db.query("SELECT DISTINCT topic_id, topic FROM held_readings", schema)
        return [(row["topic_id"], row["topic"]) for row in found.to_pylist()]

    def meters_waiting(self, topic_id: str, topic: str, most: int) -> pa.Array:
        """Some meters that have readings of a topic waiting."""
        found = self._db.query(
            f"SELECT DISTINCT meter_id FROM held_readings WHERE topic_id = ? AND topic = ? LIMIT {most}",  # noqa: S608
            pa.schema([("meter_id", pa.string())]),
            pa.table({"topic_id": [topic_id], "topic": [topic]}),
        )
        return found["meter_id"].combine_chunks()

    def waiting(self, topic_id: str, topic: str, meter_ids: pa.Array) -> pa.Table:
        """Readings (HELD) of a topic and some of its meters that wait, in the order of their records."""
        self._db.insert("temp.wanted", pa.table({"number": np.arange(len(meter_ids)), "meter_id": meter_ids}))
        # ADBC takes no type from a column that begins null.
        names = ", ".join("coalesce(record_key, x'')" if name == "record_key" else f"h.{name}" for name in HELD.names)
        wanted = pa.table({"topic_id": [topic_id], "topic": [topic]})
        found = self._db.query(
            f"SELECT {names}, record_key IS NULL FROM temp.wanted AS w "  # noqa: S608
            "JOIN held_readings AS h ON h.meter_id = w.meter_id WHERE topic_id = ? AND topic = ? "
            "ORDER BY partition, record_offset",
            pa.schema([*HELD, ("keyless", pa.bool_())]),
            wanted,
        )
        self._db.execute("DELETE FROM temp.wanted")
        key = pc.if_else(found["keyless"], pa.scalar(None, pa.binary()), found["record_key"])
        return found.drop_columns("keyless").set_column(HELD.names.index("record_key"), "record_key", key)

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
        6. Events: the newest standing replaces the older one; a label that was given before learns the end.
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
