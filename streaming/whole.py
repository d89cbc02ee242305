"""Records that are too long to come through Spark: their keys and values are read from the topic again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Consumer, TopicPartition
from pyspark.sql import functions as F  # noqa: N812

from meterwatch.kafka import CONSUMER
from streaming.errors import StreamError
from streaming.parse import MAX_KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from confluent_kafka import Message
    from numpy.typing import NDArray
    from pyspark.sql import DataFrame

    from meterwatch.kafka import Config

CARRIED_BYTES = 512  # of key and value together; the batch's memory must not depend on what is on the topic
PATIENCE = 30.0  # seconds for the next records
QUEUE_KB = 32 * 1024  # librdkafka reads so far ahead


def carried(records: DataFrame) -> DataFrame:
    """Of Kafka's columns those that are needed, as far as they are short.

    Returns:
        `partition`, `offset`, `size` (bytes of key and value together), `value`, null where the size is more than
        `CARRIED_BYTES`, and `key`, null where it could not be a meter's either.
    """
    key, value = F.col("key"), F.col("value")
    size = F.coalesce(F.length(key), F.lit(0)) + F.coalesce(F.length(value), F.lit(0))
    fits = size <= CARRIED_BYTES
    return records.select(
        "partition",
        "offset",
        F.when(fits | (F.length(key) <= MAX_KEY_BYTES), key).alias("key"),
        F.when(fits, value).alias("value"),
        size.alias("size"),
    )


class Whole:
    """Puts keys and values in the place of those that `carried` left out.

    Args:
        config: librdkafka properties.
        topic: which is read.
    """

    def __init__(self, config: Config, topic: str) -> None:
        self._config = config
        self._topic = topic

    def __call__(self, records: pa.Table) -> pa.Table:
        """The records with all keys and values, and without their `size`.

        Raises:
            StreamError: the broker does not give a record again.
        """
        rows = np.flatnonzero(records["size"].to_numpy() > CARRIED_BYTES)
        records = records.drop_columns("size")
        if not len(rows):
            return records
        places = np.stack([records[name].to_numpy()[rows] for name in ("partition", "offset")], axis=1)
        found = self._read(places)
        mask = np.zeros(records.num_rows, np.bool_)
        mask[rows] = True
        for column, values in zip(("key", "value"), zip(*found, strict=True), strict=True):
            filled = pc.replace_with_mask(
                records[column].combine_chunks(), pa.array(mask), pa.array(values, records.schema.field(column).type)
            )
            records = records.set_column(records.column_names.index(column), column, filled)
        return records

    def _read(self, places: NDArray[np.int64]) -> list[tuple[bytes | None, bytes | None]]:
        """Key and value of each (partition, offset), which stand in their order."""
        consumer = Consumer(
            {
                **self._config,
                **CONSUMER,
                "group.id": "meterwatch-again",
                "queued.max.messages.kbytes": QUEUE_KB,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 10,  # the next run would wait behind a fetch at the end of the topic
            }
        )
        try:
            return [found for run in _runs(places) for found in self._of_run(consumer, *run)]
        finally:
            consumer.close()

    def _of_run(
        self, consumer: Consumer, partition: int, offset: int, count: int
    ) -> Iterable[tuple[bytes | None, bytes | None]]:
        consumer.assign([TopicPartition(self._topic, partition, offset)])
        for wanted in range(offset, offset + count):
            message: Message | None = consumer.poll(PATIENCE)
            if message is None or message.error() is not None or message.offset() != wanted:
                raise StreamError(
                    f"record {wanted} of partition {partition} of topic {self._topic!r} cannot be read again "
                    f"({_fault(message)}); start the stream again"
                )
            yield message.key(), message.value()


def _fault(message: Message | None) -> str:
    if message is None:
        return "nobody answers"
    error = message.error()
    return "it is gone" if error is None else error.str()


def _runs(places: NDArray[np.int64]) -> Iterable[tuple[int, int, int]]:
    """Partition, first offset and length of what stands together on the topic."""
    breaks = np.flatnonzero((np.diff(places[:, 0]) != 0) | (np.diff(places[:, 1]) != 1)) + 1
    for run in np.split(places, breaks):
        yield int(run[0, 0]), int(run[0, 1]), len(run)
