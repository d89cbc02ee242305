"""The read path: what the service's routes and the dashboard's pages ask of the database.

Plain functions over a read-only connection that `reading` lends; times are unix seconds in UTC. A database that does
not exist yet answers like an empty one, because the stream alone creates it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from meterwatch.storage.lending import reading
from meterwatch.storage.series import picture, series
from meterwatch.storage.summaries import CHANNEL_COLUMNS, cadence, correlation, daily, monthly, voltage, week

if TYPE_CHECKING:
    import sqlite3

__all__ = [
    "CHANNEL_COLUMNS",
    "Page",
    "at_times",
    "cadence",
    "correlation",
    "daily",
    "ends",
    "event",
    "events",
    "hours",
    "latest_meter",
    "ledger",
    "meter",
    "meters",
    "monthly",
    "newest",
    "newest_at",
    "newest_rows",
    "page",
    "picture",
    "reading",
    "rejected",
    "series",
    "since",
    "span",
    "statuses",
    "voltage",
    "week",
]

VERDICT_COLUMNS = (
    "status", "score", "threshold", "anomalous", "expected_kw", "lower_kw", "upper_kw", "reason", "model_version",
)  # fmt: skip
EVENT_COLUMNS = (
    "event_id", "meter_id", "start_at", "end_at", "peak_at", "severity", "kind", "energy_kwh", "model_version",
)  # fmt: skip
FAR = 2**62  # later than any time
_CHANNELS = ", ".join(f"p.{column} AS {name}" for name, column in CHANNEL_COLUMNS.items())
_NEXT_METER = "(SELECT min(meter_id) FROM power_data WHERE meter_id > m.id)"
# Jumps from meter to meter along the key, so that it costs a look-up a meter and not a row a reading.
_METERS = (
    "WITH RECURSIVE m(id) AS (SELECT (SELECT min(meter_id) FROM power_data WHERE meter_id > :after) "  # noqa: S608
    f"UNION ALL SELECT {_NEXT_METER} FROM m WHERE m.id IS NOT NULL LIMIT :limit) "
)
_SPAN = (
    "(SELECT min(at) FROM power_data WHERE meter_id = m.id) AS oldest_at, "
    "(SELECT max(at) FROM power_data WHERE meter_id = m.id) AS newest_at"
)


class Page(NamedTuple):
    """Rows as columns, and where the next page begins: the `after` of the next call; None when there is no more."""

    columns: dict[str, list[Any]]
    after: int | None


def meters(db: sqlite3.Connection, limit: int, after: str = "") -> list[dict[str, Any]]:
    """Meters in order of their id: `meter_id`, `oldest_at`, `newest_at`, `readings`."""
    count = "(SELECT sum(readings) FROM rollups WHERE meter_id = m.id AND period = 'day') AS readings"
    rows = db.execute(
        f"{_METERS} SELECT id AS meter_id, {_SPAN}, {count} FROM m WHERE id IS NOT NULL",  # noqa: S608
        {"after": after, "limit": limit},
    )
    return [dict(row) for row in rows]


def meter(db: sqlite3.Connection, meter_id: str) -> dict[str, Any] | None:
    """What is known of one meter: span, counts by status, cadence, newest reading; None if it never reported."""
    last = newest(db, meter_id)
    if last is None:
        return None
    oldest, until = span(db, meter_id)
    counts = db.execute(
        "SELECT sum(readings) AS readings, sum(scored) AS scored, sum(warming_up) AS warming_up, sum(gap) AS gap, "
        "sum(late) AS late, sum(anomalous) AS anomalous FROM rollups WHERE meter_id = ? AND period = 'day'",
        (meter_id,),
    ).fetchone()
    found = {"meter_id": meter_id, "oldest_at": oldest, "newest_at": until, "cadence_s": cadence(db, meter_id)}
    return {**found, **dict(counts), "newest": last}


def newest(db: sqlite3.Connection, meter_id: str) -> dict[str, Any] | None:
    """The newest reading with its verdict; None where the meter never reported."""
    row = db.execute(f"{_JOINED} WHERE p.meter_id = ? ORDER BY p.at DESC LIMIT 1", (meter_id,)).fetchone()
    return dict(row) if row else None


_JOINED = (
    f"SELECT p.meter_id, p.at, {_CHANNELS}, {', '.join(f'v.{name}' for name in VERDICT_COLUMNS)} "  # noqa: S608
    "FROM power_data AS p JOIN verdicts AS v ON v.meter_id = p.meter_id AND v.at = p.at"
)


def span(db: sqlite3.Connection, meter_id: str) -> tuple[int, int]:
    """Times of a meter's oldest and newest reading; (0, 0) where it never reported."""
    row = db.execute(f"SELECT {_SPAN} FROM (SELECT ? AS id) AS m", (meter_id,)).fetchone()  # noqa: S608
    return (row[0], row[1]) if row[0] is not None else (0, 0)


