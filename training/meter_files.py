"""Meter readings from a file or a data frame: the UCI text, or CSV or Parquet with the contract's column names."""

from __future__ import annotations

import difflib
import gzip
import lzma
import re
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from meterwatch.detection.errors import DataError
from meterwatch.detection.readings import CHANNELS
from meterwatch.settings import zone_of
from training.series import Series

if TYPE_CHECKING:
    from datetime import tzinfo
    from pathlib import Path

    from numpy.typing import NDArray

DEFAULT_METER = "default"
COLUMNS = ("at", "meter_id", "energy_kwh", *CHANNELS)
UCI_COLUMNS = ("Date", "Time", *CHANNELS)
SLOWEST_S = 3_600
_MISSING = ["", "?", "NaN", "nan", "NA", "null"]
_DATE = re.compile(r"\s*\d{1,2}/\d{1,2}/\d{4}\s*")
_OFFSET = r"[T ].*(?:[Zz]|[+-]\d{2}(?::?\d{2})?)$"
_NEAR = 0.7
_NO_TIME = np.iinfo(np.int64).min  # what numpy makes of NaT


@dataclass(frozen=True, slots=True)
class MeterData:
    """What was read: one series a meter, sorted by time, and what was left out."""

    series: list[Series]
    doubles: int  # rows with a time that their meter had already
    no_such_time: int  # rows whose local time daylight saving skipped
    ignored: tuple[str, ...]  # columns with other names


def read_frame(path: Path) -> pd.DataFrame:
    """Read a file as it is: `at`, where given `meter_id`, and numbers.

    Raises:
        DataError: the file is absent, empty, or not of a known form; the message names the place.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        if magic == b"PAR1":
            return _parquet(path)
        with _text(path) as file:
            first = file.readline().decode("utf-8-sig").strip()
        if not first:
            raise DataError(f"{path} is empty, or its first line is")
        separator = max(";,\t", key=first.count)
        fields = [field.strip() for field in first.split(separator)]
        if fields[0] == "Date" or _DATE.fullmatch(fields[0]):
            return _uci(path, separator, header=fields[0] == "Date")
        return _csv(path, separator, fields)
    except (OSError, EOFError, lzma.LZMAError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(f"cannot read {path}: {reason}") from error
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}; mend or remove that line") from error


def _text(path: Path) -> IO[bytes] | lzma.LZMAFile | gzip.GzipFile:
    if path.suffix == ".xz":
        return lzma.open(path)
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _parquet(path: Path) -> pd.DataFrame:
    names = pq.read_schema(path).names
    known = [name for name in names if name in COLUMNS]
    _refuse_mistyped(names)
    frame: pd.DataFrame = pq.read_table(path, columns=known).to_pandas()
    return frame


def _csv(path: Path, separator: str, fields: list[str]) -> pd.DataFrame:
    if "at" not in fields:
        raise DataError(
            f"{path}: its first line names no column 'at'; give the UCI text, or CSV or Parquet with at, "
            f"active_power_kw or energy_kwh, and where there are several meters meter_id"
        )
    types = {name: pa.float64() if name in (*CHANNELS, "energy_kwh") else pa.string() for name in fields}
    with _text(path) as file:
        table = pa_csv.read_csv(
            file,
            read_options=pa_csv.ReadOptions(column_names=fields, skip_rows=1),
            parse_options=pa_csv.ParseOptions(delimiter=separator),
            convert_options=pa_csv.ConvertOptions(column_types=types, null_values=_MISSING),
        )
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _uci(path: Path, separator: str, *, header: bool) -> pd.DataFrame:
    words = pa.dictionary(pa.int32(), pa.string())
    types = {name: words if name in ("Date", "Time") else pa.float64() for name in UCI_COLUMNS}
    with _text(path) as file:
        table = pa_csv.read_csv(
            file,
            read_options=pa_csv.ReadOptions(column_names=list(UCI_COLUMNS), skip_rows=int(header)),
            parse_options=pa_csv.ParseOptions(delimiter=separator),
            convert_options=pa_csv.ConvertOptions(column_types=types, null_values=_MISSING),
        )
    at = _parsed(table["Date"], "%d/%m/%Y", "day") + (
        _parsed(table["Time"], "%H:%M:%S", "time") - pd.Timestamp(1900, 1, 1)
    )
    frame: pd.DataFrame = table.drop_columns(["Date", "Time"]).to_pandas()
    frame.insert(0, "at", at)
    return frame


def _parsed(column: pa.ChunkedArray, form: str, what: str) -> pd.Series:
    """Parse each distinct text once: a year of minutes has 365 days and 1,440 times."""
    words = column.unify_dictionaries().combine_chunks()
    distinct = words.dictionary.to_pandas()
    values = pd.to_datetime(distinct, format=form, errors="coerce")
    if values.isna().any() or words.null_count:
        bad = distinct[values.isna()]
        raise pa.ArrowInvalid(f"{bad.iloc[0]!r} is no {what}" if len(bad) else f"a line has no {what}")
    return pd.Series(values.to_numpy()[words.indices.to_numpy()])


def _refuse_mistyped(names: list[str]) -> None:
    """Columns with other names are ignored, but one that is nearly a channel's is a slip."""
    for name in names:
        near = difflib.get_close_matches(name.lower(), COLUMNS, n=1, cutoff=_NEAR)
        if name not in COLUMNS and near and near[0] not in names:
            raise DataError(f"unknown column {name!r}; did you mean {near[0]!r}?")


