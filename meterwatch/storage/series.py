"""A meter's readings and verdicts over any range, thinned to what a screen can show."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import sqlite3

    from numpy.typing import NDArray

HOUR = 3600
READ_WHOLE = 20_000  # so many readings are read and thinned here; of more, the rollups say where the extremes are
NUMBERS = ("active_power_kw", "expected_kw", "lower_kw", "upper_kw", "score", "threshold")
_SELECT = (
    "SELECT p.at, p.global_active_power, v.expected_kw, v.lower_kw, v.upper_kw, v.score, v.threshold, v.anomalous "
    "FROM power_data AS p JOIN verdicts AS v ON v.meter_id = p.meter_id AND v.at = p.at WHERE p.meter_id = :meter"
)
_IN_RANGE = " AND p.at BETWEEN :start AND :end"


def series(
    db: sqlite3.Connection, meter_id: str, start: int, end: int, max_points: int
) -> dict[str, NDArray[np.int64] | NDArray[np.float64] | NDArray[np.bool_]]:
    """Readings with their verdicts from `start` to `end`, both included, in order of time.

    Where there are more than `max_points`, the range is cut into equal spans and of each the least and the greatest
    power stay; so does every anomalous reading, also beyond `max_points`.

    Returns:
        `at` (n,) unix seconds; `active_power_kw`, `expected_kw`, `lower_kw`, `upper_kw`, `score`, `threshold` (n,) with
        NaN where unknown; `anomalous` (n,) bool.
    """
    asked: dict[str, Any] = {"meter": meter_id, "start": start, "end": end}
    (held,) = db.execute(
        "SELECT coalesce(sum(readings), 0) FROM rollups WHERE meter_id = :meter AND period = 'hour' "
        "AND at BETWEEN :start - 3599 AND :end",
        asked,
    ).fetchone()
    if held <= max(max_points, READ_WHOLE):
        rows = db.execute(f"{_SELECT}{_IN_RANGE} ORDER BY p.at", asked).fetchall()
        columns = _columns(rows)
        if len(rows) <= max_points:
            return columns
        span, power = _span_of(columns["at"], start, end, max_points), columns["active_power_kw"]
        keep = _first_of_each(span, power) | _first_of_each(span, -power) | columns["anomalous"]
        return {name: values[keep] for name, values in columns.items()}
    return _from_rollups(db, asked, max_points)


def _columns(rows: list[Any]) -> dict[str, NDArray[Any]]:
    values = np.array([tuple(row) for row in rows], np.float64).reshape(len(rows), 2 + len(NUMBERS))
    numbers = {name: values[:, 1 + k].copy() for k, name in enumerate(NUMBERS)}
    return {"at": values[:, 0].astype(np.int64), **numbers, "anomalous": values[:, -1] == 1}


def _span_of(at: NDArray[np.int64], start: int, end: int, max_points: int) -> NDArray[np.int64]:
    """The number of the equal span that each time falls in; each keeps two points."""
    spans = max(max_points // 2, 1)
    return (at - start) * spans // (end - start + 1)


def _first_of_each(span: NDArray[np.int64], rank: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n,) The lowest-ranking item of each span; NaN ranks last."""
    keep = np.zeros(len(span), bool)
    order = np.lexsort((rank, span))
    keep[order[np.diff(span[order], prepend=-1) > 0]] = True
    return keep


def _from_rollups(db: sqlite3.Connection, asked: dict[str, Any], max_points: int) -> dict[str, NDArray[Any]]:
    """The same for a range of any length, reading the rows of a few hours a span only."""
    hours = np.array(
        [
            tuple(row)
            for row in db.execute(
                "SELECT at, power_mw_min, power_mw_max FROM rollups WHERE meter_id = :meter AND period = 'hour' "
                "AND at BETWEEN :start - 3599 AND :end ORDER BY at",
                asked,
            )
        ],
        np.float64,
    )
    at, least, most = hours[:, 0].astype(np.int64), hours[:, 1], hours[:, 2]
    start, end = asked["start"], asked["end"]
    # The hours at the ends are in the range only in part, so their own extremes may lie outside.
    edge = (at < start) | (at + HOUR - 1 > end)
    span = _span_of(np.clip(at, start, end), start, end, max_points)
    chosen = _times_of(db, asked, at[edge | _first_of_each(span, least)], "min")
    chosen += _times_of(db, asked, at[edge | _first_of_each(span, -most)], "max")
    anomalous = db.execute(  # by itself, SQLite takes the table, whose key begins alike, and reads the whole range
        "SELECT at FROM verdicts AS p INDEXED BY verdicts_anomalous "  # noqa: S608
        f"WHERE meter_id = :meter AND anomalous = 1{_IN_RANGE}",
        asked,
    ).fetchall()
    times = sorted({*chosen, *(row[0] for row in anomalous)})
    rows = db.execute(
        f"{_SELECT} AND p.at IN (SELECT value FROM json_each(:times)) ORDER BY p.at",  # noqa: S608
        {"meter": asked["meter"], "times": json.dumps(times)},
    ).fetchall()
    return _columns(rows)


def _times_of(db: sqlite3.Connection, asked: dict[str, Any], hours: NDArray[np.int64], verb: str) -> list[int]:
    """When each hour's extreme was read: beside a lone min() or max(), SQLite answers that row's other columns.

    The plus in the condition keeps SQLite from searching the whole range for each hour.
    """
    rows = db.execute(
        f"SELECT p.at, {verb}(p.global_active_power) FROM json_each(:hours) AS h CROSS JOIN power_data AS p "  # noqa: S608
        f"ON p.meter_id = :meter AND p.at >= h.value AND p.at < h.value + {HOUR} "
        "WHERE +p.at BETWEEN :start AND :end GROUP BY h.value",
        {**asked, "hours": json.dumps(hours.tolist())},
    )
    return [row[0] for row in rows]
