"""How every client of ours talks to Kafka: librdkafka properties."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from confluent_kafka.admin import AdminClient

    from meterwatch.settings import Settings

Config = dict[str, str | int | float | bool]

# Nothing is lost or doubled by a retry, and a meter's readings stay in order; the partitioner is Java's, so that one
# key lands on one partition whoever sends it.
PRODUCER: Config = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    "partitioner": "murmur2_random",
}
# Looks at records by their offsets and moves nobody's.
CONSUMER: Config = {"enable.auto.commit": False, "isolation.level": "read_uncommitted"}
LARGEST_RECORD = 16 * 1024 * 1024  # bytes; the broker takes what the quarantine will call too_large
CONNECT_SECONDS = 3.0
AWAY = "start the broker with `meterwatch broker start`, or set METERWATCH_KAFKA_BOOTSTRAP_SERVERS"


class Topic(NamedTuple):
    """A topic as the broker has it now."""

    name: str
    topic_id: str
    ends: Mapping[int, tuple[int, int]]  # partition: (first offset kept, offset after the newest record)


def secure(settings: Settings) -> dict[str, str]:
    """What the security file says: librdkafka properties, `name=value` a line."""
    lines = settings.kafka_security.read_text().splitlines() if settings.kafka_security is not None else []
    pairs = (line.partition("=") for line in map(str.strip, lines) if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def client_config(settings: Settings) -> Config:
    """Properties that every client needs: the address, and what the security file says."""
    return {**secure(settings), "bootstrap.servers": settings.kafka_bootstrap_servers, "log_level": 0}


def is_away(servers: str) -> bool:
    """Whether nobody listens at any of the addresses; librdkafka would go on trying for as long as it is given."""
    for server in servers.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
        except OSError:
            continue
        return False
    return True


def topic(admin: AdminClient, name: str, timeout: float) -> Topic:
    """Ask the broker for a topic, and wait `timeout` seconds for each answer.

    Raises:
        KafkaException: it does not answer, or has no such topic.
    """
    from confluent_kafka import TopicCollection, TopicPartition
    from confluent_kafka.admin import OffsetSpec

    told = admin.describe_topics(TopicCollection([name]), request_timeout=timeout)[name].result()
    ends = [
        {
            part.partition: found.result().offset
            for part, found in admin.list_offsets(
                {TopicPartition(name, p.id): spec for p in told.partitions}, request_timeout=timeout
            ).items()
        }
        for spec in (OffsetSpec.earliest(), OffsetSpec.latest())
    ]
    return Topic(name, str(told.topic_id), {p: (ends[0][p], ends[1][p]) for p in sorted(ends[0])})
