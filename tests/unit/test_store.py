"""The write path: whole batches, once, and the same rows however they were cut."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.detection.memory import NEVER
from meterwatch.storage import known, tables
from meterwatch.storage.known import ABSENT, OTHER, SAME
from meterwatch.storage.meters import LedgerMovedError, MeterStore
from meterwatch.storage.migrate import DatabaseError
from meterwatch.storage.tables import Advance, Batch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Dump = Callable[[MeterStore], dict[str, list[str]]]
Row = tuple[str, int, float | None, float | None, str]  # meter, at, power, voltage, status


def batch(rows: list[Row], begin: int, *, rejected: int = 0) -> Batch:
    """A batch of one partition that stores `rows` and rejects as many further records, as the stream would build it."""
    count = len(rows)
    nothing = [None] * count
    readings = pa.table(
        [
            [row[0] for row in rows],
            [row[1] for row in rows],
            [row[2] for row in rows],
            nothing,
            [row[3] for row in rows],
            nothing,
            *[[7.0] * count] * 3,
            [0] * count,
            list(range(begin, begin + count)),
        ],
        schema=tables.READINGS,
    )
    scored = [1.0 if row[4] == "scored" else None for row in rows]
    verdicts = pa.table(
        [
            [row[0] for row in rows],
            [row[1] for row in rows],
            [row[4] for row in rows],
            scored,
            scored,
            [None if value is None else True for value in scored],
            *[scored] * 3,
            nothing,
            ["1"] * count,
        ],
        schema=tables.VERDICTS,
    )
    names = sorted({row[0] for row in rows})
    newest = {row[0]: row[1] for row in sorted(rows, key=lambda row: row[1]) if row[4] != "late"}
    states = pa.table(
        [
            names,
            [b"s" + str(begin + count).encode()] * len(names),
            [newest.get(name) for name in names],
            [newest.get(name) for name in names],
            ["1"] * len(names),
        ],
        schema=tables.STATES,
    )
    offsets = [begin + count + k for k in range(rejected)]
    return Batch(
        "id",
        "first",
        readings,
        verdicts,
        tables.EVENTS.empty_table(),
        states,
        tables.PROFILES.empty_table(),
        tables.SNAPSHOTS.empty_table(),
        pa.table(
            [[0] * rejected, offsets, [b"k"] * rejected, [b"\x00\xff"] * rejected, ["bad_fields"] * rejected],
            schema=tables.REJECTED,
        ),
        [Advance(0, begin or None, begin + count + rejected, count + rejected, count, 0, rejected, 0)],
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MeterStore]:
    with MeterStore(tmp_path / "m.db") as opened:
        yield opened


ROWS: list[Row] = [
    ("a", 0, 1.5, 230.0, "warming_up"),
    ("a", 60, None, None, "gap"),
    ("b", 3600, 0.125, 240.5, "scored"),
    ("a", 86400, -2.25, 228.0, "scored"),
    ("a", 30, 9.0, None, "late"),
]


def test_a_batch_goes_down_whole(store: MeterStore, dump: Dump) -> None:
    """Readings, verdicts, rejected, states and the ledger show the batch, and the ledger adds up."""
    store.commit(batch(ROWS, 0, rejected=2))
    ledger = store.known.ledger("first").to_pylist()
    assert [(row["next_offset"], row["records"], row["stored"], row["rejected"]) for row in ledger] == [(7, 7, 5, 2)]
    have = dump(store)
    assert len(have["power_data"]) == len(have["verdicts"]) == 5
    assert len(have["rejected"]) == 2


def test_rollups_are_sums_of_the_readings(store: MeterStore) -> None:
    """Checked by hand: meter a has three readings in its first hour, one of them without power."""
    store.commit(batch(ROWS, 0))
    names = (
        *("readings", "gap", "late", "power_readings", "power_mw_sum", "power_mw_min", "power_mw_max"),
        *("voltage_mv_sum", "sub_metering_1_mwh"),
    )
    schema = pa.schema([(name, pa.int64()) for name in names])
    query = f"SELECT {', '.join(names)} FROM rollups WHERE meter_id = 'a' AND at = 0 AND period = "
    expected = (3, 1, 1, 2, 10_500_000, 1_500_000, 9_000_000, 230_000, 21_000)
    for period in ("'hour'", "'day'"):
        assert tuple(store._db.query(query + period, schema).to_pylist()[0].values()) == expected


@pytest.mark.parametrize("step", range(9))
def test_a_commit_that_stops_between_two_steps_leaves_no_trace(
    store: MeterStore, step: int, dump: Dump, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever insert fails, the tables are as before, and the same batch can be written again."""
    store.commit(batch(ROWS[:2], 0))
    before = dump(store)
    later = batch(ROWS[2:], 2, rejected=1)
    calls: list[str] = []
    insert = store._db.insert

    def failing(table: str, rows: pa.Table, **more: str) -> None:
        if len(calls) == step:
            raise DatabaseError("pulled the plug")
        calls.append(table)
        insert(table, rows, **more)

    with monkeypatch.context() as patch:
        patch.setattr(store._db, "insert", failing)
        with pytest.raises(DatabaseError, match="pulled the plug"):
            store.commit(later)
    assert dump(store) == before
    store.commit(later)
    assert len(dump(store)["power_data"]) == 5


