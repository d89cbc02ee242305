"""A batch in pieces: all of it, in its order, none larger than there is room for."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from streaming.pieces import MAX_BYTES, METER_BYTES, ROW_BYTES, pieces

MB = 1024 * 1024


def records(sizes: list[int], meters: list[int | None]) -> pa.Table:
    keys = [None if meter is None else f"m{meter}".encode() for meter in meters]
    offsets = np.arange(len(sizes))
    return pa.table({"offset": offsets, "size": pa.array(sizes, pa.int32()), "key": pa.array(keys, pa.binary())})


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 60, 40 * MB, 70 * MB, 300 * MB]), st.none() | st.integers(0, 3)), max_size=30
    )
)
def test_pieces_are_the_batch_and_fit(told: list[tuple[int, int | None]]) -> None:
    whole = records([size for size, _ in told], [meter for _, meter in told])
    found = list(pieces(whole))
    assert all(piece.num_rows for piece in found)
    assert pa.concat_tables([*found, whole.slice(0, 0)]).equals(whole)
    costs = [sum(piece["size"].to_pylist()) for piece in found]
    assert all(cost <= MAX_BYTES or piece.num_rows == 1 for cost, piece in zip(costs, found, strict=True))
    # None is smaller than it must be: the next record had no room.
    for (one, cost), other in zip(zip(found, costs, strict=True), found[1:], strict=False):
        assert cost + other["size"][0].as_py() + (one.num_rows + 1) * (ROW_BYTES + METER_BYTES) > MAX_BYTES


def test_many_meters_make_pieces_and_one_meter_s_ordinary_batch_is_one() -> None:
    n = 200_000
    assert [piece.num_rows for piece in pieces(records([60] * n, [1] * n))] == [n]
    counts = [piece.num_rows for piece in pieces(records([60] * n, list(range(n))))]
    assert max(counts) * METER_BYTES <= MAX_BYTES
    assert sum(counts) == n
