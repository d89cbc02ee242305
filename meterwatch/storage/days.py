"""The newest day of some meters, as columns: what is compared with a model's reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from meterwatch.detection.drift import DAY_S, FEWEST_LEVEL_DAYS, FULL_HOURS, HOUR_S, LEVEL_DAYS
from meterwatch.storage import queries
from meterwatch.storage.summaries import CHANNEL_COLUMNS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from numpy.typing import NDArray

_COLUMNS = ", ".join(f"p.{column}" for column in CHANNEL_COLUMNS.values())


class Day(NamedTuple):
    """The last 24 hours of a meter that has a week behind it."""

    channels: NDArray[np.float64]  # (7, n)
    score: NDArray[np.float64]  # (n,) NaN unless scored
    level_kw: float  # its mean power over the weeks before


def days(db: sqlite3.Connection, meters: int, readings: int) -> Iterator[Day]:
    """The newest day of meters in order of their ids, those left out that have too little to compare.

    Args:
        db: see `queries.reading`.
        meters: at most so many are looked at.
        readings: no further meter once so many were read.
    """
    ends = queries.ends(db, meters)
    if not ends:
        return
    now = int(np.median(list(ends.values())))  # one clock that is wrong must not make all others old
    since = now - DAY_S
    left = readings
    for meter_id, end in ends.items():
        if left <= 0:
            return
        level = _level(db, meter_id, since) if end > since else None
        if level is None:
            continue
        rows = db.execute(
            f"SELECT p.at, v.score, {_COLUMNS} FROM power_data AS p "  # noqa: S608
            "JOIN verdicts AS v ON v.meter_id = p.meter_id AND v.at = p.at WHERE p.meter_id = ? AND p.at > ? LIMIT ?",
            (meter_id, since, left),
        ).fetchall()
        left -= len(rows)
        values = np.array([tuple(row) for row in rows], np.float64).T
        if len(np.unique(values[0] // HOUR_S)) >= FULL_HOURS:
            yield Day(values[2:], values[1], level)


def _level(db: sqlite3.Connection, meter_id: str, until: int) -> float | None:
    """A meter's mean power over the weeks before a day; None where there are too few days or no power."""
    day = until // DAY_S * DAY_S
    count, total, readings = db.execute(
        "SELECT count(*), sum(power_mw_sum), sum(power_readings) FROM rollups "
        "WHERE meter_id = ? AND period = 'day' AND at >= ? AND at < ? AND power_readings > 0",
        (meter_id, day - LEVEL_DAYS * DAY_S, day),
    ).fetchone()
    return total / readings / 1e6 if count >= FEWEST_LEVEL_DAYS and total > 0 else None
