"""What is kept and for how long: by the meters' own times, in small pieces, and the books balance at each step."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.storage import retention
from meterwatch.storage.migrate import DatabaseError
from streaming import batches
from tests.unit.test_batches import Stream, records_of

if TYPE_CHECKING:
    from pathlib import Path

    from meterwatch.storage.meters import MeterStore
    from tests.unit.test_batches import Record

Dump = Callable[["MeterStore"], dict[str, list[str]]]
DAY = 86_400
NUMBER, TEXT = pa.int64(), pa.string()


def books(stream: Stream) -> tuple[int, int]:
    """Rows kept and pruned, proved against the ledger and against each other."""
    sums = "sum(stored), sum(pruned), sum(records - stored - duplicates - rejected - held)"
    ((stored, pruned, unaccounted),) = stream.rows(
        f"SELECT {sums} FROM offsets", {"s": NUMBER, "p": NUMBER, "u": NUMBER}
    )
    (kept,), (verdicts,), (pairs,) = (
        stream.rows(f"SELECT count(*) FROM {table}", {"n": NUMBER})[0]
        for table in ("power_data", "verdicts", "power_data JOIN verdicts USING (meter_id, at)")
    )
    assert unaccounted == 0
    assert kept == verdicts == pairs == stored - pruned
    return kept, pruned


def rest(stream: Stream) -> None:
    """Prune until nothing is left to prune."""
    while stream.batches.tidy():
        books(stream)


def outcomes(records: list[Record], keep_s: int) -> tuple[set[int], set[tuple[str, int]]]:
    """The twin, record by record: offsets of what is too old, and what is kept in the end."""
    newest: dict[str, int] = {}
    held: dict[tuple[str, int], float | None] = {}
    old = set()
    for offset, (meter, at, power) in enumerate(records):
        if at is None:
            continue
        if at < newest.get(meter, -1) - keep_s:
            old.add(offset)
        else:
            held.setdefault((meter, at), power)
        newest[meter] = max(newest.get(meter, -1), at)
    return old, {(meter, at) for meter, at in held if at >= newest[meter] - keep_s}


@settings(deadline=None, max_examples=4)
@given(
    seed=st.integers(0, 5),
    cuts=st.sets(st.integers(1, 1999), max_size=12),
    keep_s=st.sampled_from([3600, DAY // 2]),
    rows=st.sampled_from([7, 300, 20_000]),
)
def test_any_cut_keeps_the_same_rows(
    seed: int, cuts: set[int], keep_s: int, rows: int, dump: Dump, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Record order and meter times decide alone what is too old and what is kept, whatever a piece's size."""
    records = records_of(seed, 2000)
    old, kept = outcomes(records, keep_s)
    dumps = []
    with pytest.MonkeyPatch.context() as patch:
        for edges in ([0, 2000], [0, *sorted(cuts), 2000]):
            stream = Stream(tmp_path_factory.mktemp("cut") / "m.db", keep_s)
            for begin, end in itertools.pairwise(edges):
                stream.take(records[begin:end], begin)
                books(stream)
            rest(stream)
            told = stream.rows("SELECT record_offset FROM rejected WHERE reason = 'too_old'", {"o": NUMBER})
            assert {offset for (offset,) in told} == old
            assert set(stream.rows("SELECT meter_id, at FROM power_data", {"m": TEXT, "at": NUMBER})) == kept
            dumps.append(dump(stream.store))
            stream.store.close()
            patch.setattr(retention, "ROWS", rows)
            patch.setattr(batches, "ROWS", rows)
            patch.setattr(retention, "METERS", 1)
    assert old
    assert dumps[0] == dumps[1]


def test_a_meter_s_limit_is_its_own_and_sums_and_events_stay(tmp_path: Path) -> None:
    """A silent meter keeps what it has; hours, days and events of what is pruned stay."""
    stream = Stream(tmp_path / "m.db", DAY)
    stream.take([("silent", 60 * k, 30.0 if k > 20 else 1.0) for k in range(40)])
    before = stream.rows("SELECT meter_id, sum(readings) FROM rollups WHERE period = 'day' GROUP BY 1",
                         {"m": TEXT, "n": NUMBER})  # fmt: skip
    stream.take([("on", DAY + 60 * k, 30.0 if k < 40 else 1.0) for k in range(100)], 40)
    stream.take([("on", 9 * DAY + 60 * k, 1.0) for k in range(40)], 140)
    rest(stream)
    assert stream.rows("SELECT meter_id, count(*), min(at) FROM power_data GROUP BY 1",
                       {"m": TEXT, "n": NUMBER, "at": NUMBER}) == [("on", 40, 9 * DAY), ("silent", 40, 0)]  # fmt: skip
    after = stream.rows("SELECT meter_id, sum(readings) FROM rollups WHERE period = 'day' GROUP BY 1",
                        {"m": TEXT, "n": NUMBER})  # fmt: skip
    assert after == [("on", 140), *before]
    assert stream.rows("SELECT count(*) FROM events WHERE meter_id = 'on'", {"n": NUMBER}) == [(1,)]
    assert books(stream) == (80, 100)


