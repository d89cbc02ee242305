"""A meter's history in a few numbers: days, months, hours of the week, voltages, correlations."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.readings import CHANNELS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from numpy.typing import NDArray

KW = 1e-6  # of a mW
CADENCE_READINGS = 200
VOLTAGE_READINGS = 250_000  # the newest ones: half a year of minutes
CORRELATED_READINGS = 50_000  # the newest ones: five weeks of minutes
CHANNEL_COLUMNS = dict(  # the contract's channel names to the original's columns
    zip(
        CHANNELS,
        ("global_active_power", "global_reactive_power", "voltage", "global_intensity",
         "sub_metering_1", "sub_metering_2", "sub_metering_3"),
        strict=True,
    )
)  # fmt: skip


def cadence(db: sqlite3.Connection, meter_id: str) -> int | None:
    """Seconds between a meter's readings: the median over its newest ones; None below two readings."""
    rows = db.execute(
        "SELECT at FROM power_data WHERE meter_id = ? ORDER BY at DESC LIMIT ?", (meter_id, CADENCE_READINGS)
    ).fetchall()
    return int(np.median(-np.diff([row[0] for row in rows]))) if len(rows) > 1 else None


def daily(
    db: sqlite3.Connection, meter_id: str, window: int, zone: tzinfo = UTC
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """Energy of each day with its moving average.

    Args:
        db: see `queries.reading`.
        meter_id: whose.
        window: days of the moving average, the day itself included.
        zone: whose days.

    Returns:
        Every day from the first to the last, as 2007-11-30; kWh (n,), NaN where a day has no power; their mean over the
        window (n,), NaN until that many days have passed.
    """
    days, sums, counts = _days(db, meter_id, zone)
    hours = (cadence(db, meter_id) or 0) / 3600
    total = np.where(counts > 0, sums * KW * hours, np.nan)
    return days, total, _trailing_mean(total, window)


def monthly(
    db: sqlite3.Connection, meter_id: str, zone: tzinfo = UTC
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """Mean power of each month with its two-month moving average.

    Returns:
        Every month from the first to the last, as 2007-11; kW (n,), NaN where a month has no power; the mean with the
        month before (n,), NaN in the first.
    """
    days, sums, counts = _days(db, meter_id, zone)
    months, starts = np.unique([day[:7] for day in days], return_index=True)
    if not days:
        return [], np.zeros(0), np.zeros(0)
    counts = np.add.reduceat(counts, starts)
    mean = _ratio(np.add.reduceat(sums, starts), counts) * KW
    return months.tolist(), mean, _trailing_mean(mean, 2)


def week(db: sqlite3.Connection, meter_id: str, zone: tzinfo = UTC) -> NDArray[np.float64]:
    """Mean power by weekday and hour: (7, 24) kW, Monday first, NaN where nothing was measured."""
    at, sums, counts = _rollups(db, meter_id, "hour")
    local = _local_hours(at, zone)
    place = (local // 24 + 3) % 7 * 24 + local % 24
    total = [np.bincount(place, values, minlength=7 * 24).astype(np.float64) for values in (sums, counts)]
    return (_ratio(total[0], total[1]) * KW).reshape(7, 24)


def voltage(db: sqlite3.Connection, meter_id: str, bins: int = 60) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """How often each voltage was read among the newest readings: edges (bins + 1,) V and counts (bins,)."""
    rows = db.execute(
        "SELECT voltage FROM power_data WHERE meter_id = ? ORDER BY at DESC LIMIT ?", (meter_id, VOLTAGE_READINGS)
    ).fetchall()
    values = np.array([row[0] for row in rows], np.float64)
    counts, edges = np.histogram(values[~np.isnan(values)], bins)
    return edges, counts


def correlation(db: sqlite3.Connection, meter_id: str) -> tuple[Sequence[str], NDArray[np.float64]]:
    """Pearson correlations of the channels among the newest complete readings.

    Returns:
        The channels' names (k,), and (k, k), NaN where a channel never changes or is never there.
    """
    cursor = db.execute(
        f"SELECT {', '.join(CHANNEL_COLUMNS.values())} FROM power_data WHERE meter_id = ? ORDER BY at DESC LIMIT ?",  # noqa: S608
        (meter_id, CORRELATED_READINGS),
    )
    values = np.array([tuple(row) for row in cursor], np.float64).reshape(-1, len(CHANNEL_COLUMNS))
    there = ~np.isnan(values).all(axis=0)
    values = values[~np.isnan(values[:, there]).any(axis=1)]
    centred = values - values.mean(axis=0) if len(values) else values
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = np.sqrt((centred**2).sum(axis=0))
        return tuple(CHANNEL_COLUMNS), centred.T @ centred / np.outer(deviation, deviation)


def _rollups(
    db: sqlite3.Connection, meter_id: str, period: str
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Start of each hour or day (n,), sum of power in mW (n,), readings with power (n,)."""
    rows = db.execute(
        "SELECT at, power_mw_sum, power_readings FROM rollups WHERE meter_id = ? AND period = ? ORDER BY at",
        (meter_id, period),
    )
    values = np.array([tuple(row) for row in rows], np.int64).reshape(-1, 3)
    return values[:, 0], values[:, 1].astype(np.float64), values[:, 2].astype(np.float64)


def _days(
    db: sqlite3.Connection, meter_id: str, zone: tzinfo
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """Every day from the first to the last with its sum in mW and its readings with power.

    Outside UTC a day is made of the hours (of UTC) that begin in it.
    """
    at, sums, counts = _rollups(db, meter_id, "day" if zone is UTC else "hour")
    if not len(at):
        return [], sums, counts
    number = (at // 86_400) if zone is UTC else _local_hours(at, zone) // 24
    first = int(number[0])
    totals = [np.bincount(number - first, values).astype(np.float64) for values in (sums, counts)]
    begin = date(1970, 1, 1) + timedelta(days=first)
    return [(begin + timedelta(days=k)).isoformat() for k in range(len(totals[0]))], totals[0], totals[1]


def _local_hours(at: NDArray[np.int64], zone: tzinfo) -> NDArray[np.int64]:
    """Hours since 1970 on the zone's wall clock."""
    if zone is UTC:
        return at // 3600
    offsets = [datetime.fromtimestamp(second, UTC).astimezone(zone).utcoffset() for second in at.tolist()]
    return np.array(
        [(s + int((o or timedelta()).total_seconds())) // 3600 for s, o in zip(at.tolist(), offsets, strict=True)],
        np.int64,
    )


def _ratio(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.full(len(sums), np.nan)
    np.divide(sums, counts, out=out, where=counts > 0)
    return out


def _trailing_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Mean of what is there among the last `window` values; NaN before there are that many places."""
    out = np.full(len(values), np.nan)
    if len(values) >= window:
        frames = np.lib.stride_tricks.sliding_window_view(values, window)
        present = ~np.isnan(frames)
        out[window - 1 :] = _ratio(np.where(present, frames, 0).sum(axis=1), present.sum(axis=1).astype(np.float64))
    return out
