"""From parsed records to tables, without Kafka and Spark: the same rows however the records are cut."""

from __future__ import annotations

import itertools
import struct
from collections import Counter
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.kafka import Topic
from meterwatch.storage.meters import MeterStore
from streaming import scoring
from streaming.batches import Batches
from streaming.metrics import OUTCOMES
from streaming.parse import RECORDS
from streaming.scoring import AnswerError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from streaming.scoring import Score

Tables = dict[str, list[str]]
Dump = Callable[[MeterStore], Tables]
TEXT, NUMBER, MOMENT = pa.string(), pa.float64(), pa.timestamp("s", tz="UTC")
VERDICT = pa.struct(
    [("status", TEXT), ("anomalous", pa.bool_()), ("reason", TEXT), ("model_version", TEXT)]
    + [(name, NUMBER) for name in scoring.NUMBERS]
)
EVENT = pa.struct(
    [(name, TEXT) for name in ("event_id", "meter_id", "kind", "model_version")]
    + [(name, MOMENT) for name in scoring.EVENT_TIMES]
    + [("severity", NUMBER), ("energy_kwh", NUMBER)]
)
DAY = 86_400
Record = tuple[str, int | None, float | None]  # meter, time (None: a record that could not be read), power


def judge(request: pa.Table) -> pa.Table:
    """A service of a few lines on the wire's own tables: warms up over 20 readings, calls 9 kW and more anomalous.

    Its state is (newest time, readings seen, start of the open event, its last time), its order rule the contract's.
    """
    verdicts, events, states = [], [], []
    for meter in request.to_pylist():
        newest, seen, start, last = struct.unpack("<4q", meter["state"]) if meter["state"] else (-1, 0, 0, 0)
        mine: dict[str, dict[str, Any]] = {}
        told = []
        for reading in meter["readings"]:
            at, power = int(reading["at"].timestamp()), reading["active_power_kw"]
            if at <= newest:
                told.append(("duplicate" if at == newest else "late", None))
                continue
            newest = at
            if start and at - last >= 3600:
                mine[f"{meter['meter_id']}-{start}"] = {"start_at": start, "peak_at": start, "end_at": last}
                start = 0
            if power is None:
                told.append(("gap", None))
                continue
            seen += 1
            told.append(("warming_up", None) if seen <= 20 else ("scored", power - 9.0))
            if seen > 20 and power >= 9:
                start, last = start or at, at
            if start:
                mine[f"{meter['meter_id']}-{start}"] = {"start_at": start, "peak_at": start, "end_at": None}
        states.append(struct.pack("<4q", newest, seen, start, last))
        verdicts.append(
            [
                dict.fromkeys(scoring.NUMBERS, score)
                | {"status": status, "anomalous": score is not None and score >= 0, "reason": "", "model_version": "1"}
                for status, score in told
            ]
        )
        whole = {"meter_id": meter["meter_id"], "kind": "surge", "severity": 50.0, "energy_kwh": 1.0}
        events.append([{"event_id": key, "model_version": "1"} | whole | event for key, event in mine.items()])
    return pa.table(
        {
            "meter_id": request["meter_id"],
            "state": pa.array(states, pa.binary()),
            "profile": pa.nulls(request.num_rows, pa.binary()),
            "verdicts": pa.array(verdicts, pa.list_(VERDICT)),
            "events": pa.array(events, pa.list_(EVENT)),
        }
    ).replace_schema_metadata({"model_version": "1"})


def parsed(records: Sequence[Record], begin: int = 0) -> pa.Table:
    """What the parse would make of records on one partition."""
    rows = [
        {
            "partition": 0,
            "offset": begin + number,
            "key": meter.encode(),
            "value": f"{at};{power}".encode(),
            "meter_id": meter,
            "reason": "bad_fields" if at is None else None,
            "at": at,
            "channels": [] if at is None else [power, *[None] * 6],
        }
        for number, (meter, at, power) in enumerate(records)
    ]
    return pa.Table.from_pylist(rows, schema=RECORDS)


class Stream:
    """A store with a stream that writes to it."""

    def __init__(self, file: Path, keep_s: int = 0, topic_id: str = "id") -> None:
        self.store = MeterStore(file)
        self.ask: Score = judge
        self.batches = self.begin(topic_id, keep_s)

    def begin(self, topic_id: str = "id", keep_s: int = 0) -> Batches:
        """Read on from where the ledger stands, as the stream does when it starts."""
        rows = [row for row in self.store.known.ledger("first").to_pylist() if row["topic_id"] == topic_id]
        offsets = {row["partition"]: row["next_offset"] for row in rows}
        self.batches = Batches(self.store, self._ask, Topic("first", topic_id, {0: (0, 0)}), offsets, keep_s)
        return self.batches

    def _ask(self, request: pa.Table) -> pa.Table:
        return self.ask(request)

    def take(self, records: Sequence[Record], begin: int = 0) -> None:
        """Take the records as one batch that begins at an offset."""
        self.batches.take(parsed(records, begin))
        self.batches.finish()

    def rows(self, query: str, schema: dict[str, Any]) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        found = self.store._db.query(query, pa.schema(schema))
        return [tuple(row.values()) for row in found.to_pylist()]


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    return Stream(tmp_path / "m.db")


