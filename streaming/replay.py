"""Sends records to the topic: idempotent, acknowledged by the broker, at a rate that one can watch or at full speed."""

from __future__ import annotations

import math
import re
import sys
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import KafkaException, Producer

from meterwatch.kafka import LARGEST_RECORD, PRODUCER, client_config
from streaming import lines, topics
from streaming.errors import StreamError
from streaming.injection import with_fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from confluent_kafka import KafkaError, Message

    from meterwatch.settings import Settings
    from streaming.lines import Record

DELIVERY_SECONDS = 120.0  # in a row without an acknowledgement: then the replay gives up, and says so
BUFFERED = 200_000  # records on their way
BUFFERED_KB = 128 * 1024
POLL_EVERY = 10_000  # records, at full speed
TURN = 0.1  # seconds between two looks at what was delivered
RATE = re.compile(r"(\d+(?:\.\d+)?)(?:/s)?")


class Result(NamedTuple):
    """What a replay did."""

    sent: int
    acknowledged: int
    failed: int
    seconds: float
    first_failure: str | None


def parse_rate(text: str) -> float | None:
    """Records a second of `N/s` or `N`; None for `max`.

    Raises:
        ValueError: neither.
    """
    if text == "max":
        return None
    match = RATE.fullmatch(text.strip())
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"{text!r} is no rate; give readings a second as 50/s, or max")
    return float(match[1])


def records_of(
    file: Path, *, meter: str | None = None, limit: int | None = None, as_json: bool = False, inject: str | None = None
) -> Iterator[Record]:
    """The records of a file's data lines.

    Args:
        file: UCI text; with `as_json` also CSV with a header.
        meter: the key of all records; default: `default`, or what a column `meter_id` says.
        limit: only so many lines.
        as_json: send JSON objects in the place of the lines.
        inject: put a fault of this kind into the last quarter; said on standard output.
    """
    found: Iterable[bytes] = lines.data_lines(file, limit)
    if inject is not None:
        found, told = with_fault(list(found), inject)
        print(told, flush=True)
    return lines.as_json(file, found, meter) if as_json else lines.as_they_are(found, meter)


class Replay:
    """One run over some records; `sent` and `failed` can be watched from another thread.

    Args:
        settings: broker and topic, which is made where it is not there.
        rate: records a second; None for as fast as the broker takes them.
        at_once: so many of the first are sent as fast as that in any case.
        gives_up: once the broker has been away for long; else it waits for as long as it takes.

    Raises:
        StreamError: no broker answers.
    """

    def __init__(
        self, settings: Settings, rate: float | None = None, at_once: int = 0, *, gives_up: bool = True
    ) -> None:
        topics.ensure(settings, settings.kafka_topic)
        self._topic = settings.kafka_topic
        self._rate = rate
        self._at_once = at_once
        self._patience = DELIVERY_SECONDS if gives_up else math.inf
        self._acknowledged, self._heard = 0, time.monotonic()
        self._failure: str | None = None
        self.sent = self.failed = 0
        self.stop = threading.Event()
        self._producer = Producer(
            {
                **client_config(settings),
                **PRODUCER,
                "message.max.bytes": LARGEST_RECORD,
                "queue.buffering.max.messages": BUFFERED,
                "queue.buffering.max.kbytes": BUFFERED_KB,
                "linger.ms": 20 if rate is None else 1,
                "delivery.timeout.ms": 0,  # for ever: a record is given up with all behind it, or not at all
                "delivery.report.only.error": True,
                "on_delivery": self._delivered,
            }
        )

    def run(self, records: Iterable[Record]) -> Result:
        """Send all of them and wait for the broker; ends early, with what was sent, when `stop` is set."""
        begun = paced = time.monotonic()
        for record in records:
            if self._rate is not None:
                if self.sent <= self._at_once:
                    paced = time.monotonic()
                else:
                    self._keep_pace(paced + (self.sent - self._at_once) / self._rate)
            if self.sent % POLL_EVERY == 0:
                self._producer.poll(0)
            if not self._send(record):
                break
        while self._producer.flush(TURN) and not self.stop.is_set():
            self._listen()
        waiting = self._producer.flush(TURN)
        self.failed += waiting
        return Result(self.sent, self.sent - self.failed, self.failed, time.monotonic() - begun, self._failure)

    def _keep_pace(self, due: float) -> None:
        while (early := due - time.monotonic()) > 0 and not self.stop.wait(min(early, TURN)):
            self._producer.poll(0)
            self._listen()

    def _send(self, record: Record) -> bool:
        """Whether it is on its way, or refused; False when told to stop before that."""
        while not self.stop.is_set():
            try:
                self._producer.produce(self._topic, record.value, record.key)
            except BufferError:
                self._producer.poll(TURN)
                self._listen()
                continue
            except KafkaException as error:  # refused before it was sent, as one that is larger than the broker takes
                self._failed(error.args[0].str())
            self.sent += 1
            return True
        return False

    def _listen(self) -> None:
        """Stop where records wait and none has been acknowledged for too long."""
        acknowledged, now = self.sent - len(self._producer), time.monotonic()
        if acknowledged != self._acknowledged or not len(self._producer):
            self._acknowledged, self._heard = acknowledged, now
        elif now - self._heard > self._patience:
            self._failure = self._failure or f"the broker has been away for {self._patience:.0f} s"
            self.stop.set()

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failed(error.str())

    def _failed(self, fact: str) -> None:
        self.failed += 1
        self._failure = self._failure or fact


def watched(replay: Replay, records: Iterable[Record]) -> Result:
    """Run a replay, telling on standard error how far it is; Ctrl-C ends it, and says what was sent."""
    begun = time.monotonic()

    def tell() -> None:
        while not over.wait(1.0):
            rate = replay.sent / (time.monotonic() - begun)
            print(f"\rsent {replay.sent:,}, {rate:,.0f}/s ", end="", file=sys.stderr, flush=True)

    over = threading.Event()
    teller = threading.Thread(target=tell, daemon=True)
    if sys.stderr.isatty():
        teller.start()
    try:
        return replay.run(records)
    except KeyboardInterrupt:
        replay.stop.set()
        print(f"ended after {replay.run(()).acknowledged:,} records", file=sys.stderr)
        raise
    finally:
        over.set()
        if teller.is_alive():
            teller.join()
            print("\r\x1b[K", end="", file=sys.stderr)


def told_failures(result: Result) -> str:
    """What was not acknowledged, and what next."""
    return (
        f"{result.failed:,} of {result.sent:,} records were not acknowledged by the broker "
        f"({result.first_failure or 'stopped before it answered'}); send the file again, doubles are counted"
    )


def check(result: Result) -> None:
    """Make an error of failed deliveries.

    Raises:
        StreamError: not every record was acknowledged.
    """
    if result.failed:
        raise StreamError(told_failures(result))
