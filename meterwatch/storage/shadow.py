"""A challenger's verdicts beside the champion's: kept apart, and compared. The service alone writes these tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from meterwatch.storage.snapshots import Judged
from meterwatch.storage.summaries import CHANNEL_COLUMNS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

SHOWN = 10  # events that only one of both has
_CHANNELS = ", ".join(f"p.{column}" for column in CHANNEL_COLUMNS.values())
_COUNTS = ("readings", "both", "champion_only", "challenger_only", "unscored", "begun_again")


class MovedError(Exception):
    """Another service has gone on with this comparison, or begun another one; nothing was written."""


class Counts(NamedTuple):
    """What some readings add to a comparison; the table's comments say what each is."""

    readings: int = 0
    both: int = 0
    champion_only: int = 0
    challenger_only: int = 0
    unscored: int = 0
    begun_again: int = 0


class Comparison(NamedTuple):
    """How a challenger's verdicts compare with the champion's so far."""

    challenger: str
    champion: str
    step: int
    begun_at: int
    looked_at: int
    counts: Counts
    meters: int
    behind_s: int

    @property
    def agreement(self) -> float | None:
        """The share of readings that both call the same; None before the first."""
        counts = self.counts
        if not counts.readings:
            return None
        return 1 - (counts.champion_only + counts.challenger_only) / counts.readings


class Events(NamedTuple):
    """Events that began while a meter was followed, on either side; one is shared if the other side's touches it."""

    champion: int
    champion_only: int
    challenger: int
    challenger_only: int


class Place(NamedTuple):
    """How far a meter is judged by the stream, and by the challenger; None: it is not followed yet."""

    meter_id: str
    stream_at: int
    at: int | None


class Known(NamedTuple):
    """What is remembered of a meter."""

    meter_id: str
    since: int
    at: int
    state: bytes
    profile: bytes | None


class Said(NamedTuple):
    """A stored reading and what was said of it."""

    reading: Judged
    scored: bool
    anomalous: bool


def comparison(db: sqlite3.Connection) -> Comparison | None:
    """The one that runs; None where nothing is compared."""
    row = db.execute("SELECT * FROM shadow").fetchone()
    if row is None:
        return None
    counts = Counts(*(row[name] for name in _COUNTS))
    return Comparison(counts=counts, **{name: row[name] for name in Comparison._fields if name != "counts"})


def begin(db: sqlite3.Connection, challenger: str, champion: str, now: int) -> None:
    """Forget what was compared before, and compare these two from here on."""
    end(db)
    db.execute(
        "INSERT INTO shadow VALUES (1, ?, ?, 0, ?, ?, 0, 0, 0, 0, 0, 0, 0, 0)",
        (challenger, champion, now, now),
    )


def end(db: sqlite3.Connection) -> None:
    """Compare nothing any more."""
    for table in ("shadow", "shadow_states", "shadow_events"):
        db.execute(f"DELETE FROM {table}")  # noqa: S608


def places(db: sqlite3.Connection, limit: int) -> list[Place]:
    """The first meters in order of their ids that the stream has a state of."""
    rows = db.execute(
        "SELECT h.meter_id, h.at, s.at FROM hot_states AS h LEFT JOIN shadow_states AS s ON s.meter_id = h.meter_id "
        "WHERE h.at IS NOT NULL ORDER BY h.meter_id LIMIT ?",
        (limit,),
    )
    return [Place(*row) for row in rows]


def streams(db: sqlite3.Connection, meter_id: str) -> Known:
    """A meter's state as the stream has it, for the challenger to begin with."""
    at, state, profile = db.execute(
        "SELECT at, state, profile FROM meter_states WHERE meter_id = ?", (meter_id,)
    ).fetchone()
    return Known(meter_id, at, at, state, profile)


def known(db: sqlite3.Connection, meter_id: str) -> Known:
    """A followed meter's state as the challenger has it."""
    return Known(*db.execute("SELECT * FROM shadow_states WHERE meter_id = ?", (meter_id,)).fetchone())


