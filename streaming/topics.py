"""Topics: of the readings, and of what becomes of events."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from meterwatch.kafka import AWAY, LARGEST_RECORD, client_config, is_away
from streaming.errors import BrokerAwayError

if TYPE_CHECKING:
    from meterwatch.settings import Settings

PARTITIONS = 1
TIMEOUT = 10.0
TURN = 0.05


def ensure(settings: Settings, name: str) -> None:
    """Make a topic where it is not there yet, and wait until it is there.

    Raises:
        BrokerAwayError: no broker answers, or it refuses.
    """
    where = f"topic {name!r} at {settings.kafka_bootstrap_servers}"
    if is_away(settings.kafka_bootstrap_servers):
        raise BrokerAwayError(f"{where}: nobody answers; {AWAY}")
    admin = AdminClient(client_config(settings))
    topic = NewTopic(name, PARTITIONS, 1, config={"max.message.bytes": str(LARGEST_RECORD)})
    deadline = time.monotonic() + TIMEOUT
    try:
        if name in admin.list_topics(timeout=TIMEOUT).topics:
            return
        admin.create_topics([topic], request_timeout=TIMEOUT)[name].result()
        while name not in admin.list_topics(timeout=TIMEOUT).topics and time.monotonic() < deadline:
            time.sleep(TURN)
    except KafkaException as error:
        fault: KafkaError = error.args[0]
        if fault.code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another process was first
            raise BrokerAwayError(f"{where}: {fault.str()}; {AWAY}") from error
