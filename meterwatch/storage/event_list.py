"""Events as an analyst goes through them: narrowed, a page at a time, with what is to be said of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from meterwatch.storage.queries import EVENT_COLUMNS, FAR

if TYPE_CHECKING:
    import sqlite3

LABELS = {"real": "l.label = 'real'", "false_alarm": "l.label = 'false_alarm'", "open": "l.label IS NULL"}
_FROM = "FROM events AS e LEFT JOIN labels AS l ON l.event_id = e.event_id"


@dataclass(frozen=True, slots=True)
class Narrowed:
    """Which events are asked for; None or empty: all of them."""

    meter_id: str | None = None
    start: int | None = None  # unix seconds: those that go on until then or later
    end: int | None = None  # those that begin then or earlier
    severity: float = 0.0  # the least
    kind: str = ""
    label: str = ""  # a key of LABELS; `open`: not labelled yet


class Events(NamedTuple):
    """A page of events, newest first, and sums over all that were asked for."""

    rows: list[dict[str, Any]]  # the table's columns, `label` and `note` (None where there is none)
    total: int
    above_kwh: float  # sums of what was more and of what was less than expected; the second is negative
    below_kwh: float


def listed(db: sqlite3.Connection, asked: Narrowed, *, offset: int, limit: int) -> Events:
    """The events asked for, `limit` of them from the `offset`-th newest on."""
    where, values = _where(asked)
    total, above, below = db.execute(
        f"SELECT count(*), total(max(e.energy_kwh, 0)), total(min(e.energy_kwh, 0)) {_FROM} WHERE {where}",
        values,
    ).fetchone()
    rows = db.execute(
        f"SELECT {', '.join(f'e.{name}' for name in EVENT_COLUMNS)}, l.label, l.note {_FROM} WHERE {where} "
        "ORDER BY e.start_at DESC, e.event_id DESC LIMIT ? OFFSET ?",
        (*values, limit, offset),
    )
    return Events([dict(row) for row in rows], total, above, below)


def kinds(db: sqlite3.Connection, meter_id: str | None = None) -> list[str]:
    """The kinds that events have had, in order of the alphabet."""
    rows = db.execute(
        "SELECT DISTINCT kind FROM events WHERE meter_id = coalesce(?, meter_id) ORDER BY kind", (meter_id,)
    )
    return [row[0] for row in rows]


def labelled(db: sqlite3.Connection, meter_id: str | None = None) -> list[tuple[float, bool]]:
    """The severity of each labelled event that is still stored, and whether it was real."""
    rows = db.execute(
        "SELECT e.severity, l.label = 'real' FROM labels AS l JOIN events AS e ON e.event_id = l.event_id "
        "WHERE e.meter_id = coalesce(?, e.meter_id)",
        (meter_id,),
    )
    return [(row[0], bool(row[1])) for row in rows]


def _where(asked: Narrowed) -> tuple[str, list[Any]]:
    conditions: list[str] = [LABELS[asked.label]] if asked.label else []
    values: list[Any] = []
    for condition, value in (
        ("e.meter_id = ?", asked.meter_id),
        (f"coalesce(e.end_at, {FAR}) >= ?", asked.start),
        ("e.start_at <= ?", asked.end),
        ("e.severity >= ?", asked.severity or None),
        ("e.kind = ?", asked.kind or None),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    return " AND ".join(conditions) or "1", values