def meters(frame: pd.DataFrame, timezone: str, meter: str | None = None) -> MeterData:
    """Sort a frame's rows into series.

    Args:
        frame: `at` (ISO-8601 text or timestamps), `active_power_kw` or `energy_kwh`; where given `meter_id` and the
            other channels.
        timezone: of times without an offset.
        meter: selects a meter; names the only one where there is no `meter_id`.

    Raises:
        DataError: a column is missing, mistyped or holds what it should not; no such meter; no regular cadence of
            1 s to 1 h.
    """
    names = [str(name) for name in frame.columns]
    _refuse_mistyped(names)
    if "at" not in names:
        raise DataError(f"no column 'at' among {', '.join(names) or 'no columns at all'}; name the times' column 'at'")
    if "active_power_kw" not in names and "energy_kwh" not in names:
        raise DataError("no column 'active_power_kw' or 'energy_kwh'; one of them is needed")
    if meter is not None and "meter_id" in names:
        chosen = frame[frame["meter_id"].astype(str) == meter]
        if chosen.empty:
            raise DataError(f"no rows of meter {meter!r}; the data hold {_some(frame['meter_id'].astype(str))}")
        frame = chosen
    at, exists = instants(frame["at"], timezone)
    if not exists.all():
        frame, at = frame[exists], at[exists]
    ids, code = _meter_ids(frame, meter)
    values = np.stack([_numbers(frame, name) for name in (*CHANNELS, "energy_kwh")])
    order = np.lexsort((at, code))
    at, code, values = at[order], code[order], values[:, order]
    again = np.append(False, (np.diff(at) == 0) & (np.diff(code) == 0))[: len(at)]
    if again.any():
        at, code, values = at[~again], code[~again], values[:, ~again]
    bounds = np.searchsorted(code, np.arange(len(ids) + 1))
    series = [
        _series(name, at[low:high], values[:, low:high])
        for name, low, high in zip(ids, bounds[:-1], bounds[1:], strict=True)
    ]
    return MeterData(series, int(again.sum()), int((~exists).sum()), tuple(n for n in names if n not in COLUMNS))


def instants(times: pd.Series, timezone: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Unix seconds (n,), and which of them exist (n,): a local time that daylight saving skipped does not.

    Raises:
        DataError: a time is missing or cannot be read.
    """
    if pd.api.types.is_datetime64_any_dtype(times):
        seconds = _seconds(times, timezone)
        readable = times.notna().to_numpy(np.bool_)
    elif pd.api.types.is_numeric_dtype(times):
        raise DataError("column 'at' holds numbers; give ISO-8601 texts or timestamps")
    else:
        text = times.astype("str").str.strip()
        aware = text.str.contains(_OFFSET, regex=True).fillna(value=False).to_numpy(np.bool_)
        seconds, readable = np.full(len(text), _NO_TIME), np.zeros(len(text), np.bool_)
        for part, utc in ((aware, True), (~aware, False)):
            parsed = pd.to_datetime(text[part], format="ISO8601", utc=utc, errors="coerce")
            seconds[part] = _seconds(parsed, timezone)
            readable[part] = parsed.notna().to_numpy(np.bool_)
    if not readable.all():
        row = int(np.argmin(readable))
        raise DataError(f"row {row + 1}: {str(times.iloc[row])!r} is no ISO-8601 time")
    return seconds, seconds != _NO_TIME


def _seconds(times: pd.Series, timezone: str) -> NDArray[np.int64]:
    if times.dt.tz is None:
        first = np.ones(len(times), np.bool_)  # an ambiguous time is the first of the two
        times = times.dt.tz_localize(zone(timezone), ambiguous=first, nonexistent="NaT")
    plain = times.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
    seconds: NDArray[np.int64] = plain.astype("datetime64[s]").astype(np.int64)
    return seconds


def zone(name: str) -> tzinfo:
    """An IANA name or a fixed offset such as +01:00.

    Raises:
        DataError: neither.
    """
    try:
        return zone_of(name)
    except ValueError as error:
        raise DataError(str(error)) from error


def _meter_ids(frame: pd.DataFrame, meter: str | None) -> tuple[list[str], NDArray[np.int64]]:
    if "meter_id" not in frame.columns:
        return [meter or DEFAULT_METER], np.zeros(len(frame), np.int64)
    if frame["meter_id"].isna().any():
        row = int(np.argmax(frame["meter_id"].isna().to_numpy()))
        raise DataError(f"row {row + 1} has no meter_id; fill it in or leave the column out")
    code, names = pd.factorize(frame["meter_id"].astype("str"), sort=True)
    return [str(name) for name in names], code.astype(np.int64)


def _numbers(frame: pd.DataFrame, name: str) -> NDArray[np.float64]:
    if name not in frame.columns:
        return np.full(len(frame), np.nan)
    try:
        return pd.to_numeric(frame[name]).to_numpy(np.float64, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise DataError(f"column {name!r}: {error}") from error


def _series(name: str, at: NDArray[np.int64], values: NDArray[np.float64]) -> Series:
    """One meter; energy of an interval becomes its mean power where there is none."""
    if len(at) > 1:
        pauses, often = np.unique(np.diff(at), return_counts=True)
        cadence = int(pauses[np.argmax(often)])
        if cadence > SLOWEST_S:
            raise DataError(
                f"meter {name!r}: a reading every {cadence} s; give one at least every hour, or leave it out"
            )
        if not np.isfinite(values[0]).any():
            values[0] = values[-1] * SLOWEST_S / cadence
    elif not np.isfinite(values[0]).any() and np.isfinite(values[-1]).any():
        raise DataError(f"meter {name!r}: one reading of energy does not say how long it took; give active_power_kw")
    return Series(name, at, np.ascontiguousarray(values[:-1]))


def _some(ids: pd.Series) -> str:
    names = sorted(ids.unique())
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")  # noqa: PLR2004
