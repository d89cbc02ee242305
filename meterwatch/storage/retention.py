"""Deletes readings and verdicts that are older than the limit of their meter, a bounded piece at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meterwatch.storage.database import Database

ROWS = 20_000  # of a piece: the write lock is held for less than a tenth of a second
METERS = 2_000  # looked at for a piece
FEW, PAUSE = 32, 7 * 86_400  # readings that prove nothing yet, and seconds
_DOOMED = (
    "CREATE TEMPORARY TABLE doomed (meter_id TEXT, at INTEGER, partition INTEGER, PRIMARY KEY (meter_id, at)) "
    "WITHOUT ROWID"
)
# The newest reading counts. But where it and a few others stand alone behind a long pause, a clock may be wrong for a
# while, and what came before the pause counts until there are more.
_CHOOSE = (
    f"INSERT INTO temp.doomed WITH due AS MATERIALIZED ("  # noqa: S608 - numbers
    f"SELECT meter_id, CASE WHEN at - before_few > {PAUSE} THEN before_few ELSE at END - {{keep}} AS least FROM ("
    "SELECT s.meter_id, s.at, coalesce((SELECT at FROM power_data WHERE meter_id = s.meter_id AND at <= s.at "
    f"ORDER BY at DESC LIMIT 1 OFFSET {FEW}), "
    "(SELECT min(at) FROM power_data WHERE meter_id = s.meter_id)) AS before_few FROM hot_states AS s "
    "WHERE s.rowid > {first} AND s.rowid <= {last} "
    "AND EXISTS (SELECT 1 FROM power_data WHERE meter_id = s.meter_id AND at < s.at - {keep}))) "
    "SELECT p.meter_id, p.at, p.partition FROM due CROSS JOIN power_data AS p "
    "ON p.meter_id = due.meter_id AND p.at < due.least LIMIT {rows}"
)
_KEYS = "(meter_id, at) IN (SELECT meter_id, at FROM temp.doomed)"
# A state is of use as long as every reading after it is kept.
_USELESS = (
    "rowid IN (SELECT s.rowid FROM (SELECT meter_id, max(at) AS last FROM temp.doomed GROUP BY meter_id) AS d "
    "JOIN state_snapshots AS s ON s.meter_id = d.meter_id AND s.at < d.last)"
)
_COUNTS = pa.schema([("partition", pa.int32()), ("rows", pa.int64())])
_LEFT = pa.schema([("topic_id", pa.string()), ("topic", pa.string()), ("partition", pa.int32()), ("left", pa.int64())])


class Retention:
    """Goes round the meters, from one piece to the next. A meter's limit counts from its own last reading in order.

    So what is deleted follows from the records and from nothing else; the wall clock is never asked.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._after = 0  # rowid of the last meter that this round has looked at
        self._awake, self._again = True, False
        db.execute(_DOOMED)

    def wake(self) -> None:
        """New readings have moved limits: go round once more."""
        self._awake = self._again = True

    def piece(self, keep_s: int, topic_id: str) -> bool:
        """Delete a piece in one transaction with the ledger's `pruned`.

        Args:
            keep_s: how much older than its meter's newest reading in order a reading may be.
            topic_id: of the topic that is read now. A row does not say which topic it came from where several had its
                partition: earlier topics are counted first.

        Returns:
            Whether there may be more.

        Raises:
            DatabaseError: full, locked or damaged; nothing was deleted.
        """
        if not self._awake:
            return False
        self._db.execute("DELETE FROM temp.doomed")
        self._db.execute(_CHOOSE.format(keep=keep_s, first=self._after, last=self._after + METERS, rows=ROWS))
        found = self._db.query("SELECT partition, count(*) FROM temp.doomed GROUP BY partition", _COUNTS)
        counts = dict(zip(found["partition"].to_pylist(), found["rows"].to_pylist(), strict=True))
        if counts:
            self._delete(counts, topic_id)
        if sum(counts.values()) < ROWS:
            self._go_on()
        return self._awake

    def _delete(self, counts: Mapping[int, int], topic_id: str) -> None:
        with self._db.transaction():
            self._db.execute(f"DELETE FROM power_data WHERE {_KEYS}")  # noqa: S608 - as all here, the module's own text
            self._db.execute(f"DELETE FROM verdicts WHERE {_KEYS}")  # noqa: S608
            self._db.execute(f"DELETE FROM state_snapshots WHERE {_USELESS}")  # noqa: S608
            self._db.execute(
                "UPDATE offsets SET pruned = pruned + ? WHERE topic_id = ? AND topic = ? AND partition = ?",
                self._shares(counts, topic_id),
            )

    def _shares(self, counts: Mapping[int, int], topic_id: str) -> pa.Table:
        """How much each row of the ledger has lost."""
        ledger = self._db.query("SELECT topic_id, topic, partition, stored - pruned FROM offsets", _LEFT).to_pylist()
        missing, lost = dict(counts), []
        for row in sorted(ledger, key=lambda row: (row["topic_id"] == topic_id, row["topic_id"])):
            share = min(missing.get(row["partition"], 0), row["left"])
            if share:
                missing[row["partition"]] -= share
                lost.append({**row, "share": share})
        if any(missing.values()):
            raise ValueError(f"more rows than the ledger has stored, by partition: {missing}")
        table = pa.Table.from_pylist(lost)
        return table.select(["share", "topic_id", "topic", "partition"])

    def _go_on(self) -> None:
        self._after += METERS
        last = self._db.query("SELECT coalesce(max(rowid), 0) FROM hot_states", pa.schema([("rowid", pa.int64())]))
        if self._after >= last["rowid"][0].as_py():
            self._after, self._awake, self._again = 0, self._again, False