def test_a_batch_cannot_be_written_twice(store: MeterStore, dump: Dump) -> None:
    """The ledger's old offset is compared under the lock: a second writer is told, nothing is written."""
    store.commit(batch(ROWS[:2], 0))
    before = dump(store)
    with pytest.raises(LedgerMovedError, match="another stream"):
        store.commit(batch(ROWS[2:], 0))
    assert dump(store) == before


def test_a_verdict_of_an_unknown_status_is_refused(store: MeterStore, dump: Dump) -> None:
    """SQLite is not asked again for each row what the table's CHECK allows."""
    before = dump(store)
    with pytest.raises(ValueError, match=r"none of scored, warming_up, gap, late: .*duplicate"):
        store.commit(batch([("a", 60, 1.0, 2.0, "scored"), ("a", 120, 1.0, 2.0, "duplicate")], 0))
    assert dump(store) == before


def test_a_batch_that_does_not_add_up_is_refused(store: MeterStore, dump: Dump) -> None:
    """A miscount is a fault of the program and never reaches the ledger."""
    good = batch(ROWS, 0)
    wrong = good.advances[0]._replace(stored=4)
    with pytest.raises(ValueError, match="does not add up"):
        store.commit(replace(good, advances=[wrong]))
    assert dump(store)["offsets"] == []