def ledger(stream: Stream) -> dict[str, int]:
    (row,) = stream.store.known.ledger("first").to_pylist()
    assert row["records"] == row["stored"] + row["duplicates"] + row["rejected"] + row["held"]
    return {name: row[name] for name in ("next_offset", "stored", "duplicates", "rejected")}


def test_late_duplicate_and_conflict_are_told_apart(stream: Stream) -> None:
    """Against the table and against earlier records of the same batch alike."""
    stream.take([("a", 0, 1.0), ("a", 120, 1.0)])
    stream.take(
        [
            ("a", 0, 1.0),  # duplicate of a stored row
            ("a", 0, 2.0),  # conflicts with a stored row
            ("a", 60, 3.0),  # late: new to us
            ("a", 60, 3.0),  # duplicate of the late one
            ("a", 60, 4.0),  # conflicts with the late one
            ("a", 180, None),  # in order, without power
            ("a", 180, None),  # duplicate: missing equals missing
            ("a", 180, 0.0),  # conflict: zero is not missing
            ("b", 60, 4.0),  # another meter, another matter
        ],
        2,
    )
    assert ledger(stream) == {"next_offset": 11, "stored": 5, "duplicates": 3, "rejected": 3}
    told = stream.rows(
        "SELECT record_offset, raw, reason FROM rejected ORDER BY 1", {"o": pa.int64(), "raw": pa.binary(), "r": TEXT}
    )
    assert told == [(3, b"0;2.0", "conflict"), (6, b"60;4.0", "conflict"), (9, b"180;0.0", "conflict")]
    kinds = stream.rows(
        "SELECT meter_id, at, status FROM verdicts ORDER BY 1, 2", {"m": TEXT, "at": pa.int64(), "s": TEXT}
    )
    assert kinds == [
        ("a", 0, "warming_up"),
        ("a", 60, "late"),
        ("a", 120, "warming_up"),
        ("a", 180, "gap"),
        ("b", 60, "warming_up"),
    ]


def test_every_outcome_is_counted(stream: Stream) -> None:
    """In the metrics each record once, by its verdict or its reason; in the ledger late, gaps and conflicts too."""
    stream.take([("a", 0, 1.0), ("a", 120, None), ("a", 60, 3.0)])
    stream.take([("a", 60, 3.0), ("a", 60, 4.0), ("a", None, None), *(("b", 60 * k, 1.0) for k in range(21))], 3)
    (row,) = stream.store.known.ledger("first").to_pylist()
    assert (row["late"], row["gaps"], row["conflicts"], row["duplicates"]) == (1, 1, 1, 1)
    found = {
        sample.labels["outcome"]: sample.value
        for metric in stream.batches.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "meterwatch_readings_total"
    }
    expected = {"scored": 1, "warming_up": 21, "gap": 1, "late": 1, "duplicate": 1, "conflict": 1, "bad_fields": 1}
    assert {name: count for name, count in found.items() if count} == expected
    assert set(OUTCOMES) == set(found)


def test_records_below_the_ledger_are_skipped(stream: Stream, dump: Dump) -> None:
    """Spark may hand over a batch again, whole or with more behind it."""
    records: list[Record] = [("a", 60 * k, 1.0) for k in range(10)]
    stream.take(records[:6])
    before = dump(stream.store)
    stream.take(records[:6])
    assert dump(stream.store) == before
    stream.take(records)
    assert ledger(stream) == {"next_offset": 10, "stored": 10, "duplicates": 0, "rejected": 0}


def test_a_whole_replay_is_all_duplicates(stream: Stream, dump: Dump) -> None:
    """The same lines sent again change the ledger's counts and nothing else."""
    records: list[Record] = [("a", 60 * k, float(k % 7)) for k in range(500)]
    stream.take(records)
    before = dump(stream.store)
    stream.take(records, 500)
    assert ledger(stream) == {"next_offset": 1000, "stored": 500, "duplicates": 500, "rejected": 0}
    after = dump(stream.store)
    assert {t: after[t] for t in ("power_data", "verdicts", "rollups")} == {
        t: before[t] for t in ("power_data", "verdicts", "rollups")
    }


def test_a_batch_of_nothing_but_rejected_records_goes_down(stream: Stream) -> None:
    """No reading, no question to the service, but the offsets advance."""
    stream.ask = lambda _: pytest.fail("the service was asked about nothing")
    stream.take([("a", None, None)] * 3)
    assert ledger(stream) == {"next_offset": 3, "stored": 0, "duplicates": 0, "rejected": 3}


