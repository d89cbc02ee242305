"""`/v1/score` in Arrow: tables to columns and columns to tables, without a loop over readings."""

from __future__ import annotations

import io
import struct
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterwatch.detection.readings import CHANNELS, SCORED, STATUSES, Readings
from serving.buffers import binaries, coded, numbers, read, strings
from serving.problems import Problem
from serving.question import Question, check_meters, check_size
from serving.times import LAST, OUTSIDE

if TYPE_CHECKING:
    from datetime import tzinfo

    from numpy.typing import NDArray

    from meterwatch.detection.readings import Event, Observation, Verdicts
    from serving.champion import Model

MEDIA_TYPE = "application/vnd.apache.arrow.stream"
MOMENT = pa.timestamp("us", tz="UTC")
MICRO = 1_000_000
LARGEST = 128 * 1024 * 1024


def decode(body: bytes, zone: tzinfo) -> Question:
    """Read a request: columns meter_id, readings, and perhaps state and profile; one row a meter.

    Args:
        body: an Arrow stream.
        zone: of times without one.

    Raises:
        Problem: 400 for what is not an Arrow stream, 422 with the column that is at fault.
    """
    try:
        _refuse_compressed(body)
        return _question(_table(body), zone)
    except UnicodeDecodeError:  # validation looks at the values, not at the columns' names
        raise Problem(400, "The Arrow stream has a name that is not UTF-8.") from None


def _question(table: pa.Table, zone: tzinfo) -> Question:
    for name in ("meter_id", "readings"):
        if name not in table.column_names:
            raise _fault(name, "this column is missing")
    _once(table.column_names, "")
    check_size(table.num_rows, 0)
    ids = _cast(table["meter_id"].combine_chunks(), pa.string(), "meter_id")
    lists = table["readings"].combine_chunks()
    if not (pa.types.is_list(lists.type) or pa.types.is_large_list(lists.type)):
        raise _fault("readings", f"must be a list of structs, not {lists.type}")
    structs = lists.flatten()
    if not pa.types.is_struct(structs.type):
        raise _fault("readings", f"must be a list of structs, not {lists.type}")
    if ids.null_count or lists.null_count or structs.null_count:
        raise _fault("meter_id" if ids.null_count else "readings", "must not be null")
    _once([field.name for field in structs.type], "readings.")
    counts = read(lists.value_lengths().cast(pa.int64()), np.int64)[0]
    meter_ids = ids.to_pylist()
    check_meters(meter_ids, counts)
    fields = {field.name: structs.field(k) for k, field in enumerate(structs.type)}
    for name in fields:
        if name not in {"at", *CHANNELS}:
            raise _fault(f"readings.{name}", "there is no such channel")
    channels = np.full((len(CHANNELS), len(structs)), np.nan)
    for k, name in enumerate(CHANNELS):
        if name in fields:
            values, there = read(_cast(fields[name], pa.float64(), f"readings.{name}"), np.float64)
            np.copyto(channels[k], values, where=there)
    return Question(
        meter_ids,
        _parts(table, "state"),
        _parts(table, "profile"),
        Readings(np.repeat(np.arange(len(meter_ids)), counts), _seconds(fields.get("at"), zone), channels),
    )


def _once(names: list[str], prefix: str) -> None:
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise _fault(prefix + twice, "is there more than once")


def _refuse_compressed(body: bytes) -> None:
    """A few bytes could become more than memory holds, and Arrow knows no limit.

    Raises:
        Problem: 415, a batch says that it is compressed, or has metadata, in which Arrow 0.17 said so.
    """
    with suppress(pa.ArrowException, OSError, struct.error):  # what is no stream is told in its place
        for message in pa.ipc.MessageReader.open_stream(body):
            told = message.metadata.to_pybytes()
            if message.type not in ("dictionary", "record batch"):
                continue
            batch = _place(told, _root(told), 2)  # by the slots of Message.fbs
            if message.type == "dictionary":
                batch = _place(told, batch, 1)
            if _place(told, batch, 3) or _place(told, _root(told), 4):
                raise Problem(415, "Send the Arrow stream without compression, and its batches without metadata.")