def test_a_clock_that_is_wrong_for_a_while_costs_no_reading(tmp_path: Path) -> None:
    """A few readings far ahead prove nothing; when more follow, time has really passed."""
    stream = Stream(tmp_path / "m.db", DAY)
    stream.take([("a", 60 * k, 1.0) for k in range(2000)])
    rest(stream)
    assert books(stream) == (1441, 559)
    stream.take([("a", 100 * DAY + 60 * k, 1.0) for k in range(32)], 2000)
    rest(stream)
    assert books(stream) == (1441 + 32, 559)
    stream.take([("a", 100 * DAY + 60 * 32, 1.0)], 2032)
    rest(stream)
    assert books(stream) == (33, 2000)


def test_nothing_is_pruned_without_a_limit(tmp_path: Path) -> None:
    stream = Stream(tmp_path / "m.db")
    stream.take([("a", 0, 1.0), ("a", 90 * DAY, 1.0)])
    rest(stream)
    assert books(stream) == (2, 0)


def test_a_piece_is_small_and_the_next_start_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit set for the first time takes many short transactions, over starts if need be."""
    stream = Stream(tmp_path / "m.db")
    stream.take([(meter, at, 1.0) for at in range(0, 60_000, 60) for meter in "ab"])
    stream.store.close()
    monkeypatch.setattr(retention, "ROWS", 150)
    stream = Stream(tmp_path / "m.db", 3600)
    sizes = []
    for _ in range(5):
        _, before = books(stream)
        stream.batches.tidy()
        sizes.append(books(stream)[1] - before)
    assert sizes == [150] * 5
    stream.store.close()
    stream = Stream(tmp_path / "m.db", 3600)
    rest(stream)
    assert books(stream) == (2 * 61, 2000 - 2 * 61)


def test_the_table_does_not_outgrow_the_pruning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a load without a pause, more is pruned after each batch than it stored."""
    monkeypatch.setattr(retention, "ROWS", 50)
    monkeypatch.setattr(batches, "ROWS", 50)
    stream = Stream(tmp_path / "m.db", 3600)
    for begin in range(0, 6000, 600):
        stream.take([("a", 60 * k, 1.0) for k in range(begin, begin + 600)], begin)
    assert books(stream)[0] <= 600 + 61


@pytest.mark.parametrize("step", range(4))
def test_a_piece_that_stops_in_the_middle_leaves_no_trace(
    tmp_path: Path, step: int, dump: Dump, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever statement of its transaction fails, the tables are as before, and the next piece deletes the same."""
    stream = Stream(tmp_path / "m.db", 3600)
    with monkeypatch.context() as patch:
        patch.setattr(stream.store, "prune", lambda *_: False)
        stream.take([("a", 60 * k, 1.0) for k in range(300)])
    before = dump(stream.store)
    execute, calls = stream.store._db.execute, []

    def failing(sql: str, rows: pa.Table | None = None) -> None:
        if sql.startswith(("DELETE FROM power", "DELETE FROM verd", "DELETE FROM state", "UPDATE off")):
            if len(calls) == step:
                raise DatabaseError("pulled the plug")
            calls.append(sql)
        execute(sql, rows)

    with monkeypatch.context() as patch:
        patch.setattr(stream.store._db, "execute", failing)
        with pytest.raises(DatabaseError, match="pulled the plug"):
            stream.batches.tidy()
    assert len(calls) == step
    assert dump(stream.store) == before
    rest(stream)
    assert books(stream) == (61, 239)


def test_rows_of_several_topics_are_counted_with_the_earlier_ones_first(tmp_path: Path) -> None:
    """A topic made anew begins at offset 0 again; the sum over both holds, and neither loses more than it stored."""
    first = Stream(tmp_path / "m.db", 3600)
    first.take([("a", 60 * k, 1.0) for k in range(100)])
    first.store.close()
    second = Stream(tmp_path / "m.db", 3600, topic_id="another")
    second.take([("a", 60 * (100 + k), 1.0) for k in range(200)])
    rest(second)
    found = second.rows("SELECT topic_id, stored, pruned FROM offsets ORDER BY 1",
                        {"t": TEXT, "s": NUMBER, "p": NUMBER})  # fmt: skip
    assert found == [("another", 200, 139), ("id", 100, 100)]
    assert books(second) == (61, 239)