def test_a_failed_batch_leaves_no_trace(stream: Stream, dump: Dump) -> None:
    """What the service could not judge is not in any table, and is taken whole the next time."""
    stream.take([("a", 0, 1.0)])
    before = dump(stream.store)
    good = stream.ask
    stream.ask = lambda request: good(request).slice(0, 0)
    with pytest.raises(AnswerError):
        stream.take([("a", 60, 1.0), ("a", None, None)], 1)
    assert dump(stream.store) == before
    stream.ask = good
    stream.begin()
    stream.take([("a", 60, 1.0), ("a", None, None)], 1)
    assert ledger(stream) == {"next_offset": 3, "stored": 2, "duplicates": 0, "rejected": 1}


def test_after_a_failure_batches_are_left_alone(stream: Stream, dump: Dump) -> None:
    """What failed is kept for the main thread to raise; a later batch would begin above what is missing."""
    fault = OSError("no more")

    def fails(_: pa.Table) -> pa.Table:
        raise fault

    good, stream.ask = stream.ask, fails
    before = dump(stream.store)
    frame: Any = SimpleNamespace(toArrow=lambda: parsed([("a", 60, 1.0)]).append_column("size", pa.array([4])))
    stream.batches(frame, 0)
    with pytest.raises(OSError, match="no more"):
        stream.batches.finish()
    assert stream.batches.failure is fault
    stream.ask = good
    stream.batches(frame, 1)
    assert dump(stream.store) == before


@cache
def records_of(seed: int, count: int) -> list[Record]:
    """Three meters with faults, late and repeated readings, conflicts and garbage; enough for scores and events."""
    rng = np.random.default_rng(seed)
    records: list[Record] = []
    for number in range(count):
        meter = str(rng.choice(["a", "b", "c"]))
        power: float | None = float(np.round(abs(rng.normal(1, 0.3)) + (30 if number % 997 < 3 else 0), 3))
        at: int | None = number * 60
        dice = rng.random()
        if dice < 0.02:
            at = None
        elif dice < 0.04:
            power = None
        elif dice < 0.10:
            at = int(rng.integers(0, number + 1)) * 60
        elif dice < 0.14 and records:
            meter, at, power = records[int(rng.integers(0, len(records)))]
        records.append((meter, at, power))
    return records


@pytest.fixture(scope="module")
def whole(dump: Dump, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Tables]:
    """Every table after the records of a seed in one batch."""

    @cache
    def dumped(seed: int) -> Tables:
        stream = Stream(tmp_path_factory.mktemp("whole") / "m.db")
        stream.take(records_of(seed, 6000))
        return dump(stream.store)

    return dumped


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 3), cuts=st.sets(st.integers(1, 5999), max_size=25), small=st.booleans())
def test_any_cut_gives_the_same_tables(
    seed: int,
    cuts: set[int],
    whole: Callable[[int], Tables],
    dump: Dump,
    tmp_path_factory: pytest.TempPathFactory,
    *,
    small: bool,
) -> None:
    """One batch or many, requests large or small: every table is equal to the last bit."""
    records, expected = records_of(seed, 6000), whole(seed)
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(scoring, "MAX_METERS", 1)
        stream = Stream(tmp_path_factory.mktemp("cut") / "m.db")
        for begin, end in itertools.pairwise([0, *sorted(cuts), 6000]):  # on their way at once
            stream.batches.take(parsed(records[begin:end], begin))
        stream.batches.finish()
        assert dump(stream.store) == expected
        stream.store.close()


def test_the_property_s_records_reach_every_table(whole: Callable[[int], Tables]) -> None:
    """The property above would prove nothing about events if there were none."""
    found = whole(0)
    assert [table for table, rows in found.items() if not rows] == ["held_readings"]
    assert len(found["power_data"]) == len(found["verdicts"])


def test_many_meters_keep_their_states_each_in_its_own_time(stream: Stream) -> None:
    """One a week each, and no batch has more than a few of them: it would write all states a second time."""
    meters, step, weeks = 100, DAY, 3
    moments = range(0, weeks * 7 * DAY, step)
    for k, at in enumerate(moments):
        stream.take([(f"m{meter}", at, 1.0) for meter in range(meters)], k * meters)
    sql = "SELECT meter_id, at FROM state_snapshots WHERE state IS NOT NULL"
    kept = stream.rows(sql, {"m": TEXT, "at": pa.int64()})
    mine: dict[str, list[int]] = {}
    for meter, at in kept:
        mine.setdefault(meter, []).append(at)
    assert len(mine) == meters
    for times in mine.values():
        assert weeks - 1 <= len(times) <= weeks
        assert set(np.diff(sorted(times)).tolist()) == {7 * DAY}
    assert max(Counter(at for _, at in kept).values()) < meters // 4  # a seventh, but for chance
