"""Meters whose states are of another schema than this program reads: which they are, and new states in their place."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from meterwatch.storage import lending
from meterwatch.storage.models import RegistryError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from meterwatch.settings import Settings

NEXT_STEP = "stop the stream, then `meterwatch models promote {} --rewarm` makes new ones of the stored readings"
_MAGIC_AND_SCHEMA = 6  # bytes


class Stale(NamedTuple):
    """A meter whose state this program cannot read."""

    meter_id: str
    since: int | None  # where it last started anew: what its table has of before does not count; None: unknown
    until: int | None  # the newest reading in its state; None: it has none


class Renewed(NamedTuple):
    """A meter's new state."""

    meter_id: str
    at: int | None
    state: bytes
    profile: bytes | None
    open_event: str | None  # id of the event that it has open


@cache
def _head() -> bytes:
    """What every state that this program reads begins with."""
    from meterwatch.detection.memory import Memory  # brings numpy, which commands that only look need not

    return Memory.decode([""], [None], [None]).encode_states()[0][:_MAGIC_AND_SCHEMA]


def is_stale(state: bytes) -> bool:
    """Whether a state is of another schema."""
    return not state.startswith(_head())


def check(settings: Settings, version: str) -> None:
    """Prove that a model of this program can read the state of every meter.

    Raises:
        RegistryError: it cannot; with the command that promotes `version` all the same.
    """
    with lending.reading(settings) as db:
        count = db.execute(f"SELECT count(*) FROM hot_states WHERE {_STALE}", (_head(),)).fetchone()[0]  # noqa: S608
    if count:
        raise RegistryError(
            f"{count:,} meters have states of another schema than this meterwatch reads; " + NEXT_STEP.format(version)
        )


def stale(db: sqlite3.Connection) -> list[Stale]:
    """Every meter whose state is of another schema."""
    since = "(SELECT max(at) FROM state_snapshots AS s WHERE s.meter_id = h.meter_id AND s.state IS NULL)"
    rows = db.execute(f"SELECT meter_id, {since}, at FROM hot_states AS h WHERE {_STALE}", (_head(),))  # noqa: S608
    return [Stale(*row) for row in rows]


def open_events(db: sqlite3.Connection, meter_ids: Iterable[str]) -> set[str]:
    """Ids of the events of some meters that have not ended."""
    found = "SELECT event_id FROM events WHERE meter_id = ? AND end_at IS NULL"
    return {event_id for meter_id in meter_ids for (event_id,) in db.execute(found, (meter_id,))}


def renew(db: sqlite3.Connection, version: str, meters: Iterable[Renewed]) -> None:
    """Put new states in the place of stale ones; an event that a state has not open ends with its last anomaly.

    Snapshots of stale states stay: a reading of then is told why it cannot be judged again.
    """
    for meter in meters:
        key = (meter.meter_id,)
        written = db.execute(
            f"UPDATE hot_states SET state = ?, model_version = ? WHERE meter_id = ? AND {_STALE}",  # noqa: S608
            (meter.state, version, *key, _head()),
        )
        if not written.rowcount:
            continue
        db.execute("DELETE FROM profiles WHERE meter_id = ?", key)
        if meter.profile is not None:
            db.execute("INSERT INTO profiles VALUES (?, ?)", (*key, meter.profile))
        if meter.at is not None:
            snapshot = (*key, meter.at, meter.state, meter.profile)
            db.execute("INSERT OR REPLACE INTO state_snapshots VALUES (?, ?, ?, ?)", snapshot)
        last = "(SELECT max(at) FROM verdicts AS v WHERE v.meter_id = e.meter_id AND at >= start_at AND anomalous = 1)"
        ended = db.execute(
            f"UPDATE events AS e SET end_at = coalesce({last}, start_at) "  # noqa: S608
            "WHERE meter_id = ? AND end_at IS NULL AND event_id IS NOT ? RETURNING end_at, event_id",
            (*key, meter.open_event),
        ).fetchall()
        db.executemany("UPDATE labels SET end_at = ? WHERE event_id = ?", [tuple(row) for row in ended])


_STALE = f"substr(state, 1, {_MAGIC_AND_SCHEMA}) IS NOT ?"
