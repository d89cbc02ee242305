"""Looking at records of the topic as they are, without moving anybody's offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import Consumer, TopicPartition

from meterwatch.kafka import CONSUMER, client_config
from streaming.errors import StreamError
from streaming.ledger import describe

if TYPE_CHECKING:
    from confluent_kafka import Message

    from meterwatch.settings import Settings

PATIENCE = 5.0  # seconds for the next records


class Record(NamedTuple):
    """One record."""

    partition: int
    offset: int
    at: int  # when the broker took it, unix seconds
    key: bytes | None
    value: bytes | None


def newest(settings: Settings, topic: str, count: int) -> list[Record]:
    """The newest records of each partition, oldest first.

    Args:
        settings: where the broker is.
        topic: that is looked at.
        count: of each partition at most so many.

    Raises:
        StreamError: no broker, no such topic, or it stopped answering.
    """
    config = client_config(settings)
    ends = describe(config, topic).ends
    places = {number: max(first, end - count) for number, (first, end) in ends.items() if end > first}
    wanted = sum(ends[number][1] - begin for number, begin in places.items())
    consumer = Consumer({**config, **CONSUMER, "group.id": "meterwatch-looking"})
    found: list[Record] = []
    try:
        consumer.assign([TopicPartition(topic, number, begin) for number, begin in places.items()])
        while len(found) < wanted:
            messages = consumer.consume(wanted - len(found), timeout=PATIENCE)
            if not messages:
                raise StreamError(
                    f"{settings.kafka_bootstrap_servers} answers with {len(found)} of {wanted} records; try again"
                )
            for message in messages:
                if (error := message.error()) is not None:
                    raise StreamError(f"topic {topic!r}: {error.str()}")
                found.append(_record(message))
    finally:
        consumer.close()
    return sorted(found)


def _record(message: Message) -> Record:
    place = (message.partition() or 0, message.offset() or 0)  # never absent in a message without an error
    return Record(*place, message.timestamp()[1] // 1000, message.key(), message.value())
