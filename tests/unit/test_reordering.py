"""Readings are put in order within a bound: as record by record, and the same however the records are cut."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.detection.detector import Detector
from meterwatch.kafka import Topic
from meterwatch.storage.meters import MeterStore
from serving import arrow
from serving.champion import Model
from serving.judging import judge as judge_question
from serving.metrics import Metrics
from streaming import accounts
from streaming.batches import Batches
from streaming.reordering import Bound, reorder
from tests import naive
from tests.households import household
from tests.unit.test_batches import Stream, judge, ledger, parsed, records_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.test_batches import Record

Dump = Callable[[MeterStore], dict[str, list[str]]]
JUMP = 100
MOVES = st.one_of(st.integers(-15, 15), st.sampled_from([1, 1, 2, 0, 100, 101, -100, -101, 150, -150, 400, -400]))
WALK = st.lists(st.tuples(st.integers(0, 1), MOVES), min_size=1, max_size=40)
Reading = tuple[int, int]  # meter, time


def times(walk: list[tuple[int, int]]) -> list[Reading]:
    """Readings of two meters, each so much later or earlier than its last."""
    now = {0: 1000, 1: 1000}
    found = []
    for meter, step in walk:
        now[meter] += step
        found.append((meter, now[meter]))
    return found


def in_batches(readings: list[Reading], cuts: set[int], lateness: int) -> tuple[list[list[int]], list[int]]:
    """Cut anywhere, what waits is put before the next batch: record numbers as they went on, by meter; refused ones."""
    released: list[list[int]] = [[], []]
    refused: list[int] = []
    waiting: dict[int, bool] = {}  # record to whether it is a suspect
    for begin, end in itertools.pairwise(sorted({0, *cuts, len(readings)})):
        batch = [*waiting, *range(begin, end)]
        rows = sorted(batch, key=lambda number: (readings[number][0], number not in waiting, number))
        meter, at = (np.array([readings[number][k] for number in rows]) for k in (0, 1))
        held = np.array([number in waiting for number in rows])
        suspect = np.array([waiting.get(number, False) for number in rows])
        order = reorder(meter, at, held, suspect, Bound(lateness, JUMP))
        for place in order.released.tolist():
            released[int(meter[place])].append(rows[place])
        refused += [rows[place] for place in np.flatnonzero(order.refused)]
        gone = {*order.released.tolist(), *np.flatnonzero(order.refused).tolist()}
        waiting = {number: bool(order.suspect[k]) for k, number in enumerate(rows) if k not in gone}
        assert not order.suspect[list(gone)].any()
    return released, sorted(refused)


@settings(max_examples=400, deadline=None)
@given(walk=WALK, cuts=st.sets(st.integers(1, 39)), lateness=st.sampled_from([1, 5, 20, 100]))
def test_any_cut_goes_on_as_record_by_record(walk: list[tuple[int, int]], cuts: set[int], lateness: int) -> None:
    readings = times(walk)
    cuts = {cut for cut in cuts if cut < len(readings)}
    released, refused = in_batches(readings, cuts, lateness)
    for meter in (0, 1):
        mine = [number for number, (owner, _) in enumerate(readings) if owner == meter]
        twin, jumps = naive.put_in_order([readings[number][1] for number in mine], lateness, JUMP)
        assert released[meter] == [mine[k] for k in twin]
        assert [number for number in refused if readings[number][0] == meter] == [mine[k] for k in jumps]
    assert in_batches(readings, set(), lateness) == (released, refused)


@settings(max_examples=100, deadline=None)
@given(order=st.permutations(range(25)), lateness=st.integers(1, 40), cuts=st.sets(st.integers(1, 24)))
def test_what_comes_within_the_bound_goes_on_in_order(order: list[int], lateness: int, cuts: set[int]) -> None:
    """Times mixed by less than the bound come out sorted; whatever comes out of order was beyond it."""
    at = sorted(range(0, 50, 2), key=lambda time: time + order[time // 2] % lateness)
    (released, _), _ = in_batches([(0, 1000 + time) for time in at], cuts, lateness)
    told = [at[number] for number in released]
    assert told == sorted(told)


def go_on(*at: int, lateness: int = 10) -> tuple[list[int], list[int]]:
    """Times as they go on, and those refused."""
    (released, _), refused = in_batches([(0, time) for time in at], set(range(1, len(at))), lateness)
    return [at[number] for number in released], [at[number] for number in refused]


def test_a_single_time_far_ahead_releases_nobody() -> None:
    """It is refused, and stragglers within the bound are in order still."""
    assert go_on(0, 5, 500, 3, 8, 14, 20) == ([0, 3, 5, 8], [500])
    assert go_on(0, 500, 501) == ([0], [])  # it goes on from there: the absence was real
    assert go_on(0, 500, 501, 520) == ([0, 500, 501], [])
    assert go_on(0, 500, 700, 720) == ([0, 700], [500])  # 720 goes on from 700, which did not from 500
    assert go_on(0, -500, 5, 12) == ([-500, 0], [])  # from far back: it goes on at once, as late
    assert go_on(5000, 0, 1, 12) == ([5000, 0, 1], [])  # the first clock was wrong: the front comes back


# --- on the store, with the service's stub


def ordered(lateness: int) -> Callable[[pa.Table], pa.Table]:
    """The stub's answer, as of a model that has readings wait."""

    def ask(request: pa.Table) -> pa.Table:
        told = {"model_version": "1", "allowed_lateness_s": str(lateness), "clock_jump_s": str(30 * 86_400)}
        return judge(request).replace_schema_metadata(told)

    return ask