def latest_meter(db: sqlite3.Connection) -> str | None:
    """The meter with the newest reading; None where there is no reading."""
    row = db.execute(
        f"{_METERS} SELECT id, {_SPAN} FROM m WHERE id IS NOT NULL ORDER BY newest_at DESC LIMIT 1",  # noqa: S608
        {"after": "", "limit": -1},
    ).fetchone()
    return row["id"] if row else None


def newest_at(db: sqlite3.Connection) -> int | None:
    """The time of the newest reading of all meters; None where there is none."""
    meter_id = latest_meter(db)
    return span(db, meter_id)[1] if meter_id is not None else None


_SOURCES = {
    "readings": (f"SELECT p.at, {_CHANNELS} FROM power_data AS p", ("at", *CHANNEL_COLUMNS)),  # noqa: S608
    "verdicts": (f"SELECT p.at, {', '.join(VERDICT_COLUMNS)} FROM verdicts AS p", ("at", *VERDICT_COLUMNS)),  # noqa: S608
}


def page(
    db: sqlite3.Connection, table: str, meter_id: str, start: int, end: int, *, after: int | None, limit: int
) -> Page:
    """A meter's `readings` or `verdicts` from `start` to before `end`, in order of time, those later than `after`."""
    sql, names = _SOURCES[table]
    begin = start if after is None else max(start, after + 1)
    rows = db.execute(
        f"{sql} WHERE p.meter_id = ? AND p.at >= ? AND p.at < ? ORDER BY p.at LIMIT ?",
        (meter_id, begin, end, limit + 1),
    ).fetchall()
    kept = rows[:limit]
    columns = {name: [row[k] for row in kept] for k, name in enumerate(names)}
    return Page(columns, kept[-1]["at"] if len(rows) > limit else None)


def events(
    db: sqlite3.Connection,
    meter_id: str | None = None,
    *,
    start: int | None = None,
    end: int | None = None,
    before: tuple[int, str] | None = None,
    limit: int = 100,
) -> tuple[list[dict[str, Any]], int]:
    """Events, newest first, each with its label (null: none) and note.

    Args:
        db: see `reading`.
        meter_id: of this meter only.
        start: those that go on until then or later; an open event lasts until now.
        end: those that begin then or earlier.
        before: (start_at, event_id) of the last event of the page before.
        limit: at most so many.

    Returns:
        The events, and how many there are without `before` and `limit`.
    """
    where, values = ["1"], []
    for condition, value in (
        ("e.meter_id = ?", meter_id),
        (f"coalesce(e.end_at, {FAR}) >= ?", start),
        ("e.start_at <= ?", end),
    ):
        if value is not None:
            where.append(condition)
            values.append(value)
    (total,) = db.execute(f"SELECT count(*) FROM events AS e WHERE {' AND '.join(where)}", values).fetchone()  # noqa: S608
    if before is not None:
        where.append("(e.start_at, e.event_id) < (?, ?)")
        values += before
    rows = db.execute(
        f"{_EVENTS} WHERE {' AND '.join(where)} ORDER BY e.start_at DESC, e.event_id DESC LIMIT ?", (*values, limit)
    )
    return [dict(row) for row in rows], total


_EVENTS = (
    f"SELECT {', '.join(f'e.{name}' for name in EVENT_COLUMNS)}, l.label, l.note "  # noqa: S608
    "FROM events AS e LEFT JOIN labels AS l ON l.event_id = e.event_id"
)


def event(db: sqlite3.Connection, event_id: str) -> dict[str, Any] | None:
    """One event with its label; None where there is no such event."""
    row = db.execute(f"{_EVENTS} WHERE e.event_id = ?", (event_id,)).fetchone()
    return dict(row) if row else None


