"""A batch in pieces that fit into memory, however long its records are and however many meters they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

MAX_BYTES = 384 * 1024 * 1024
ROW_BYTES = 512  # of a short record with its verdict, in all the forms that it takes
METER_BYTES = 120 * 1024  # of a meter's state and profile, as they were and as they become


def pieces(records: pa.Table) -> Iterator[pa.Table]:
    """Runs of records, as many as `MAX_BYTES` have room for, but at least one each.

    Args:
        records: as `carried` made them. A partition's are in order.
    """
    sizes = records["size"].to_numpy() + ROW_BYTES
    meter = records["key"].combine_chunks().dictionary_encode().indices.fill_null(0).to_numpy()
    begin = 0
    while begin < len(sizes):
        end = begin + _fitting(sizes[begin:], meter[begin:])
        yield records.slice(begin, end - begin)
        begin = end


def _fitting(sizes: NDArray[np.int64], meter: NDArray[np.int32]) -> int:
    """How many of the first records have room together."""
    costs = sizes.copy()
    costs[np.unique(meter, return_index=True)[1]] += METER_BYTES  # each meter once
    return max(1, int(np.searchsorted(np.cumsum(costs), MAX_BYTES, side="right")))
