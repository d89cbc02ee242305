"""From the bytes on the topic to columns: what a record says, or the reason why it says nothing.

A line or object of a usual shape, as nearly all are, is recognised by one regular expression and read by Arrow's CSV
reader: no row is a Python object, and the interpreter's lock is free meanwhile. All others are read one by one,
`closely`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from meterwatch.detection.readings import CHANNELS
from meterwatch.settings import zone_of
from streaming.closely import BAD_TIME, MAX_VALUE_BYTES, UnreadError, read, seconds

if TYPE_CHECKING:
    from datetime import tzinfo

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

RECORDS = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("meter_id", pa.string()),  # null where the key cannot be one
        ("reason", pa.string()),  # null where the record is a reading, and only then there is what follows
        ("at", pa.int64()),  # unix seconds
        ("channels", pa.list_(pa.float64())),  # the seven, null where missing
    ]
)
MAX_KEY_BYTES = 256
DEFAULT_METER = "default"
DEFAULT_KEYS = (b"", b"key", b"default")
BLANK = " \t\r\n"
# Numbers so short that none is infinite, none of a form that Arrow's reader does not take (`+1`, `.5`), and a time of
# day that is one; whether there is such a day is asked later.
SHORT_NUMBER = r"(?:-?\d{1,15}(?:\.\d{0,15})?|\?)?"
CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d"
PLAIN_LINE = rf"\A\d{{1,2}}/\d{{1,2}}/\d{{4}}%{CLOCK}(?:%{SHORT_NUMBER}){{7}}\z"
JSON_NUMBER = r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,15})?"
PLAIN_OBJECT = (  # the channels in their order, as far as they are there
    rf'\A\{{"at": ?"(\d{{4}}-\d\d-\d\d)T({CLOCK})%"'
    + "".join(rf'(?:, ?"{name}": ?(?:null|({JSON_NUMBER})))?' for name in CHANNELS)
    + r"\}\z"
)
AS_LINE = ";".join(rf"\{group}" for group in range(1, 10))
SHAPES = (  # pattern, what is between the fields of its line, whether its time is local, and what makes a line of it
    *((PLAIN_LINE.replace("%", mark), mark, True, "") for mark in ";,"),
    *((PLAIN_OBJECT.replace("%", zone), ";", not zone, AS_LINE) for zone in ("Z", "")),
)
COLUMNS = {"day": pa.dictionary(pa.int32(), pa.string()), "time": pa.time32("s")} | dict.fromkeys(
    CHANNELS, pa.float64()
)
HOUR = 3600
NOWHERE = -(2**40)  # stands for a time that there is not


def parse(records: pa.Table, *, timezone: str, partitions: int) -> pa.Table:
    """Read records of a topic.

    Args:
        records: `partition`, `offset`, `key` and `value` as they came.
        timezone: zone of times without an offset: an IANA name or a fixed offset like `+01:00`.
        partitions: how many partitions the topic has; with several, a record without a key is `no_key`.

    Returns:
        RECORDS, one for each and in their order.
    """
    count, value = records.num_rows, records["value"].combine_chunks()
    keys = records["key"].combine_chunks().fill_null(b"").dictionary_encode()
    meters = [_meter(key, partitions) for key in keys.dictionary.to_pylist()]
    meter = keys.indices.to_numpy()
    at, is_local = np.full(count, NOWHERE), np.ones(count, np.bool_)
    channels, reason = np.full((count, len(CHANNELS)), np.nan), np.full(count, None, object)

    is_open = np.array([fault is None for _, fault in meters], np.bool_)[meter]
    is_open &= np.asarray(pc.fill_null(pc.less_equal(pc.binary_length(value), MAX_VALUE_BYTES), False))  # noqa: FBT003
    text = pc.ascii_trim(value.cast(pa.string(), safe=False), BLANK)
    is_odd = np.ones(count, np.bool_)
    for pattern, mark, local, as_line in SHAPES:
        is_plain = pc.match_substring_regex(text, pattern)
        rows = np.flatnonzero(is_open & is_odd & np.asarray(pc.fill_null(is_plain, False)))  # noqa: FBT003
        if len(rows):
            lines = text.take(pa.array(rows))
            at[rows], channels[rows] = _lines(
                pc.replace_substring_regex(lines, pattern, as_line) if as_line else lines, mark
            )
            is_odd[rows], is_local[rows] = False, local
    odd = np.flatnonzero(is_odd)
    for row, raw in zip(odd.tolist(), value.take(pa.array(odd)).to_pylist(), strict=True):
        try:
            at[row], is_local[row], channels[row] = read(raw or b"", meters[meter[row]][1])
        except UnreadError as error:
            reason[row] = str(error)

    at[is_local] = _instants(at[is_local], zone_of(timezone))
    reason[(reason == None) & (at < 0)] = BAD_TIME  # noqa: E711 - of each item
    refused = reason != None  # noqa: E711
    channels[refused] = np.nan
    offsets = np.arange(count + 1, dtype=np.int32) * len(CHANNELS)
    columns = [records[name] for name in RECORDS.names[:4]]
    columns += [pa.array([name for name, _ in meters], pa.string()).take(keys.indices), pa.array(reason, pa.string())]
    columns += [
        pa.array(at, mask=refused),
        pa.ListArray.from_arrays(offsets, pa.array(channels.ravel(), from_pandas=True)),
    ]
    return pa.table(columns, schema=RECORDS)


def _meter(key: bytes, partitions: int) -> tuple[str | None, str | None]:
    """The meter that a key names, and why its records are not read; of several reasons, `read` knows the first."""
    if key in DEFAULT_KEYS:
        return DEFAULT_METER, "no_key" if partitions > 1 and not key else None
    if len(key) > MAX_KEY_BYTES:
        return None, "too_large"
    try:
        return key.decode(), None
    except UnicodeDecodeError:
        return None, "not_utf8"


def _lines(lines: pa.Array, mark: str) -> tuple[Ints, NDArray[np.float64]]:
    """(n,) local seconds and (n, 7) channels of lines of the usual shape; NOWHERE where there is no such day."""
    text = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines), "\n")[0].as_buffer()
    table = csv.read_csv(
        pa.BufferReader(text),
        csv.ReadOptions(use_threads=False, column_names=list(COLUMNS), block_size=text.size + 1),
        csv.ParseOptions(delimiter=mark, quote_char=False),
        csv.ConvertOptions(column_types=COLUMNS, null_values=["", "?"], check_utf8=False),
    )
    day = table["day"].combine_chunks()
    days = np.array([_midnight(written) for written in day.dictionary.to_pylist()])
    local = days[day.indices.to_numpy()] + table["time"].cast(pa.int32()).to_numpy()
    return local, np.stack([table[name].to_numpy() for name in CHANNELS], axis=1)


def _midnight(day: str) -> int:
    """Of 16/12/2006 or 2006-12-16."""
    parts = [int(part) for part in day.replace("-", "/").split("/")]
    year, month, number = parts if "-" in day else reversed(parts)
    try:
        return seconds(year, month, number)
    except UnreadError:
        return NOWHERE


def _instants(local: Ints, zone: tzinfo) -> Ints:
    """Unix seconds of local times written as if in UTC: the first of two, negative where the clock jumped over it."""
    if zone is UTC:
        return local
    hours, hour = np.unique(local // HOUR, return_inverse=True)
    edges = np.array(
        [[_instant(number * HOUR, zone), _instant((number + 1) * HOUR, zone)] for number in hours.tolist()]
    )
    begin, end = edges.reshape(-1, 2).T
    at: Ints = begin[hour] + local % HOUR
    for row in np.flatnonzero(((end - begin) != HOUR)[hour]).tolist():  # the clock may have been set meanwhile
        at[row] = _instant(int(local[row]), zone)
    return at


def _instant(local: int, zone: tzinfo) -> int:
    try:
        told = datetime.fromtimestamp(local, UTC).replace(tzinfo=zone)
        instant = told.astimezone(UTC)
        is_there = instant.astimezone(zone).replace(tzinfo=None) == told.replace(tzinfo=None)
    except (ValueError, OverflowError):  # before the year 1, or after 9999
        return NOWHERE
    return int(instant.timestamp()) if is_there else NOWHERE
