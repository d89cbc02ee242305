"""Rejected records, one by one, and which of them were put on the topic once more."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, NamedTuple

from meterwatch.storage.lending import reading, writing

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from meterwatch.settings import Settings

PIECE = 1000  # records read at once
_COLUMNS = "topic_id, topic, partition, record_offset, record_key, raw, reason"


class Rejected(NamedTuple):
    """A record as it came, and why it was refused."""

    topic_id: str
    topic: str
    partition: int
    offset: int
    key: bytes | None
    raw: bytes | None
    reason: str

    @property
    def digest(self) -> bytes:
        """Stands for key and raw bytes: one record that was refused twice is one."""
        sizes = repr([None if part is None else len(part) for part in (self.key, self.raw)]).encode()
        return hashlib.blake2b(sizes + (self.key or b"") + (self.raw or b""), digest_size=16).digest()


class Piece(NamedTuple):
    """Some of what is to be sent."""

    records: list[Rejected]
    left_out: int  # beside them, because they were sent again before


def newest(db: sqlite3.Connection, reason: str | None = None, *, limit: int) -> list[tuple[Rejected, int | None]]:
    """The newest records of each partition, each with the time at which it was last sent again (None: never)."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM rejected WHERE reason = coalesce(?, reason) "  # noqa: S608 - the module's own text
        "ORDER BY record_offset DESC, partition LIMIT ?",
        (reason, limit),
    )
    records = [Rejected(*row) for row in rows]
    sent = _sent(db, records)
    return [(record, sent.get(record.digest)) for record in records]


def to_send(settings: Settings, topic: str, reason: str | None = None, *, again: bool = False) -> Iterator[Piece]:
    """Records of a topic in pieces, in the order of their places, each content once.

    Args:
        settings: where the database is.
        topic: its name; what is refused while this runs is left alone.
        reason: of this reason only.
        again: also those that were sent again before.
    """
    with reading(settings) as db:
        ends = db.execute("SELECT topic_id, partition, next_offset FROM offsets WHERE topic = ?", (topic,)).fetchall()
    seen: set[bytes] = set()
    for topic_id, partition, end in ends:
        after = -1
        while True:
            with reading(settings) as db:
                rows = db.execute(
                    f"SELECT {_COLUMNS} FROM rejected WHERE topic_id = ? AND topic = ? AND partition = ? "  # noqa: S608
                    "AND record_offset > ? AND record_offset < ? ORDER BY record_offset LIMIT ?",
                    (topic_id, topic, partition, after, end, PIECE),
                ).fetchall()
                records = [Rejected(*row) for row in rows]
                sent = {} if again else _sent(db, records)
            if not records:
                break
            after = records[-1].offset
            fresh = {r.digest: r for r in reversed(records) if reason in (None, r.reason) and r.digest not in seen}
            yield Piece(
                [record for key, record in reversed(fresh.items()) if key not in sent], len(sent.keys() & fresh.keys())
            )
            seen |= fresh.keys()


def mark(settings: Settings, records: Sequence[Rejected]) -> None:
    """Remember that records were sent again now."""
    now = int(time.time())
    with writing(settings) as db:
        db.executemany(
            "INSERT INTO sent_again VALUES (?, ?) ON CONFLICT (record) DO UPDATE SET sent_at = excluded.sent_at",
            [(record.digest, now) for record in records],
        )


def _sent(db: sqlite3.Connection, records: Iterable[Rejected]) -> dict[bytes, int]:
    """When those that were sent again were, by their digests."""
    found = {}
    for digest in {record.digest for record in records}:
        if row := db.execute("SELECT sent_at FROM sent_again WHERE record = ?", (digest,)).fetchone():
            found[digest] = row[0]
    return found
