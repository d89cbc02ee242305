"""How far the ledger is, as a consumer group that Kafka's own tools show; nobody reads it back."""

from __future__ import annotations

import time
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from confluent_kafka.admin import AdminClient

GROUP = "meterwatch"
SECONDS = 1.0  # between two commits to the group
PATIENCE = 5.0  # seconds for one
END_SECONDS = 0.5  # that the last one has


class Group:
    """The group's offsets of a topic, which follow the ledger's."""

    def __init__(self, admin: AdminClient, topic: str) -> None:
        self._admin = admin
        self._topic = topic
        self._told: dict[int, int] = {}
        self._at = 0.0
        self._telling: Future[Any] | None = None

    def tell(self, offsets: Mapping[int, int]) -> None:
        """Commit what has changed, now and then and without waiting; who may not is left alone: nothing hangs on it."""
        if time.monotonic() - self._at >= SECONDS:
            self._commit(dict(offsets))

    def close(self, offsets: Mapping[int, int]) -> None:
        """Leave it where the ledger stands, if the broker is there."""
        self._commit(dict(offsets))
        if self._telling is not None:
            wait([self._telling], END_SECONDS)

    def _commit(self, offsets: dict[int, int]) -> None:
        if offsets == self._told and not (
            self._telling is not None and self._telling.done() and _failed(self._telling)
        ):
            return
        self._told, self._at = offsets, time.monotonic()
        places = [TopicPartition(self._topic, number, offset) for number, offset in offsets.items()]
        group = ConsumerGroupTopicPartitions(GROUP, places)
        self._telling = self._admin.alter_consumer_group_offsets([group], request_timeout=PATIENCE)[GROUP]


def _failed(done: Future[Any]) -> bool:
    """As a whole, or for a partition: the broker may have to load the group first."""
    return done.exception() is not None or any(place.error is not None for place in done.result().topic_partitions)