def _root(told: bytes) -> int:
    return int(struct.unpack_from("<I", told)[0])


def _place(told: bytes, table: int, slot: int) -> int:
    """Where a flatbuffer's table has the table of that slot; 0: it has none."""
    layout = table - struct.unpack_from("<i", told, table)[0]
    (size,) = struct.unpack_from("<H", told, layout)
    if 4 + 2 * slot >= size:
        return 0
    (offset,) = struct.unpack_from("<H", told, layout + 4 + 2 * slot)
    return table + offset + int(struct.unpack_from("<I", told, table + offset)[0]) if offset else 0


def _table(body: bytes) -> pa.Table:
    try:
        with pa.ipc.open_stream(body) as reader:
            for k, kind in enumerate(reader.schema.types):
                if _has_views(kind):
                    raise _fault(reader.schema.field(k).name, f"must have no views, not {kind}")
            table = reader.read_all()
        table.validate(full=True)  # a stranger's offsets must not lead outside of their buffers
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Problem(400, f"The body is not an Arrow stream: {str(error).splitlines()[0]}") from None
    return table


def _has_views(kind: pa.DataType) -> bool:
    """Texts that point elsewhere: a null one may point anywhere and is not validated, and many may share one."""
    if isinstance(kind, pa.BaseExtensionType):
        return _has_views(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _has_views(kind.value_type)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return True
    return any(_has_views(kind.field(k).type) for k in range(kind.num_fields))


def _fault(path: str, fact: str) -> Problem:
    return Problem(422, f"{path}: {fact}", errors=[(path, fact)])


def _cast(column: pa.Array, kind: pa.DataType, path: str) -> pa.Array:
    numeric = kind == pa.float64()
    plain = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    fits = (pa.types.is_integer(plain) or pa.types.is_floating(plain)) if numeric else _is_text(plain, kind)
    if not (fits or pa.types.is_null(plain)):
        raise _fault(path, f"must be {kind}, not {column.type}")
    if not numeric and _written_out(column) > LARGEST:
        raise _fault(path, f"has more than {LARGEST:,} bytes, written out")
    try:
        return column.cast(kind)
    except pa.ArrowException as error:
        raise _fault(path, str(error).splitlines()[0]) from None


def _written_out(column: pa.Array) -> int:
    """At most so many bytes has a column of texts when each stands for itself: many rows may share one."""
    if pa.types.is_dictionary(column.type):
        lengths = pc.binary_length(column.dictionary.cast(pa.large_binary()))
        return len(column) * (pc.max(lengths).as_py() or 0)
    return 0  # no more than came


def _is_text(plain: pa.DataType, kind: pa.DataType) -> bool:
    if kind == pa.string():
        return bool(pa.types.is_string(plain) or pa.types.is_large_string(plain))
    return bool(pa.types.is_binary(plain) or pa.types.is_large_binary(plain))


def _parts(table: pa.Table, name: str) -> list[bytes | None]:
    if name not in table.column_names:
        return [None] * table.num_rows
    parts: list[bytes | None] = _cast(table[name].combine_chunks(), pa.binary(), name).to_pylist()
    return parts


def _seconds(at: pa.Array | None, zone: tzinfo) -> NDArray[np.int64]:
    """Whole unix seconds; a fraction is cut, as on the topic."""
    path = "readings.at"
    if at is None or not pa.types.is_timestamp(at.type):
        raise _fault(path, "must be a timestamp" + (f", not {at.type}" if at is not None else "; it is missing"))
    if at.null_count:
        raise _fault(path, "must not be null")
    try:
        if at.type.tz is None:
            name = str(zone).removeprefix("UTC") or "UTC"  # Arrow knows UTC+01:00 as +01:00
            at = pc.assume_timezone(at, name, ambiguous="earliest", nonexistent="raise")
        micros = read(at.cast(MOMENT, safe=False), np.int64)[0]
    except pa.ArrowException as error:
        raise _fault(path, str(error).splitlines()[0]) from None
    seconds: NDArray[np.int64] = micros // MICRO
    if len(seconds) and not 0 <= seconds.min() <= seconds.max() <= LAST:
        raise _fault(path, OUTSIDE)
    return seconds


def encode(question: Question, observed: Observation, model: Model) -> bytes:
    """Write an answer: meter_id, state, profile, verdicts, events; one row a meter.

    Its metadata name the model, and say how a stream has to put readings in order before it asks.
    """
    version, params = model.version, model.detector.params
    ids, readings = question.meter_ids, question.readings
    numbered = np.arange(len(ids) + 1)
    owners = np.array([event.meter for event in observed.events], np.int64)
    verdicts = _verdicts(ids, readings.meter, readings.at, observed.verdicts, version)
    columns = {
        "meter_id": strings(ids),
        "state": binaries(observed.states),
        "profile": binaries(observed.profiles),
        "verdicts": _lists(np.searchsorted(readings.meter, numbered), verdicts),
        "events": _lists(np.searchsorted(owners, numbered), _events(ids, observed.events, version)),
    }
    told = {
        "model_version": version,
        "allowed_lateness_s": str(params.allowed_lateness_s),
        "clock_jump_s": str(params.clock_jump_s),
    }
    return stream(pa.Table.from_arrays(list(columns.values()), names=list(columns), metadata=told))


def stream(table: pa.Table) -> bytes:
    """A table as an Arrow stream."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _lists(bounds: NDArray[np.int64], items: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(numbers(bounds.astype(np.int32), pa.int32()), items)


def _verdicts(
    ids: list[str], meter: NDArray[np.int64], at: NDArray[np.int64], verdicts: Verdicts, version: str
) -> pa.StructArray:
    unscored = verdicts.status != SCORED
    silent = np.array([not text for text in verdicts.reasons], np.bool_)

    def floats(values: NDArray[np.float64]) -> pa.Array:
        return numbers(values, pa.float64(), unscored | np.isnan(values))

    columns = {
        "meter_id": coded(meter, ids),
        "at": numbers(at * MICRO, MOMENT),
        "status": coded(verdicts.status, STATUSES),
        "score": floats(verdicts.score),
        "threshold": floats(verdicts.threshold),
        "anomalous": numbers(verdicts.anomalous, pa.bool_(), unscored),
        "expected_kw": floats(verdicts.expected_kw),
        "lower_kw": floats(verdicts.lower_kw),
        "upper_kw": floats(verdicts.upper_kw),
        "reason": coded(verdicts.reason, verdicts.reasons, silent[verdicts.reason]),
        "model_version": coded(np.zeros(len(at)), [version]),
    }
    return pa.StructArray.from_arrays(list(columns.values()), names=list(columns))


def _events(ids: list[str], events: list[Event], version: str) -> pa.StructArray:
    def times(seconds: list[int | None]) -> pa.Array:
        missing = np.array([second is None for second in seconds], np.bool_)
        return numbers(np.array([second or 0 for second in seconds], np.int64) * MICRO, MOMENT, missing)

    def floats(values: list[float]) -> pa.Array:
        return numbers(np.array(values, np.float64), pa.float64())

    columns = {
        "event_id": strings([event.event_id for event in events]),
        "meter_id": strings([ids[event.meter] for event in events]),
        "start_at": times([event.start_at for event in events]),
        "end_at": times([event.end_at for event in events]),
        "peak_at": times([event.peak_at for event in events]),
        "severity": floats([event.severity for event in events]),
        "kind": strings([event.kind for event in events]),
        "energy_kwh": floats([event.energy_kwh for event in events]),
        "model_version": strings([version] * len(events)),
    }
    return pa.StructArray.from_arrays(list(columns.values()), names=list(columns))
