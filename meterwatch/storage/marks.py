"""What is marked on a meter's picture: readings that were not judged, refused records, changes of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3

# Up to so long a range each reading is marked, then each hour, beyond it each day.
EXACT_SECONDS, HOURLY_SECONDS = 14 * 86_400, 120 * 86_400
MOST = 500  # marks of a kind
MOST_REFUSED = 200
LOOKS = 100  # at the model in a range
FIRST, LAST = "ASC", "DESC"


class Marks(NamedTuple):
    """Times in unix seconds, rising. An hour or a day stands for its readings in a long range."""

    gap: list[int]
    late: list[int]
    rejected: list[tuple[int, str]]  # beside the reason, the time of the meter's reading before it on the topic
    models: list[tuple[int, str]]  # the first reading that a version judged after another one


def marks(db: sqlite3.Connection, meter_id: str, start: int, end: int) -> Marks:
    """The marks from `start` to `end`, both included; of each kind the newest ones where there are very many."""
    found = {status: _unjudged(db, status, meter_id, start, end) for status in ("gap", "late")}
    return Marks(found["gap"], found["late"], _refused(db, meter_id, start, end), _changes(db, meter_id, start, end))


def _unjudged(db: sqlite3.Connection, status: str, meter_id: str, start: int, end: int) -> list[int]:
    period = "hour" if end - start <= HOURLY_SECONDS else "day"
    sql = (
        "SELECT at FROM verdicts WHERE meter_id = ? AND at BETWEEN ? AND ? AND status = ? ORDER BY at DESC LIMIT ?"
        if end - start <= EXACT_SECONDS
        else f"SELECT at FROM rollups WHERE meter_id = ? AND at BETWEEN ? AND ? AND period = '{period}' "  # noqa: S608
        f"AND {status} > 0 AND ? <> '' ORDER BY at DESC LIMIT ?"
    )
    return [row[0] for row in db.execute(sql, (meter_id, start, end, status, MOST))][::-1]


def _refused(db: sqlite3.Connection, meter_id: str, start: int, end: int) -> list[tuple[int, str]]:
    """Refused records of the meter, placed by their offset between its readings: a refused time says nothing.

    Only while the topic is one and the same, since another one counts its offsets from 0 again.
    """
    topics = db.execute("SELECT DISTINCT topic_id, topic FROM offsets").fetchall()
    if len(topics) != 1:
        return []
    begin, finish = _offset_at(db, meter_id, start, FIRST), _offset_at(db, meter_id, end, LAST)
    if begin is None or finish is None or begin[0] != finish[0]:
        return []
    rows = db.execute(
        "SELECT record_offset, reason FROM rejected WHERE topic_id = ? AND topic = ? AND partition = ? "
        "AND record_offset BETWEEN ? AND ? AND record_key = ? ORDER BY record_offset DESC LIMIT ?",
        (*topics[0], begin[0], begin[1], finish[1], meter_id.encode(), MOST_REFUSED),
    ).fetchall()
    return [(_before(db, meter_id, row["record_offset"], start, end), row["reason"]) for row in reversed(rows)]


def _offset_at(db: sqlite3.Connection, meter_id: str, at: int, order: str) -> tuple[int, int] | None:
    """Partition and offset of the meter's first reading from `at` on, or of its last one up to then."""
    side = ">=" if order == FIRST else "<="
    row = db.execute(
        "SELECT partition, record_offset FROM power_data "  # noqa: S608 - one of two signs and of two words
        f"WHERE meter_id = ? AND at {side} ? ORDER BY at {order} LIMIT 1",
        (meter_id, at),
    ).fetchone()
    return (row[0], row[1]) if row else None


def _before(db: sqlite3.Connection, meter_id: str, offset: int, start: int, end: int) -> int:
    """The time of the newest reading whose record stands before an offset, by halving: both rise together."""
    while end - start > 1:
        middle = (start + end) // 2
        found = _offset_at(db, meter_id, middle, LAST)
        if found is not None and found[1] < offset:
            start = middle
        else:
            end = middle
    row = db.execute("SELECT max(at) FROM power_data WHERE meter_id = ? AND at <= ?", (meter_id, start)).fetchone()
    return row[0] or start


def _changes(db: sqlite3.Connection, meter_id: str, start: int, end: int) -> list[tuple[int, str]]:
    """Where the version differs between two of some looks, found by halving between them."""
    looks = [start + (end - start) * k // LOOKS for k in range(1, LOOKS + 1)]
    found: list[tuple[int, str]] = []
    last_at, last = start, _version(db, meter_id, start)
    for at in looks:
        version = _version(db, meter_id, at)
        if version is not None and last is not None and version != last:
            found.append((_first_of(db, meter_id, last, last_at, at), version))
        last_at, last = at, version or last
    return found


def _first_of(db: sqlite3.Connection, meter_id: str, before: str, low: int, high: int) -> int:
    while high - low > 1:
        middle = (low + high) // 2
        if _version(db, meter_id, middle) == before:
            low = middle
        else:
            high = middle
    row = db.execute("SELECT min(at) FROM verdicts WHERE meter_id = ? AND at >= ?", (meter_id, high)).fetchone()
    return row[0] or high


def _version(db: sqlite3.Connection, meter_id: str, at: int) -> str | None:
    """The version that judged the newest reading up to a time; before the first one, the first one's."""
    for side, order in (("<=", LAST), (">", FIRST)):
        row = db.execute(
            f"SELECT model_version FROM verdicts WHERE meter_id = ? AND at {side} ? ORDER BY at {order} LIMIT 1",  # noqa: S608
            (meter_id, at),
        ).fetchone()
        if row:
            return str(row[0])
    return None
