"""How every meter stands: its newest verdict, its newest event, and its power over the last day."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import sqlite3

    from numpy.typing import NDArray

KW = 1e-6  # of a mW
HOUR, DAY_HOURS = 3600, 24
STEPS = 8  # the newest ones, of which the cadence is the median

# Jumps from meter to meter along the key, and to each one's newest rows: some look-ups a meter, not a row a reading.
_ALL = """
WITH RECURSIVE m(id) AS (
    SELECT min(meter_id) FROM power_data
    UNION ALL SELECT (SELECT min(meter_id) FROM power_data WHERE meter_id > m.id) FROM m WHERE m.id IS NOT NULL
), spans AS MATERIALIZED (
    SELECT id, (SELECT min(at) FROM power_data WHERE meter_id = id) AS oldest_at,
           (SELECT max(at) FROM power_data WHERE meter_id = id) AS newest_at
    FROM m WHERE id IS NOT NULL
)
SELECT s.id, s.oldest_at, s.newest_at, v.status, coalesce(v.anomalous, 0),
       p.global_active_power, v.expected_kw, v.lower_kw, v.upper_kw, e.start_at, e.end_at, e.severity, e.kind
FROM spans AS s
JOIN power_data AS p ON p.meter_id = s.id AND p.at = s.newest_at
JOIN verdicts AS v ON v.meter_id = s.id AND v.at = s.newest_at
LEFT JOIN events AS e ON e.meter_id = s.id AND e.start_at = (SELECT max(start_at) FROM events WHERE meter_id = s.id)
"""


class Standing(NamedTuple):
    """A meter at its newest reading, and its newest event. Times are unix seconds, power is kW; None where unknown."""

    meter_id: str
    oldest_at: int
    at: int
    status: str
    anomalous: int
    power: float | None
    expected: float | None
    lower: float | None
    upper: float | None
    event_start: int | None
    event_end: int | None  # None too while the event goes on
    severity: float | None
    kind: str | None

    @property
    def event_open(self) -> bool:
        """Whether an event goes on."""
        return self.event_start is not None and self.event_end is None


def standings(db: sqlite3.Connection) -> list[Standing]:
    """Every meter that ever reported, in order of its id; ten thousand take a fraction of a second."""
    return [Standing(*row) for row in db.execute(_ALL)]


def recent_cadence(db: sqlite3.Connection, meter_id: str) -> int | None:
    """Seconds between a meter's newest readings, the median of few; None below two readings."""
    rows = db.execute("SELECT at FROM power_data WHERE meter_id = ? ORDER BY at DESC LIMIT ?", (meter_id, STEPS + 1))
    at = [row[0] for row in rows]
    return int(np.median(-np.diff(at))) if len(at) > 1 else None


def first_scored(db: sqlite3.Connection, meter_id: str) -> int | None:
    """When a meter's first reading was scored; None before that. Looks for the day first, then within it."""
    day = db.execute(
        "SELECT at FROM rollups WHERE meter_id = ? AND period = 'day' AND scored > 0 ORDER BY at LIMIT 1", (meter_id,)
    ).fetchone()
    found = (
        day
        and db.execute(
            "SELECT at FROM verdicts WHERE meter_id = ? AND at >= ? AND status = 'scored' ORDER BY at LIMIT 1",
            (meter_id, day[0]),
        ).fetchone()
    )
    return found[0] if found else None


def day_before(db: sqlite3.Connection, meter_id: str, until: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The 24 hours (of UTC) up to the one of `until`: mean power (24,) kW, NaN where none was read, and anomalies.

    Returns:
        The means, and (24,) whether a reading of the hour was anomalous.
    """
    first = until // HOUR - DAY_HOURS + 1
    mean, odd = np.full(DAY_HOURS, np.nan), np.zeros(DAY_HOURS, bool)
    for at, total, count, anomalous in db.execute(
        "SELECT at, power_mw_sum, power_readings, anomalous FROM rollups "
        "WHERE meter_id = ? AND period = 'hour' AND at BETWEEN ? AND ?",
        (meter_id, first * HOUR, until),
    ):
        place = at // HOUR - first
        odd[place] = anomalous > 0
        if count:
            mean[place] = total * KW / count
    return mean, odd