@settings(deadline=None, max_examples=30)
@given(cuts=st.sets(st.integers(1, 39)), seed=st.integers(0, 9))
def test_any_cut_gives_the_same_rows(
    cuts: set[int], seed: int, dump: Dump, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One batch or many: power_data, verdicts, rollups and the ledger's sums are equal to the last bit."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for number in range(40):
        power = None if rng.random() < 0.2 else float(np.round(rng.normal(0, 5), 3))
        status = str(rng.choice(["scored", "gap", "warming_up", "late"]))
        rows.append((str(rng.choice(["a", "b"])), number * 1800, power, 0.1 * number, status))
    dumps = []
    for edges in ([0, 40], [0, *sorted(cuts), 40]):
        with MeterStore(tmp_path_factory.mktemp("cut") / "m.db") as store:
            for begin, end in itertools.pairwise(edges):
                store.commit(batch(rows[begin:end], begin))
            have = dump(store)
            del have["meter_states"]  # this test's states are named by the batch
            dumps.append(have)
    assert dumps[0] == dumps[1]


def test_states_come_back_in_the_order_asked(store: MeterStore) -> None:
    """Known and unknown meters mixed, profiles only where one was ever stored, replaced only when given."""
    first = batch([("a", 0, 1.0, None, "scored"), ("b", 0, 1.0, None, "scored")], 0)
    profiles = pa.table([["b"], [b"profile"]], schema=tables.PROFILES)
    store.commit(replace(first, profiles=profiles))
    store.commit(batch([("b", 60, 1.0, None, "scored")], 2))
    loaded = store.known.load_states(pa.array(["x", "b", "a"]))
    assert loaded["state"].to_pylist() == [None, b"s3", b"s2"]
    assert loaded["profile"].to_pylist() == [None, b"profile", None]
    assert loaded["at"].to_pylist() == loaded["furthest_at"].to_pylist() == [NEVER, 60, 0]


def test_a_late_batch_keeps_the_newest_time(store: MeterStore) -> None:
    """`meter_states.at` is the newest reading in order, which late ones do not move."""
    store.commit(batch([("a", 60, 1.0, None, "scored")], 0))
    store.commit(batch([("a", 0, 1.0, None, "late")], 1))
    at = store._db.query("SELECT at FROM meter_states", pa.schema([("at", pa.int64())]))
    assert at["at"].to_pylist() == [60]
    loaded = store.known.load_states(pa.array(["a"]))
    assert loaded["furthest_at"].to_pylist() == [60]


def test_a_meter_that_went_back_keeps_its_furthest_time(store: MeterStore) -> None:
    """After a wrong clock `at` is the newest in order; where readings may be known is remembered beside it."""
    for number, at in enumerate((600, 60, 120)):
        store.commit(batch([("a", at, 1.0, None, "scored")], number))
    loaded = store.known.load_states(pa.array(["a"]))
    assert (loaded["at"].to_pylist(), loaded["furthest_at"].to_pylist()) == ([120], [600])


def waiting_row(meter: str, at: int, offset: int, *, suspect: bool = False, key: bytes | None = b"k") -> dict[str, Any]:
    where = {"partition": 0, "record_offset": offset, "record_key": key, "raw": b"raw"}
    return {**where, "meter_id": meter, "at": at, "channels": bytes(56), "suspect": suspect}


def test_what_waits_comes_back_as_it_was(store: MeterStore) -> None:
    """In the order of the records, of the meters and the topic asked for; one goes, one is no suspect any longer."""
    rows = [waiting_row("a", 60, 3, suspect=True), waiting_row("b", 0, 1, key=None), waiting_row("a", 0, 2)]
    table = pa.Table.from_pylist(rows, schema=tables.HELD)
    store.commit(replace(batch([], 0), held=table, advances=[Advance(0, None, 3, 3, 0, 0, 0, 3)]))
    assert store.known.sources_waiting() == [("id", "first")]
    every = store.known.meters_waiting("id", "first", 9)
    assert sorted(every.to_pylist()) == ["a", "b"]
    assert len(store.known.meters_waiting("id", "first", 1)) == 1
    assert len(store.known.meters_waiting("other", "first", 9)) == 0
    assert store.known.waiting("id", "first", every).to_pylist() == sorted(rows, key=lambda row: row["record_offset"])
    assert store.known.waiting("id", "first", pa.array(["x", "a"])).to_pylist() == [rows[2], rows[0]]
    assert store.known.waiting("other", "first", every).num_rows == 0
    changed = pa.Table.from_pylist([{**rows[0], "suspect": False}], schema=tables.HELD)
    gone = pa.table([["a"], [0], [2]], schema=tables.RELEASED)
    store.commit(
        replace(batch([], 0), held=changed, released=gone, advances=[Advance(0, 3, 3, 0, 0, 1, 0, -1, 1, 0, 0)])
    )
    assert store.known.waiting("id", "first", every).to_pylist() == [rows[1], {**rows[0], "suspect": False}]
    (row,) = store.known.ledger("first").to_pylist()
    assert (row["held"], row["duplicates"], row["late"]) == (2, 1, 1)


def test_held_tells_same_other_and_absent(store: MeterStore) -> None:
    """Missing equals missing; a number never equals missing."""
    store.commit(batch(ROWS, 0))

    def candidate(at: int, power: float | None, voltage: float | None) -> dict[str, Any]:
        values = [power, None, voltage, None, 7.0, 7.0, 7.0]
        return {"meter_id": "a", "at": at, **dict(zip(tables.CHANNEL_COLUMNS, values, strict=True))}

    asked = [candidate(0, 1.5, 230.0), candidate(60, None, None), candidate(60, 0.0, None), candidate(61, 1.0, None)]
    answer = store.known.held(pa.Table.from_pylist(asked, schema=known.CANDIDATES))
    assert answer.tolist() == [SAME, SAME, OTHER, ABSENT]
