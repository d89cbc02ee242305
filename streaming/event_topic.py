"""Changes of events on a Kafka topic, as docs/integrate.md describes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
from confluent_kafka import KafkaException, Producer

from meterwatch.kafka import PRODUCER, client_config
from streaming import topics
from streaming.errors import BrokerAwayError, UntoldError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from confluent_kafka import KafkaError, Message

    from meterwatch.settings import Settings

DELIVERY_SECONDS = 10.0
TIMES = ("start_at", "end_at", "peak_at")


def told(change: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the outbox as it is told: the event's columns as the database has them, times in ISO-8601."""
    times = {name: None if change[name] is None else datetime.fromtimestamp(change[name], UTC) for name in TIMES}
    return {**change, **times}


def as_json(message: object) -> bytes:
    """Numbers to the last bit; times end in Z."""
    return orjson.dumps(message, option=orjson.OPT_UTC_Z)


class EventTopic:
    """The topic, made where it is not there: a message a change, its key the meter, in the order of the sequence."""

    most, spacing = 500, 0.0

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.kafka_events_topic
        self._producer: Producer | None = None
        self._faults: list[str] = []

    def tell(self, changes: list[dict[str, Any]]) -> None:
        """Send them and wait until the broker has all of them.

        Raises:
            UntoldError: it has not; some may be there, and come once more.
        """
        try:
            producer = self._connected()
            for change in changes:
                producer.produce(self._topic, as_json(told(change)), change["meter_id"].encode())
            left = producer.flush(2 * DELIVERY_SECONDS)
        except (BrokerAwayError, KafkaException) as error:
            self._producer = None
            raise UntoldError(str(error)) from error
        if left or self._faults:
            fault = self._faults[0] if self._faults else "the broker does not answer"
            self._producer = None
            raise UntoldError(f"topic {self._topic!r} at {self._settings.kafka_bootstrap_servers}: {fault}")

    def _connected(self) -> Producer:
        """A producer that has never failed: what an earlier one did not send comes not behind what this one sends."""
        if self._producer is None:
            topics.ensure(self._settings, self._topic)
            self._faults = []
            timeout = int(1000 * DELIVERY_SECONDS)
            config = {**client_config(self._settings), **PRODUCER, "delivery.timeout.ms": timeout, "linger.ms": 0}
            self._producer = Producer({**config, "on_delivery": self._delivered})
        return self._producer

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._faults.append(error.str())
