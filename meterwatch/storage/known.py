"""What the tables say already, asked by the one who writes them: the ledger, states, who waits, what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterwatch.detection.memory import NEVER
from meterwatch.storage.tables import CHANNEL_COLUMNS, CHANNEL_FIELDS, HELD, KEY, LEDGER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from meterwatch.storage.database import Database

CANDIDATES = pa.schema([*KEY, *CHANNEL_FIELDS])
ABSENT, SAME, OTHER = 0, 1, 2

_REMEMBERED = pa.schema(
    [("state", pa.binary()), ("profile", pa.binary()), ("at", pa.int64()), ("furthest_at", pa.int64())]
)

_SAME_CHANNELS = " AND ".join(f"c.{name} IS p.{name}" for name in CHANNEL_COLUMNS)
_CREATE_TEMPORARY = (
    "CREATE TEMPORARY TABLE wanted (number INTEGER PRIMARY KEY, meter_id TEXT)",
    "CREATE TEMPORARY TABLE candidates (number INTEGER PRIMARY KEY, meter_id TEXT, at INTEGER, "
    + ", ".join(f"{name} REAL" for name in CHANNEL_COLUMNS)
    + ")",
)


class Known:
    """Look-ups for a stream.

    Args:
        db: the writer's own connection, so that a look-up sees what it has written.
        aside: for `load_states` alone, which may be asked while another thread commits.
    """

    def __init__(self, db: Database, aside: Database) -> None:
        self._db, self._aside = db, aside
        for statement in _CREATE_TEMPORARY:
            db.execute(statement)
        aside.execute(_CREATE_TEMPORARY[0])

    def ledger(self, topic: str) -> pa.Table:
        """The ledger's rows (schema LEDGER) of every topic that had this name."""
        names = ", ".join(LEDGER.names)
        table = self._db.query(f"SELECT {names} FROM offsets ORDER BY topic_id, partition", LEDGER)  # noqa: S608
        return table.filter(pc.equal(table["topic"], topic))

    def load_states(self, meter_ids: pa.Array) -> pa.Table:
        """What is remembered of the given meters, in their order; null where nothing is.

        Returns:
            meter_id, state, profile, and as times `at`, the newest reading in the state, and `furthest_at`, the newest
            one that ever was in it (NEVER where there is none).
        """
        wanted = pa.table({"number": pa.array(np.arange(len(meter_ids))), "meter_id": meter_ids})
        self._aside.insert("temp.wanted", wanted)
        # ADBC takes no type from a column that begins null.
        found = self._aside.query(
            f"SELECT coalesce(state, x''), coalesce(profile, x''), "  # noqa: S608
            f"coalesce(at, {NEVER}), coalesce(furthest_at, {NEVER}) "
            "FROM temp.wanted AS w LEFT JOIN hot_states AS s ON s.meter_id = w.meter_id "
            "LEFT JOIN profiles AS p ON p.meter_id = w.meter_id ORDER BY number",
            _REMEMBERED,
        )
        self._aside.execute("DELETE FROM temp.wanted")
        parts = [_null_where_empty(found[name]) for name in ("state", "profile")]
        return pa.table([meter_ids, *parts, found["at"], found["furthest_at"]], names=["meter_id", *_REMEMBERED.names])

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


def _null_where_empty(column: pa.ChunkedArray) -> pa.ChunkedArray:
    is_empty = pc.equal(pc.binary_length(column), 0)
    return pc.if_else(is_empty, None, column) if pc.any(is_empty).as_py() else column
