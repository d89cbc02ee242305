"""Puts readings on the topic and answers only for what the broker has acknowledged."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from confluent_kafka import KafkaException, Producer
from pydantic import ValidationError

from meterwatch.kafka import PRODUCER, client_config
from serving.problems import Problem, unavailable
from serving.schemas import LONGEST_METER_ID, SENT_READING, SentReading
from serving.times import TimeError, text, unix

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

    from meterwatch.settings import Settings
    from serving.schemas import SentReadings

    Delivered = Callable[[object, object], None]

DELIVERY_SECONDS = 5.0
QUEUE_SECONDS = 2.0  # how long a full queue to the broker is waited for
REMEMBERED_ANSWERS = 10_000
AWAY = "The Kafka broker does not acknowledge; nothing is lost if you send the same request again."


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request's readings."""

    accepted: int
    rejected: list[dict[str, Any]]  # index over all readings of the request, reason


class Intake:
    """One idempotent producer for all requests, made when the first one comes.

    Args:
        settings: broker and topic.
        zone: of times without an offset.
    """

    def __init__(self, settings: Settings, zone: tzinfo) -> None:
        self._settings = settings
        self._zone = zone
        self._lock = threading.Lock()
        self._producer: Producer | None = None
        self._answers: OrderedDict[str, tuple[bytes, Outcome]] = OrderedDict()

    def send(self, request: SentReadings, body: bytes, key: str | None) -> Outcome:
        """Put each good reading on the topic; returns once all of them are acknowledged.

        Args:
            request: readings by meter.
            body: the request as it came, by which a repeated one is known.
            key: the Idempotency-Key; a request that was answered under it is answered alike and not sent again.

        Raises:
            Problem: 503, the broker did not acknowledge all; 422, the key was used for another request.
        """
        digest = hashlib.sha256(body).digest() if key else b""
        if key and (known := self._answered(key)) is not None:
            if known[0] != digest:
                raise Problem(422, "This Idempotency-Key was used for another request; take a new one.")
            return known[1]
        good, rejected = [], []
        readings = ((meter["meter_id"], reading) for meter in request["meters"] for reading in meter["readings"])
        for index, (meter_id, reading) in enumerate(readings):
            value = reason = None
            if len(meter_id.encode()) > LONGEST_METER_ID:
                reason = "too_large"
            else:
                value, reason = _value(reading, self._zone)
            if value is None:
                rejected.append({"index": index, "reason": reason})
            else:
                good.append((meter_id, value))
        self._deliver(good)
        outcome = Outcome(len(good), rejected)
        if key:
            self._remember(key, digest, outcome)
        return outcome

    def close(self) -> None:
        """Wait a little for what is still on its way."""
        if self._producer is not None:
            self._producer.flush(1.0)

    def _deliver(self, records: list[tuple[str, bytes]]) -> None:
        if not records:
            return
        producer = self._made()
        done: list[object] = []  # an error, or None, for each record

        def delivered(error: object, _: object) -> None:
            done.append(error)

        deadline = time.monotonic() + DELIVERY_SECONDS + QUEUE_SECONDS
        for meter_id, value in records:
            self._produce(producer, meter_id, value, delivered, deadline)
        while len(done) < len(records) and time.monotonic() < deadline:
            producer.poll(0.05)
        acknowledged = sum(error is None for error in done)
        if acknowledged < len(records):
            raise unavailable(f"{AWAY} Acknowledged: {acknowledged} of {len(records)} readings.", seconds=5)

    def _produce(self, producer: Producer, meter_id: str, value: bytes, delivered: Delivered, deadline: float) -> None:
        while True:
            try:
                producer.produce(self._settings.kafka_topic, value, meter_id.encode(), on_delivery=delivered)
            except BufferError:
                if time.monotonic() > deadline:
                    raise unavailable(AWAY, seconds=5) from None
                producer.poll(0.05)
            except KafkaException as error:
                raise unavailable(f"{AWAY} ({error})", seconds=5) from None
            else:
                return

    def _made(self) -> Producer:
        with self._lock:
            if self._producer is None:
                self._producer = Producer(
                    {
                        **client_config(self._settings),
                        **PRODUCER,
                        "linger.ms": 5,
                        "message.timeout.ms": int(DELIVERY_SECONDS * 1000),
                    }
                )
            return self._producer

    def _answered(self, key: str) -> tuple[bytes, Outcome] | None:
        with self._lock:
            return self._answers.get(key)

    def _remember(self, key: str, digest: bytes, outcome: Outcome) -> None:
        with self._lock:
            self._answers[key] = (digest, outcome)
            while len(self._answers) > REMEMBERED_ANSWERS:
                self._answers.popitem(last=False)


def _value(reading: dict[str, Any], zone: tzinfo) -> tuple[bytes | None, str | None]:
    """A reading as it goes on the topic, or the reason why it does not."""
    try:
        known: SentReading = SENT_READING.validate_python(reading)
    except ValidationError as error:
        return None, _reason(error)
    energy, interval = known.get("energy_kwh"), known.get("interval_s")
    if (energy is None) != (interval is None) or (energy is not None and known.get("active_power_kw") is not None):
        return None, "bad_fields"
    try:
        at = text(unix(known["at"], zone))
    except TimeError:
        return None, "bad_time"
    numbers = {name: value for name, value in known.items() if name != "at" and value is not None}
    return orjson.dumps({"at": at, **numbers}), None


def _reason(error: ValidationError) -> str:
    """The quarantine's word for what pydantic found first."""
    found = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if found["type"] in ("missing", "extra_forbidden"):
        return "bad_fields"
    return "bad_time" if found["loc"] == ("at",) else "bad_number"