def is_kept(db: sqlite3.Connection, meter_id: str, at: int) -> bool:
    """Whether a reading is still stored; else those after it may have been pruned too."""
    row = db.execute("SELECT 1 FROM power_data WHERE meter_id = ? AND at = ?", (meter_id, at)).fetchone()
    return row is not None


def said(db: sqlite3.Connection, meter_id: str, after: int, until: int, limit: int) -> list[Said]:
    """A meter's readings later than `after` up to `until` that were judged in order, and how."""
    rows = db.execute(
        f"SELECT p.at, v.model_version, p.record_offset, v.status, coalesce(v.anomalous, 0), {_CHANNELS} "  # noqa: S608
        "FROM power_data AS p JOIN verdicts AS v ON v.meter_id = p.meter_id AND v.at = p.at "
        "WHERE p.meter_id = ? AND p.at > ? AND p.at <= ? AND v.status != 'late' ORDER BY p.at LIMIT ?",
        (meter_id, after, until, limit),
    )
    return [Said(Judged(row[0], row[1], row[2], tuple(row[5:])), row[3] == "scored", bool(row[4])) for row in rows]


def add(
    db: sqlite3.Connection,
    before: Comparison,
    counts: Counts,
    states: Sequence[Known],
    events: Sequence[dict[str, Any]],
    *,
    now: int,
    behind_s: int,
) -> None:
    """Write what a piece of readings came to, with how far they go: all of it or nothing.

    Raises:
        MovedError: the comparison is not the one that was read, or has gone on since.
    """
    sums = ", ".join(f"{name} = {name} + ?" for name in _COUNTS)
    done = db.execute(
        f"UPDATE shadow SET step = step + 1, looked_at = ?, behind_s = ?, {sums} "  # noqa: S608
        "WHERE challenger = ? AND champion = ? AND step = ?",
        (now, behind_s, *counts, before.challenger, before.champion, before.step),
    )
    if done.rowcount != 1:
        raise MovedError
    db.executemany("INSERT OR REPLACE INTO shadow_states VALUES (?, ?, ?, ?, ?)", states)
    db.executemany(
        "INSERT OR REPLACE INTO shadow_events VALUES "
        "(:event_id, :meter_id, :start_at, :end_at, :peak_at, :severity, :kind, :energy_kwh)",
        events,
    )
    db.execute("UPDATE shadow SET meters = (SELECT count(*) FROM shadow_states)")


# An event of one side against the last one of the other side that begins before it ends: events of one model do not
# overlap, so that if this one does not touch it, none does.
_ONE_SIDE = """
FROM {mine} AS e JOIN shadow_states AS s ON s.meter_id = e.meter_id
WHERE e.start_at > s.since AND e.start_at <= s.at
"""
_ALONE = """
AND coalesce((
    SELECT coalesce(o.end_at, e.start_at) < e.start_at FROM {other} AS o
    WHERE o.meter_id = e.meter_id AND o.start_at <= coalesce(e.end_at, s.at) ORDER BY o.start_at DESC LIMIT 1
), 1)
"""
_SIDES = {"champion": ("events", "shadow_events"), "challenger": ("shadow_events", "events")}


def _side(side: str, *, alone: bool) -> str:
    mine, other = _SIDES[side]
    return (_ONE_SIDE + (_ALONE if alone else "")).format(mine=mine, other=other)


def events(db: sqlite3.Connection) -> Events:
    """How many events each side has, and how many of them the other one has not."""
    return Events(*(
        db.execute(f"SELECT count(*) {_side(side, alone=alone)}").fetchone()[0]
        for side in _SIDES for alone in (False, True)
    ))  # fmt: skip


def alone(db: sqlite3.Connection) -> list[dict[str, Any]]:
    """The newest events that only one side has, newest first; `side` says which."""
    columns = "e.event_id, e.meter_id, e.start_at, e.end_at, e.peak_at, e.severity, e.kind, e.energy_kwh"
    found = [
        {"side": side, **dict(row)}
        for side in _SIDES
        for row in db.execute(
            f"SELECT {columns} {_side(side, alone=True)} ORDER BY e.start_at DESC LIMIT ?",
            (SHOWN,),
        )
    ]
    return sorted(found, key=lambda event: -event["start_at"])[:SHOWN]