def newest_rows(db: sqlite3.Connection, limit: int) -> list[dict[str, Any]]:
    """The newest rows of `power_data` over all meters, newest first, in its own column names."""
    ends = db.execute(
        f"{_METERS} SELECT id, {_SPAN} FROM m WHERE id IS NOT NULL ORDER BY newest_at DESC",  # noqa: S608
        {"after": "", "limit": -1},
    ).fetchall()
    rows: list[sqlite3.Row] = []
    for end in ends:  # the meter that reported last first: ends once no further meter can add a newer row
        if len(rows) >= limit and end["newest_at"] < rows[limit - 1]["at"]:
            break
        rows += db.execute("SELECT * FROM power_data WHERE meter_id = ? ORDER BY at DESC LIMIT ?", (end["id"], limit))
        rows.sort(key=lambda row: -row["at"])
        del rows[limit:]
    return [dict(row) for row in rows]


def ledger(db: sqlite3.Connection, topic: str | None = None) -> list[dict[str, Any]]:
    """The rows of `offsets`, of every topic that had this name; of all where none is given."""
    rows = db.execute(
        "SELECT * FROM offsets WHERE topic = coalesce(?, topic) ORDER BY topic, topic_id, partition", (topic,)
    )
    return [dict(row) for row in rows]


def statuses(db: sqlite3.Connection) -> dict[str, int]:
    """Stored readings by the status of their verdict, and how many of the scored ones are `anomalous`."""
    names = ("scored", "warming_up", "gap", "late", "anomalous")
    sums = ", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in names)
    return dict(db.execute(f"SELECT {sums} FROM rollups WHERE period = 'day'").fetchone())  # noqa: S608


def rejected(db: sqlite3.Connection, samples: int = 3) -> list[dict[str, Any]]:
    """Rejected records by reason, the most frequent first, with the raw bytes of the newest ones."""
    counts = db.execute("SELECT reason, count(*) AS n FROM rejected GROUP BY reason ORDER BY n DESC").fetchall()
    newest_of = "SELECT raw FROM rejected WHERE reason = ? ORDER BY record_offset DESC LIMIT ?"
    return [
        {
            "reason": row["reason"],
            "records": row["n"],
            "samples": [raw for (raw,) in db.execute(newest_of, (row["reason"], samples))],
        }
        for row in counts
    ]


def hours(db: sqlite3.Connection, meter_id: str, starts: list[int]) -> list[dict[str, Any]]:
    """Some hours of a meter that have a power, in order: mean, least and greatest kW, and how many were anomalous.

    Hours are kept when their readings are pruned.
    """
    rows = db.execute(
        "SELECT at, power_mw_sum / 1e6 / power_readings AS mean_kw, power_mw_min / 1e6 AS least_kw, "
        "power_mw_max / 1e6 AS greatest_kw, anomalous FROM rollups WHERE meter_id = ? AND period = 'hour' "
        "AND power_readings > 0 AND at IN (SELECT value FROM json_each(?)) ORDER BY at",
        (meter_id, json.dumps(starts)),
    )
    return [dict(row) for row in rows]


def ends(db: sqlite3.Connection, limit: int) -> dict[str, int]:
    """The time of the newest reading of each of the first `limit` meters."""
    rows = db.execute(f"{_METERS} SELECT id, {_SPAN} FROM m WHERE id IS NOT NULL", {"after": "", "limit": limit})  # noqa: S608
    return {row["id"]: row["newest_at"] for row in rows}


def since(db: sqlite3.Connection, meter_id: str, at: int, limit: int) -> list[dict[str, Any]]:
    """The newest readings with their verdicts that are later than `at`, in order of time."""
    rows = db.execute(
        f"{_JOINED} WHERE p.meter_id = ? AND p.at > ? ORDER BY p.at DESC LIMIT ?", (meter_id, at, limit)
    ).fetchall()
    return [dict(row) for row in reversed(rows)]


def at_times(db: sqlite3.Connection, table: str, meter_id: str, times: list[int]) -> dict[str, list[Any]]:
    """A meter's rows of `readings` or `verdicts` at the given times, in order of time, as columns."""
    sql, names = _SOURCES[table]
    rows = db.execute(
        f"{sql} WHERE p.meter_id = ? AND p.at IN (SELECT value FROM json_each(?)) ORDER BY p.at",  # noqa: S608
        (meter_id, json.dumps(times)),
    ).fetchall()
    return {name: [row[k] for row in rows] for k, name in enumerate(names)}