def stream_of(tmp_path: Path, lateness: int, name: str = "m") -> Stream:
    stream = Stream(tmp_path / f"{name}.db")
    stream.ask = ordered(lateness)
    return stream


def held(stream: Stream) -> int:
    (row,) = stream.store.known.ledger("first").to_pylist()
    assert row["records"] == row["stored"] + row["duplicates"] + row["rejected"] + row["held"]
    every = stream.store.known.meters_waiting("id", "first", 99)
    assert stream.store.known.waiting("id", "first", every).num_rows == row["held"]
    return int(row["held"])


@settings(deadline=None, max_examples=6)
@given(
    seed=st.integers(0, 5), cuts=st.sets(st.integers(1, 1999), max_size=15), lateness=st.sampled_from([60, 600, 9e4])
)
def test_any_cut_gives_the_same_tables(
    seed: int, cuts: set[int], lateness: float, dump: Dump, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What waits, what is stored and what is counted, to the last bit."""
    records = records_of(seed, 2000)
    dumps = []
    for edges in ([0, 2000], [0, *sorted(cuts), 2000]):
        stream = stream_of(tmp_path_factory.mktemp("cut"), int(lateness))
        for begin, end in itertools.pairwise(edges):
            stream.take(records[begin:end], begin)
            held(stream)
        dumps.append(dump(stream.store))
        stream.store.close()
    assert dumps[0] == dumps[1]
    assert dumps[0]["held_readings"]


def test_the_late_are_fewer_and_nothing_is_lost(tmp_path: Path) -> None:
    """The same records, with and without a bound: all are accounted for; with it fewer are late."""
    records = records_of(1, 3000)
    late = []
    for lateness in (0, 90_000):
        stream = stream_of(tmp_path, lateness, f"m{lateness}")
        stream.take(records)
        (row,) = stream.store.known.ledger("first").to_pylist()
        assert row["records"] == 3000
        assert (held(stream) > 0) == (lateness > 0)
        late.append(row["late"])
    assert 0 <= late[1] < late[0] / 2


def test_another_bound_counts_with_the_meter_s_next_reading(tmp_path: Path) -> None:
    """A model with none lets go, in order of time, what waits; of meters that send nothing it goes on waiting."""
    stream = stream_of(tmp_path, 600)
    stream.take([("a", 60, 1.0), ("a", 0, 1.0), ("b", 0, 1.0)])
    assert held(stream) == 3
    stream.ask = ordered(0)
    stream.take([("a", 120, 1.0)], 3)  # the bound is learned from the answer, hence with the batch after
    stream.take([("a", 180, 1.0)], 4)
    assert held(stream) == 1
    assert ledger(stream)["stored"] == 4
    verdicts = {"m": pa.string(), "at": pa.int64(), "s": pa.string()}
    told = stream.rows("SELECT meter_id, at, status FROM verdicts ORDER BY at", verdicts)
    assert told == [("a", 60 * k, "warming_up") for k in range(4)]
    stream.take([("b", 60, 1.0)], 5)
    assert held(stream) == 0


def test_a_new_topic_lets_go_what_waited_from_the_old_one(tmp_path: Path) -> None:
    """Nothing more can come before it: it is judged in order of time, on the old topic's account."""
    stream = stream_of(tmp_path, 600)
    records: list[Record] = [("a", 60, 1.0), ("a", 0, 1.0), ("a", 0, 2.0), ("a", 10**9, 1.0)]
    stream.take(records)
    assert held(stream) == 4
    new = Batches(stream.store, stream.ask, Topic("first", "new", {0: (0, 0)}), {})
    list(new.settle())
    rows = {row["topic_id"]: row for row in stream.store.known.ledger("first").to_pylist()}
    assert list(rows) == ["id"]
    assert [rows["id"][name] for name in ("next_offset", "stored", "rejected", "held")] == [4, 3, 1, 0]
    assert stream.store.known.sources_waiting() == []
    new.take(parsed([("a", 10**9 + 60, 1.0)]))
    new.finish()
    assert [row["held"] for row in stream.store.known.ledger("first").to_pylist()] == [0, 1]


def test_a_refused_jump_is_kept_whole(tmp_path: Path) -> None:
    """With its raw bytes and its offset, though it was taken in an earlier batch."""
    stream = stream_of(tmp_path, 600)
    stream.take([("a", 0, 1.0), ("a", 10**8, 5.0)])
    assert held(stream) == 2
    stream.take([("a", 60, 1.0)], 2)
    columns = {"o": pa.int64(), "k": pa.binary(), "raw": pa.binary(), "r": pa.string()}
    told = stream.rows("SELECT record_offset, record_key, raw, reason FROM rejected", columns)
    assert told == [(1, b"a", b"100000000;5.0", "clock_jump")]
    assert held(stream) == 2


def test_accounts_compare_what_waits_with_the_ledger(tmp_path: Path) -> None:
    from meterwatch.settings import Settings

    stream = stream_of(tmp_path, 600, "meterwatch")
    stream.take([("a", 0, 1.0), ("a", 60, 1.0)])
    stream.store._db.execute("DELETE FROM held_readings WHERE at = 0")
    stream.store.close()
    assert accounts.broken_identities(Settings(run_dir=tmp_path)) == ["rows of held_readings = held: 1 is not 2"]


def test_without_a_bound_nothing_waits_and_nobody_asks_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = stream_of(tmp_path, 0)
    monkeypatch.setattr(stream.store.known, "waiting", lambda *_: pytest.fail("asked"))
    stream.take(records_of(2, 500))
    (row,) = stream.store.known.ledger("first").to_pylist()
    assert row["held"] == 0


# --- on the store, with the service's own judging


def real(bundle: Path, lateness: int) -> Callable[[pa.Table], pa.Table]:
    """What `/v1/score` answers in Arrow, without HTTP."""
    whole = Detector.load(bundle)
    detector = Detector(replace(whole.params, allowed_lateness_s=lateness), whole.models)
    model = Model("1", bundle, detector)

    def ask(request: pa.Table) -> pa.Table:
        question = arrow.decode(arrow.stream(request), UTC)
        answer = arrow.encode(question, judge_question(question, model, Metrics()), model)
        return pa.ipc.open_stream(answer).read_all()

    return ask


def real_stream(file: Path, ask: Callable[[pa.Table], pa.Table]) -> Stream:
    stream = Stream(file)
    stream.ask = ask
    return stream


def test_put_in_order_they_are_judged_as_if_they_had_come_in_order(bundle: Path, tmp_path: Path, dump: Dump) -> None:
    """Minutes mixed within ten: what is said of each is, to the last bit, what is said of the sorted ones."""
    at, channels = household(3, 3)
    power = channels[0].tolist()
    tables = []
    mixed = sorted(range(len(at)), key=lambda k: k + int(np.random.default_rng(k).integers(0, 10)))
    for name, lateness, order in (("mixed", 600, mixed), ("sorted", 0, range(len(at) - 10))):
        stream = real_stream(tmp_path / f"{name}.db", real(bundle, lateness))
        records: list[Record] = [("m", int(at[k]), power[k]) for k in order]
        for begin in range(0, len(records), 700):
            stream.take(records[begin : begin + 700], begin)
        have = dump(stream.store)
        tables.append((have["verdicts"], have["events"], have["rollups"], have["meter_states"]))
        assert held(stream) == (10 if lateness else 0)
    assert tables[0] == tables[1]


@settings(deadline=None, max_examples=4)
@given(cuts=st.sets(st.integers(1, 999), max_size=9), lateness=st.sampled_from([0, 7200]))
def test_a_wrong_clock_and_what_it_left_behind_break_nothing(
    bundle: Path, cuts: set[int], lateness: int, dump: Dump, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A clock 31 days ahead for two days; later the meter comes to the times that it has already: equal or not."""
    at = 1_600_000_000 // 3600 * 3600 + 3600 * np.arange(24 * 41)
    sent = [("m", int(time), 1.0) for time in at[:10]]
    sent += [("m", int(time) + 31 * 86_400, float(k % 2)) for k, time in enumerate(at[10:58])]
    sent += [("m", int(time), 1.0) for time in at[58:]]
    dumps = []
    ask = real(bundle, lateness)
    for edges in ([0, len(sent)], sorted({0, *cuts, len(sent)})):
        stream = real_stream(tmp_path_factory.mktemp("clock") / "m.db", ask)
        for begin, end in itertools.pairwise(edges):
            stream.take(sent[begin:end], begin)
        dumps.append(dump(stream.store))
        (row,) = stream.store.known.ledger("first").to_pylist()
        assert row["records"] == row["stored"] + row["duplicates"] + row["rejected"] + row["held"]
        assert row["late"] <= 32
        assert min(row["duplicates"], row["conflicts"]) > 20
    assert dumps[0] == dumps[1]
