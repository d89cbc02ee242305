"""Between a batch of readings and the scoring service: one Arrow row a meter, built and read without a row loop."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterwatch.detection.readings import CHANNELS, STATUSES
from streaming.reordering import Bound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Score = Callable[[pa.Table], pa.Table]
    LoadStates = Callable[[pa.Array], pa.Table]

MOMENT = pa.timestamp("us", tz="UTC")
# One request: what a service may be asked to hold in memory at once. A single meter is never divided.
MAX_METERS = 1_000
MAX_READINGS = 200_000
AT_ONCE = 2  # requests a replica: it reads and writes the one while it judges the other
NUMBERS = ("score", "threshold", "expected_kw", "lower_kw", "upper_kw")
_READING = pa.struct([("at", MOMENT), *((name, pa.float64()) for name in CHANNELS)])
_PARTS = [("meter_id", pa.string()), ("state", pa.binary()), ("profile", pa.binary())]
NO_QUESTION = pa.schema([*_PARTS, ("readings", pa.list_(_READING))]).empty_table()  # asks only who answers
EVENT_TIMES = ("start_at", "end_at", "peak_at")


class AnswerError(Exception):
    """The service's answer does not fit the question."""


@dataclass(frozen=True, slots=True)
class Grouped:
    """Readings grouped by meter, each meter's in arrival order."""

    meter_ids: pa.Array  # (m,) strings
    bounds: NDArray[np.int64]  # (m + 1,) meter k has the readings from bounds[k] to before bounds[k + 1]
    at: NDArray[np.int64]  # (n,) unix seconds
    channels: NDArray[np.float64]  # (n, 7) NaN where missing
    row: NDArray[np.int64]  # (n,) where the reading stands among the batch's records

    @property
    def meter(self) -> NDArray[np.int64]:
        """(n,) index into `meter_ids`."""
        return np.repeat(np.arange(len(self.meter_ids)), np.diff(self.bounds))


@dataclass(frozen=True, slots=True)
class Scored:
    """The service's judgement of a `Grouped`, in its order."""

    status: NDArray[np.int8]  # (n,) index into STATUSES
    verdicts: pa.Table  # n rows: NUMBERS, anomalous, reason, model_version
    states: pa.Table  # m rows: meter_id, state, profile (null: unchanged), model_version
    events: pa.Table  # event columns, times as unix seconds
    before: pa.Table  # m rows: meter_id, state, profile, at, furthest_at as `Known.load_states` told them
    bound: Bound  # of the model that judged last


def group(records: pa.Table, rows: NDArray[np.int64]) -> Grouped:
    """Group the readings among `records` (columns meter_id, at, channels) that stand at `rows`, in arrival order."""
    readings = records.select(["meter_id", "at", "channels"]).take(pa.array(rows)).combine_chunks()
    meters = readings["meter_id"].combine_chunks().dictionary_encode()
    meter = meters.indices.to_numpy()
    order = np.argsort(meter, kind="stable")
    flat = readings["channels"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return Grouped(
        meters.dictionary,
        np.concatenate([[0], np.cumsum(np.bincount(meter, minlength=len(meters.dictionary)))]),
        readings["at"].to_numpy()[order],
        flat.reshape(-1, len(CHANNELS))[order],
        rows[order],
    )


def score(readings: Grouped, load_states: LoadStates, ask: Score, at_once: int = AT_ONCE) -> Scored:
    """Have all readings judged, a request of bounded size at a time.

    Args:
        readings: at least one reading of each meter.
        load_states: meter ids to their (meter_id, state, profile, at, furthest_at).
        ask: a request table to the service's answer table; asked by as many threads as requests are on their way.
        at_once: so many.

    Raises:
        AnswerError: an answer has other meters, or another number of verdicts, than were asked for.
    """
    answers, before = [], []
    asked: deque[Future[pa.Table]] = deque()
    with ThreadPoolExecutor(at_once, "ask") as pool:
        for first, last in _pieces(readings.bounds):
            if len(asked) == at_once:
                answers.append(asked.popleft().result())
            before.append(load_states(readings.meter_ids[first:last]))
            request = _request(readings, first, last, before[-1].select(["meter_id", "state", "profile"]))
            asked.append(pool.submit(_asked, ask, request))
        answers += [answer.result() for answer in asked]
    verdicts = pa.concat_tables([_flat(answer, "verdicts") for answer in answers])
    events = pa.concat_tables([_flat(answer, "events") for answer in answers])
    states = [
        answer.select(["meter_id", "state", "profile"]).append_column(
            "model_version", pa.repeat(answer.schema.metadata[b"model_version"].decode(), answer.num_rows)
        )
        for answer in answers
    ]
    status = pc.index_in(verdicts["status"].cast(pa.string()), value_set=pa.array(STATUSES))
    for name in EVENT_TIMES:
        seconds = events[name].cast(pa.timestamp("s", tz="UTC"), safe=False).cast(pa.int64())
        events = events.set_column(events.column_names.index(name), name, seconds)
    return Scored(
        status.to_numpy().astype(np.int8),
        verdicts.select([*NUMBERS, "anomalous", "reason", "model_version"]),
        pa.concat_tables(states),
        events,
        pa.concat_tables(before),
        bound_of(answers[-1]),
    )


def bound_of(answer: pa.Table) -> Bound:
    """How the model that answered has readings wait to be put in order; not at all where the service does not say."""
    told = answer.schema.metadata
    return Bound(int(told.get(b"allowed_lateness_s", 0)), int(told.get(b"clock_jump_s", 0)))


def _pieces(bounds: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Runs of meters that make one request each."""
    first, meters = 0, len(bounds) - 1
    while first < meters:
        by_readings = int(np.searchsorted(bounds, bounds[first] + MAX_READINGS, side="right")) - 1
        last = min(max(by_readings, first + 1), first + MAX_METERS, meters)
        yield first, last
        first = last


def _request(readings: Grouped, first: int, last: int, states: pa.Table) -> pa.Table:
    begin, end = readings.bounds[first], readings.bounds[last]
    fields = [pa.array(readings.at[begin:end] * 1_000_000).cast(MOMENT)]
    fields += [pa.array(column, from_pandas=True) for column in readings.channels[begin:end].T]  # NaN becomes null
    structs = pa.StructArray.from_arrays(fields, names=["at", *CHANNELS])
    offsets = pa.array((readings.bounds[first : last + 1] - begin).astype(np.int32))
    return states.append_column("readings", pa.ListArray.from_arrays(offsets, structs))


def _asked(ask: Score, request: pa.Table) -> pa.Table:
    answer = ask(request)
    asked, told = pc.list_value_length(request["readings"]), pc.list_value_length(answer["verdicts"])
    if not answer["meter_id"].cast(pa.string()).equals(request["meter_id"].cast(pa.string())) or not asked.equals(told):
        raise AnswerError("the service answered for other meters or readings than it was asked about")
    return answer


def _flat(answer: pa.Table, column: str) -> pa.Table:
    """All items of a list column, one after the other, as a table of their fields; dictionaries as plain strings."""
    items = answer[column].combine_chunks()
    table = pa.Table.from_struct_array(items.flatten())
    plain = [pa.field(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in table.schema]
    return table.cast(pa.schema(plain))
