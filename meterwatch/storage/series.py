"""A meter's readings and verdicts over any range, thinned to what a screen can show."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import sqlite3

    from numpy.typing import NDArray

HOUR = 3600
AT_THE_EDGES = 4  # points more than two a span: the hours at both ends are looked into for themselves
READ_WHOLE = 20_000  # so many readings are read and thinned here; of more, the rollups say where the extremes are
NUMBERS = ("active_power_kw", "expected_kw", "lower_kw", "upper_kw", "score", "threshold")
_SELECT = (
    "SELECT p.at, p.global_active_power, v.expected_kw, v.lower_kw, v.upper_kw, v.score, v.threshold, v.anomalous "
    "FROM power_data AS p JOIN verdicts AS v ON v.meter_id = p.meter_id AND v.at = p.at WHERE p.meter_id = :meter"
)
_IN_RANGE = " AND p.at BETWEEN :start AND :end"


Columns: TypeAlias = "dict[str, NDArray[Any]]"


def series(db: sqlite3.Connection, meter_id: str, start: int, end: int, max_points: int) -> Columns:
    """Readings with their verdicts from `start` to `end`, both included, in order of time.

    Where there are more than `max_points`, the range is cut into equal spans and of each the least and the greatest
    power stay; so does every anomalous reading, also beyond `max_points`.

    Returns:
        `at` (n,) unix seconds; `active_power_kw`, `expected_kw`, `lower_kw`, `upper_kw`, `score`, `threshold` (n,) with
        NaN where unknown; `anomalous` (n,) bool.
    """
    asked = {"meter": meter_id, "start": start, "end": end}
    return _thinned(db, asked, max_points, max_points, _anomalous(db, asked))


def picture(db: sqlite3.Connection, meter_id: str, start: int, end: int, max_points: int) -> Columns:
    """The same for a screen: never more than `max_points` (a dozen and more), half of them for the anomalous readings.

    Where these are more than that half, those of a span share a mark, which reaches from the first to the last of them:
    so each of them is inside a mark, whatever their number, and where there is none there is no mark.

    Returns:
        As `series`, and `stands_for` (n,): how many anomalous readings the mark stands for that begins with this one, 0
        where none begins; it ends with the last anomalous one before the next begins.
    """
    asked, half = {"meter": meter_id, "start": start, "end": end}, max_points // 2
    odd = _anomalous(db, asked)
    firsts = lasts = np.arange(len(odd))
    if len(odd) > half:
        firsts = np.flatnonzero(np.diff(_span_of(odd, start, end, half), prepend=-1))
        lasts = np.append(firsts[1:], len(odd)) - 1
    columns = _thinned(db, asked, max_points, max_points - half - AT_THE_EDGES, odd[np.union1d(firsts, lasts)])
    stands_for = columns["anomalous"].astype(np.int64)
    if stands_for.sum() < len(odd):
        stands_for[:] = 0
        stands_for[np.searchsorted(columns["at"], odd[firsts])] = lasts - firsts + 1
    return {**columns, "stands_for": stands_for}


def _anomalous(db: sqlite3.Connection, asked: dict[str, Any]) -> NDArray[np.int64]:
    """(n,) The times of the anomalous readings. By itself SQLite takes the table, and reads the whole range."""
    rows = db.execute(
        "SELECT at FROM verdicts AS p INDEXED BY verdicts_anomalous "  # noqa: S608
        f"WHERE meter_id = :meter AND anomalous = 1{_IN_RANGE} ORDER BY at",
        asked,
    )
    return np.array([row[0] for row in rows], np.int64)


def _thinned(
    db: sqlite3.Connection, asked: dict[str, Any], whole: int, extremes: int, anomalous: NDArray[np.int64]
) -> Columns:
    """All readings where they are at most `whole`; else the extremes of power, about so many, and these anomalous."""
    (held,) = db.execute(
        "SELECT coalesce(sum(readings), 0) FROM rollups WHERE meter_id = :meter AND period = 'hour' "
        "AND at BETWEEN :start - 3599 AND :end",
        asked,
    ).fetchone()
    if held > max(whole, READ_WHOLE):
        times = np.union1d(_extremes(db, asked, extremes), anomalous).tolist()
        return _columns(
            db.execute(
                f"{_SELECT} AND p.at IN (SELECT value FROM json_each(:times)) ORDER BY p.at",  # noqa: S608
                {"meter": asked["meter"], "times": json.dumps(times)},
            ).fetchall()
        )
    columns = _columns(db.execute(f"{_SELECT}{_IN_RANGE} ORDER BY p.at", asked).fetchall())
    at, power = columns["at"], columns["active_power_kw"]
    if len(at) <= whole:
        return columns
    span = _span_of(at, asked["start"], asked["end"], extremes)
    keep = _first_of_each(span, power) | _first_of_each(span, -power) | np.isin(at, anomalous)
    return {name: values[keep] for name, values in columns.items()}


def _columns(rows: list[Any]) -> Columns:
    values = np.array([tuple(row) for row in rows], np.float64).reshape(len(rows), 2 + len(NUMBERS))
    numbers = {name: values[:, 1 + k].copy() for k, name in enumerate(NUMBERS)}
    return {"at": values[:, 0].astype(np.int64), **numbers, "anomalous": values[:, -1] == 1}


def _span_of(at: NDArray[np.int64], start: int, end: int, points: int) -> NDArray[np.int64]:
    """The number of the equal span that each time falls in; each keeps two points."""
    spans = max(points // 2, 1)
    return (at - start) * spans // (end - start + 1)


def _first_of_each(span: NDArray[np.int64], rank: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n,) The lowest-ranking item of each span; NaN ranks last."""
    keep = np.zeros(len(span), bool)
    order = np.lexsort((rank, span))
    keep[order[np.diff(span[order], prepend=-1) > 0]] = True
    return keep


def _extremes(db: sqlite3.Connection, asked: dict[str, Any], most: int) -> list[int]:
    """When the extremes of a range of any length were read, looking into a few hours of each span only."""
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
    at, least, most_power = hours[:, 0].astype(np.int64), hours[:, 1], hours[:, 2]
    start, end = asked["start"], asked["end"]
    # The hours at the ends are in the range only in part, so their own extremes may lie outside.
    edge = (at < start) | (at + HOUR - 1 > end)
    span = _span_of(np.clip(at, start, end), start, end, most)
    least_of, most_of = (at[edge | _first_of_each(span, rank)] for rank in (least, -most_power))
    return _times_of(db, asked, least_of, "min") + _times_of(db, asked, most_of, "max")


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
