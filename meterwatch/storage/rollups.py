"""Hours and days of each meter as integer sums: what a chart of years reads instead of every reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from numpy.typing import NDArray

PERIODS = {"hour": 3600, "day": 86400}
COUNTED = ("scored", "warming_up", "gap", "late")
MILLI = {  # channel of power_data: (name in rollups, thousandths or millionths a unit)
    "global_active_power": ("power_mw", 1e6),
    "voltage": ("voltage_mv", 1e3),
}
METERED = {f"sub_metering_{k}": f"sub_metering_{k}_mwh" for k in (1, 2, 3)}
NOTHING = np.iinfo(np.int64)  # stands for "no reading with a value" until the nulls are put in

SUMS = (
    "readings",
    *COUNTED,
    "anomalous",
    "power_readings",
    "power_mw_sum",
    "voltage_readings",
    "voltage_mv_sum",
    *METERED.values(),
)
LEAST, MOST = ("power_mw_min", "voltage_mv_min"), ("power_mw_max", "voltage_mv_max")
# A null extreme stands for "none yet", which SQL's min() and max() would spread.
UPSERT = "ON CONFLICT DO UPDATE SET " + ", ".join(
    [f"{name} = {name} + excluded.{name}" for name in SUMS]
    + [
        f"{name} = {verb}(coalesce({name}, excluded.{name}), coalesce(excluded.{name}, {name}))"
        for verb, names in (("min", LEAST), ("max", MOST))
        for name in names
    ]
)


def rollups(readings: pa.Table, verdicts: pa.Table) -> pa.Table:
    """What new rows add to the hours and days of their meters.

    Args:
        readings: rows of `power_data`, any order.
        verdicts: rows of `verdicts`, in the same order.

    Returns:
        Rows of `rollups`, one for each meter and hour and each meter and day that `readings` touch.
    """
    meters = readings["meter_id"].combine_chunks().dictionary_encode()
    meter = meters.indices.to_numpy()
    hour = readings["at"].to_numpy() // PERIODS["hour"]
    order = np.lexsort((hour, meter))
    starts = _starts(meter[order], hour[order])
    columns = {name: values[order] for name, values in _values(readings, verdicts).items()}
    meter, hour = meter[order][starts], hour[order][starts]
    hours = _reduce(columns, starts)
    day = hour // 24
    starts = _starts(meter, day)
    days = _reduce(hours, starts)
    return pa.concat_tables(
        [
            _table(meters.dictionary, meter, "hour", hour, hours),
            _table(meters.dictionary, meter[starts], "day", day[starts], days),
        ]
    )


def _values(readings: pa.Table, verdicts: pa.Table) -> dict[str, NDArray[np.int64]]:
    """One column a sum or extreme, a value for each reading."""
    status = verdicts["status"].combine_chunks().cast(pa.string())
    columns = {name: _integers(pc.equal(status, name)) for name in COUNTED}
    columns["readings"] = np.ones(readings.num_rows, np.int64)
    columns["anomalous"] = _integers(verdicts["anomalous"])
    for channel, (name, scale) in MILLI.items():
        values, present = _scaled(readings[channel], scale)
        columns[f"{name[:-3]}_readings"] = present.astype(np.int64)
        columns[f"{name}_sum"] = values
        columns[f"{name}_min"] = np.where(present, values, NOTHING.max)
        columns[f"{name}_max"] = np.where(present, values, NOTHING.min)
    for channel, name in METERED.items():
        columns[name] = _scaled(readings[channel], 1e3)[0]
    return columns


def _integers(column: pa.ChunkedArray | pa.Array) -> NDArray[np.int64]:
    return np.asarray(column.cast(pa.int64()).fill_null(0).to_numpy(), np.int64)


def _scaled(column: pa.ChunkedArray, scale: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Whole thousandths or millionths, 0 where missing, and where they are present."""
    values = column.cast(pa.float64()).to_numpy()
    present = ~np.isnan(values)
    return np.rint(np.where(present, values, 0.0) * scale).astype(np.int64), present


def _starts(*keys: NDArray[np.int64]) -> NDArray[np.intp]:
    """Where a new group begins in sorted keys."""
    changed = np.zeros(len(keys[0]), bool)
    changed[:1] = True
    for key in keys:
        changed[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(changed)


def _reduce(columns: dict[str, NDArray[np.int64]], starts: NDArray[np.intp]) -> dict[str, NDArray[np.int64]]:
    if not len(starts):
        return columns
    verbs = {**dict.fromkeys(LEAST, np.minimum), **dict.fromkeys(MOST, np.maximum)}
    return {name: verbs.get(name, np.add).reduceat(values, starts) for name, values in columns.items()}


def _table(
    names: pa.Array,
    meter: NDArray[np.int64],
    period: str,
    number: NDArray[np.int64],
    sums: dict[str, NDArray[np.int64]],
) -> pa.Table:
    columns = {
        "meter_id": names.take(pa.array(meter)),
        "period": pa.array([period]).take(pa.array(np.zeros(len(meter), np.int64))),
        "at": pa.array(number * PERIODS[period]),
    }
    for name, values in sums.items():
        missing = np.isin(values, (NOTHING.min, NOTHING.max)) if name in LEAST + MOST else None
        columns[name] = pa.array(values, mask=missing)
    return pa.table(columns)
