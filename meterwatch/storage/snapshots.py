"""What a stored reading is judged again from: an earlier state of its meter, and the readings in order since then."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from meterwatch.storage.summaries import CHANNEL_COLUMNS

if TYPE_CHECKING:
    import sqlite3

SETTLED = 3600  # seconds: a state so much older than the reading knows nothing yet of the quarter hour that judged it
_CHANNELS = ", ".join(f"p.{column}" for column in CHANNEL_COLUMNS.values())


class Snapshot(NamedTuple):
    """A meter's state as it was."""

    at: int  # its newest reading; of a new meter one second before the first
    state: bytes | None  # None: the meter was new
    profile: bytes | None


class Judged(NamedTuple):
    """A stored reading that was judged in order."""

    at: int
    model_version: str
    record_offset: int
    channels: tuple[float | None, ...]  # in the order of CHANNEL_COLUMNS


def before(db: sqlite3.Connection, meter_id: str, at: int) -> Snapshot | None:
    """The nearest snapshot from before a reading; None where none is kept.

    One that is at least `SETTLED` older comes first, but for a beginning, before which nothing counts.
    """
    row = db.execute(
        "SELECT at, state, profile FROM state_snapshots WHERE meter_id = ? AND at < ? "
        "ORDER BY at > ? AND state IS NOT NULL, at DESC LIMIT 1",
        (meter_id, at, at - SETTLED),
    ).fetchone()
    return Snapshot(*row) if row else None


def judged(db: sqlite3.Connection, meter_id: str, after: int, until: int) -> list[Judged]:
    """A meter's readings later than `after` up to `until` that were judged, in the order in which they were.

    Readings are judged in order of their times: what comes at or before the newest is late, a duplicate or a conflict,
    and none of these changes a state.
    """
    rows = db.execute(
        f"SELECT p.at, v.model_version, p.record_offset, {_CHANNELS} "  # noqa: S608 - the module's own text
        "FROM power_data AS p JOIN verdicts AS v ON v.meter_id = p.meter_id AND v.at = p.at "
        "WHERE p.meter_id = ? AND p.at > ? AND p.at <= ? AND v.status != 'late' ORDER BY p.at",
        (meter_id, after, until),
    )
    return [Judged(row[0], row[1], row[2], tuple(row[3:])) for row in rows]


def oldest_known(db: sqlite3.Connection, meter_id: str) -> tuple[int | None, int | None]:
    """The time of a meter's oldest reading that is kept, and the start of the first hour that had any."""
    kept, had = (
        db.execute(f"SELECT min(at) FROM {table} WHERE meter_id = ?{only}", (meter_id,)).fetchone()[0]  # noqa: S608
        for table, only in (("power_data", ""), ("rollups", " AND period = 'hour'"))
    )
    return kept, had


def hours_before(db: sqlite3.Connection, meter_id: str, at: int) -> tuple[int | None, int | None]:
    """The starts of a meter's oldest hour with readings in order, and of its newest before the hour of `at`."""
    found: tuple[int | None, int | None] = db.execute(
        "SELECT min(at), max(at) FROM rollups "
        "WHERE meter_id = ? AND period = 'hour' AND readings > late AND at < ? / 3600 * 3600",
        (meter_id, at),
    ).fetchone()
    return found
