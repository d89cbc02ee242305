"""What Spark hands over of a topic's records: bounded in size, whatever is on the topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streaming.parse import MAX_KEY_BYTES
from streaming.whole import CARRIED_BYTES, carried

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SCHEMA = "key binary, value binary, topic string, partition int, offset long"


def test_long_records_leave_their_values_behind(spark: SparkSession) -> None:
    """Keys that may be a meter's stay: who has how many meters in a batch must be known."""
    lengths = (
        None,
        0,
        1,
        MAX_KEY_BYTES,
        MAX_KEY_BYTES + 1,
        CARRIED_BYTES - 1,
        CARRIED_BYTES,
        CARRIED_BYTES + 1,
        100_000,
    )
    pairs = [(key, value) for key in lengths for value in lengths]
    rows = [
        (None if key is None else b"k" * key, None if value is None else b"v" * value, "first", 0, number)
        for number, (key, value) in enumerate(pairs)
    ]
    found = carried(spark.createDataFrame(rows, SCHEMA)).toArrow().to_pylist()
    sizes = [(key or 0) + (value or 0) for key, value in pairs]
    assert [row["size"] for row in found] == sizes
    assert [row["offset"] for row in found] == list(range(len(rows)))
    for row, size, (key, value, *_) in zip(found, sizes, rows, strict=True):
        fits = size <= CARRIED_BYTES
        assert row["value"] == (value if fits else None)
        assert row["key"] == (key if fits or len(key or b"") <= MAX_KEY_BYTES else None)
