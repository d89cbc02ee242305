"""Where to begin reading: the database's own high-water offsets, held against the topic as the broker has it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from meterwatch.kafka import AWAY, is_away, topic
from streaming.errors import BrokerAwayError, StreamError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meterwatch.kafka import Config, Topic

EARLIEST = -2  # Kafka's own word for "from the first record there is"
# A topic just made, or a broker just started: it will answer in a moment.
SOON = (KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION)
TURN = 0.1


def describe(config: Config, name: str, *, timeout: float = 10.0, admin: AdminClient | None = None) -> Topic:
    """Ask the broker for a topic.

    Args:
        config: librdkafka properties, `bootstrap.servers` among them.
        name: the topic.
        timeout: seconds to wait for the broker.
        admin: a client to use again, of a caller that asks often.

    Raises:
        BrokerAwayError: no broker, or no such topic.
    """
    where = f"topic {name!r} at {config['bootstrap.servers']}"
    if is_away(str(config["bootstrap.servers"])):
        raise BrokerAwayError(f"{where}: nobody answers; {AWAY}")
    admin = admin or AdminClient(config)
    deadline = time.monotonic() + timeout
    while True:
        try:
            return topic(admin, name, timeout)
        except KafkaException as error:
            fault: KafkaError = error.args[0]
            if fault.code() in SOON and time.monotonic() < deadline:
                time.sleep(TURN)
                continue
            raise BrokerAwayError(f"{where}: {fault.str()}; {AWAY}") from error


def starting_offsets(topic: Topic, ledger: Sequence[Mapping[str, Any]], *, accept_new_topic: bool) -> dict[int, int]:
    """The next offset of each partition that the ledger knows.

    Args:
        topic: what the broker has.
        ledger: the database's rows (`topic_id`, `partition`, `next_offset`) of every topic that had this name.
        accept_new_topic: read a topic that replaced the one read so far, from its start.

    Raises:
        StreamError: the ledger and the broker cannot both be right. Nothing is skipped silently.
    """
    known = {row["partition"]: row["next_offset"] for row in ledger if row["topic_id"] == topic.topic_id}
    others = sorted({row["topic_id"] for row in ledger} - {topic.topic_id})
    if others and not known and not accept_new_topic:
        raise StreamError(
            f"topic {topic.name!r} is not the one that was read so far: the broker's has id {topic.topic_id}, the "
            f"database knows {', '.join(others)}. Either go on with the new topic from its start "
            "(`up` or `stream` with `--accept-new-topic`: stored readings stay, equal ones are counted as duplicates), "
            "or stop and bring back the old broker's data"
        )
    for partition, offset in known.items():
        first, end = topic.ends.get(partition, (0, 0))
        if offset > end:
            raise StreamError(
                f"partition {partition} of topic {topic.name!r}: the database has read up to offset {offset}, the "
                f"broker ends at {end}: records are gone from the broker. Either delete and make the topic anew and "
                "go on with it (`--accept-new-topic`), or stop and bring back the broker's data"
            )
        if offset < first:
            raise StreamError(
                f"partition {partition} of topic {topic.name!r}: the broker has deleted the records {offset} to "
                f"{first - 1}, which were never read. Either bring back the broker's data, or make the topic anew and "
                "go on with it (`--accept-new-topic`)"
            )
    return known
