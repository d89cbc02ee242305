"""What becomes of each record: the vectorised decision against one that takes them one by one."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meterwatch.detection.memory import NEVER
from meterwatch.detection.readings import STATUSES
from meterwatch.storage.known import ABSENT, OTHER, SAME
from streaming.composing import compose
from streaming.decide import decide
from streaming.reordering import Bound
from streaming.scoring import Scored, group
from tests.unit.test_batches import VERDICT, parsed

Key = tuple[str, int]
# Meter, time, power, what the service says in order and not in order, and whether the meter goes back with it.
Row = tuple[str, int, float | None, str, str, bool]
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.integers(0, 6),
        st.none() | st.sampled_from([0.0, -0.0, 1.0, 2.0]),
        st.sampled_from(["scored", "scored", "scored", "warming_up", "gap", "out_of_range", "clock_jump"]),
        st.sampled_from(["late", "duplicate", "conflict"]),
        st.sampled_from([False, False, False, True]),
    ),
    min_size=1,
    max_size=40,
)
# A clock that was wrong, and behind it a late reading that is not too old for the right one.
BACK: list[Row] = [("a", at, 1.0, "scored", "late", back) for at, back in ((6, False), (2, True), (1, False))]
TABLE = st.dictionaries(
    st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 6)), st.none() | st.sampled_from([0.0, 1.0, 2.0])
)


def service(rows: list[Row], table: dict[Key, float | None]) -> list[tuple[str, str]]:
    """What the service tells of each reading: it knows which are newer than all, of the others it guesses."""
    newest = {meter: max(at for m, at in table if m == meter) for meter, _ in table}
    told = []
    for meter, at, _, in_order, not_in_order, back in rows:
        said = in_order if back or at > newest.get(meter, -1) else not_in_order
        if said in ("scored", "warming_up", "gap"):
            newest[meter] = at
        told.append((said, "") if said in STATUSES else ("rejected", said))
    return told


def one_by_one(rows: list[Row], told: list[tuple[str, str]], table: dict[Key, float | None], keep: int) -> list[str]:
    """The twin: the first value for a time holds, in the table or in an earlier record of the batch.

    A meter whose clock was wrong goes back, and its limit with it.
    """
    held = dict(table)
    stands = {meter: max(at for m, at in table if m == meter) for meter, _ in table}
    found = []
    for (meter, at, power, *_), (status, reason) in zip(rows, told, strict=True):
        if status == "rejected" and reason != "conflict":
            found.append(reason)
            continue
        in_order = status in ("scored", "warming_up", "gap")
        if keep and not in_order and at < stands.get(meter, -1) - keep:
            found.append("too_old")
        elif (meter, at) in held:
            found.append("duplicate" if held[meter, at] == power else "conflict")
        else:
            held[meter, at] = power
            found.append("stored" if in_order else "late")
        if in_order:
            stands[meter] = at
    return found


def answer(told: list[tuple[str, str]], order: np.ndarray, furthest: list[int]) -> Scored:
    verdicts = pa.Table.from_pylist(
        [
            {**dict.fromkeys([field.name for field in VERDICT]), "reason": told[k][1], "model_version": "1",
             "score": 1.0, "anomalous": True}
            for k in order
        ],
        schema=pa.schema(list(VERDICT)),
    )  # fmt: skip
    status = np.array([STATUSES.index(told[k][0]) for k in order], np.int8)
    before = pa.table([pa.array(furthest, pa.int64())] * 2, names=["at", "furthest_at"])
    return Scored(status, verdicts, pa.table({}), pa.table({}), before, Bound(0, 0))


@settings(deadline=None)
@given(rows=ROWS, table=TABLE, keep=st.integers(0, 3))
@example(rows=BACK, table={}, keep=1)
def test_the_decision_is_that_of_one_by_one(rows: list[Row], table: dict[Key, float | None], keep: int) -> None:
    told = service(rows, table)
    grouped = group(parsed([row[:3] for row in rows]), np.arange(len(rows)))

    def held(candidates: pa.Table) -> np.ndarray:
        keys = zip(candidates["meter_id"].to_pylist(), candidates["at"].to_pylist(), strict=True)
        powers = candidates["global_active_power"].to_pylist()
        return np.array(
            [
                ABSENT if key not in table else SAME if table[key] == power else OTHER
                for key, power in zip(keys, powers, strict=True)
            ],
            np.int8,
        )

    furthest = [max((at for m, at in table if m == meter), default=NEVER) for meter in grouped.meter_ids.to_pylist()]
    outcome = decide(grouped, answer(told, grouped.row, furthest), held, keep)
    found = np.select(
        [outcome.late, outcome.stored, outcome.duplicate], ["late", "stored", "duplicate"], outcome.reason.to_pylist()
    )
    assert found[np.argsort(grouped.row)].tolist() == one_by_one(rows, told, table, keep)
    # Each is exactly one of the three.
    assert (outcome.stored.astype(int) + outcome.duplicate + outcome.rejected == 1).all()


def test_the_limit_goes_by_the_last_reading_in_order() -> None:
    """Not by the furthest: a clock that was wrong for a while makes nothing too old, in one batch or in two."""
    told = [("scored", ""), ("scored", ""), ("late", ""), ("late", "")]
    grouped = group(parsed([("a", 900_000, 1.0), ("a", 7200, 1.0), ("a", 3600, 1.0), ("a", 60, 1.0)]), np.arange(4))
    outcome = decide(grouped, answer(told, grouped.row, [NEVER]), lambda rows: np.full(len(rows), ABSENT), 3600)
    assert outcome.anew.tolist() == [False, True, False, False]
    assert outcome.late.tolist() == [False, False, True, False]
    assert outcome.reason.to_pylist() == [None, None, None, "too_old"]


def test_a_batch_in_order_asks_the_table_nothing() -> None:
    rows: list[Row] = [("a", 60, 1.0, "scored", "", False), ("a", 120, None, "gap", "", False)]
    grouped = group(parsed([row[:3] for row in rows]), np.arange(2))
    outcome = decide(grouped, answer(service(rows, {}), grouped.row, [NEVER]), lambda _: 1 / 0)
    assert outcome.stored.all()


def test_a_batch_counts_each_partition_by_itself() -> None:
    """Records that could not be read have an offset too; those of another partition are not mixed in."""
    records = parsed([("a", None, None)] * 5)
    partition = pa.array([0, 1, 1, 3, 3], pa.int32())
    records = records.set_column(0, "partition", partition).set_column(1, "offset", pa.array([7, 0, 1, 4, 9]))
    batch = compose(records, None, ("id", "first"), {0: 7, 3: 4})
    told = [(a.partition, a.old_offset, a.next_offset, a.records, a.rejected) for a in batch.advances]
    assert told == [(0, 7, 8, 1, 1), (1, None, 2, 2, 2), (3, 4, 10, 2, 2)]
    assert batch.rejected.num_rows == 5
