"""The Spark job: records from Kafka a batch at a time, on their way through `Batches` into the database.

What is where when a batch is killed: Spark's checkpoint counts for nothing. Every start throws it away and reads from
the database's own offsets, and records below them are skipped: a batch is in the database whole, or is read again.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import threading
import time
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from confluent_kafka.admin import AdminClient
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from meterwatch.java import find_or_fetch
from meterwatch.kafka import Topic, client_config
from meterwatch.processes import STREAM, beat
from meterwatch.settings import PREFIX
from meterwatch.storage.meters import MeterStore
from meterwatch.storage.migrate import database_path
from serving.client import Client, ServiceRefused, ServiceUnavailable
from streaming.alerts import Alerts
from streaming.batches import Batches
from streaming.broker import check_free
from streaming.errors import BrokerAwayError, Stopped, StreamError
from streaming.group import Group
from streaming.jars import CONNECTOR, jars
from streaming.ledger import EARLIEST, describe, starting_offsets
from streaming.metrics import HOST
from streaming.parse import parse
from streaming.scoring import AT_ONCE, AnswerError
from streaming.security import java_config
from streaming.session import end, kill, spark_session
from streaming.whole import Whole, carried

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming import StreamingQuery

    from meterwatch.settings import Settings

LOG = logging.getLogger("meterwatch.stream")
DAY = 86_400
FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0
SPARK_ENDED = (PySparkException, Py4JError, EOFError)  # a batch was read from its Java, which was killed meanwhile
POLL = 10_000  # records that Spark's consumer gives at a time
END_SECONDS = 8.0  # that a batch has to its end once the stream is told to end
ONCE_SECONDS = 30.0  # that `--once` waits for the service, and for those who are told of events
SOON_SECONDS = 2.0  # that who is told of events has once the stream is told to end


def run(settings: Settings, *, once: bool = False, accept_new_topic: bool = False) -> None:
    """Read the topic into the database until told to stop (SIGTERM, SIGINT), or once until its end.

    Raises:
        StreamError: the ledger and the broker disagree, the service refuses, Spark or a broker fails.
        DatabaseError: the database is newer, damaged, full, or written by another stream.
    """
    stop, told, over = threading.Event(), threading.Event(), threading.Event()

    def tell(*_: object) -> None:
        told.set()
        stop.set()

    def listen() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, tell)

    listen()
    threading.Thread(target=_end_in_time, args=(told, over), daemon=True).start()
    admin = AdminClient(client_config(settings))
    with MeterStore(database_path(settings.database_url)) as store:
        alerts = Alerts(settings)
        try:
            topic = _topic(settings, admin, stop, once=once)
            offsets = starting_offsets(
                topic, store.known.ledger(topic.name).to_pylist(), accept_new_topic=accept_new_topic
            )
            keep_s = settings.retention_days * DAY
            read = _reader(settings, topic, lambda: _topic(settings, admin, stop, once=once))
            ask, at_once = _patient(settings, stop, once=once), AT_ONCE * len(settings.service_urls)
            batches = Batches(store, ask, topic, offsets, keep_s, read, at_once, alerts.wake)
            for _ in batches.settle():
                beat(settings, STREAM)
            if settings.stream_metrics_port:
                check_free(HOST, settings.stream_metrics_port, "the stream's metrics", f"{PREFIX}STREAM_METRICS_PORT")
                batches.metrics.serve(settings.stream_metrics_port)
            alerts.start(batches.metrics)
            with _spark(settings) as session:
                listen()  # Spark sets a handler of its own
                if not stop.is_set():
                    _read(session, settings, topic, batches, stop, once=once)
        except Stopped:
            LOG.info("stopped before a batch began")
        finally:
            alerts.close(ONCE_SECONDS if once else SOON_SECONDS)
    over.set()


def _end_in_time(told: threading.Event, over: threading.Event) -> None:
    """End the process, Java and all, where what it waits for does not let it: a service that hangs, a broker that died.

    Nothing is half written: a batch is one transaction, and Java has nothing that counts.
    """
    told.wait()
    if not over.wait(END_SECONDS):
        LOG.warning("ended in the middle of a batch, %.0f s after being told to; it is read again", END_SECONDS)
        kill()
        os._exit(0)


def _reader(settings: Settings, topic: Topic, described: Callable[[], Topic]) -> Callable[[pa.Table], pa.Table]:
    """What makes RECORDS of what Spark hands over.

    Spark knows a topic by its name. Where that still has its id after the reading, the records were its own.
    """
    whole = Whole(client_config(settings), topic.name)

    def read(handed: pa.Table) -> pa.Table:
        records = whole(handed)
        if described().topic_id != topic.topic_id:
            raise StreamError(
                f"topic {topic.name!r} was made anew while it was read; nothing of the new one is stored: "
                "start the stream again, it says how to go on"
            )
        return parse(records, timezone=settings.timezone, partitions=len(topic.ends))

    return read


@contextmanager
def _spark(settings: Settings) -> Iterator[SparkSession]:
    """A session that has ended, Java and all, at the end of the block; what an earlier one left is thrown away."""
    work_dir = settings.run_dir / "spark"
    shutil.rmtree(work_dir, ignore_errors=True)
    os.environ["JAVA_HOME"] = str(find_or_fetch())
    try:
        session = spark_session(settings.spark_master, work_dir, jars(CONNECTOR))
    except (PySparkException, Py4JError) as error:
        raise StreamError(f"Spark does not start: {_first_line(str(error))}") from error
    try:
        yield session
    finally:
        end(session)


def _topic(settings: Settings, admin: AdminClient, stop: threading.Event, *, once: bool) -> Topic:
    """Wait for the broker and the topic; `--once` is for scripts, and does not wait."""
    told = False
    while True:
        try:
            return describe(client_config(settings), settings.kafka_topic, admin=admin)
        except BrokerAwayError as error:
            if once:
                raise
            if not told and not once:
                LOG.warning("waiting: %s", error)
                told = True
        beat(settings, STREAM)
        if stop.wait(1.0):
            raise Stopped


def _patient(settings: Settings, stop: threading.Event, *, once: bool) -> Callable[[pa.Table], pa.Table]:
    """Ask the service, however long it is away: nothing is committed meanwhile. With `--once` the patience ends."""
    client = Client(settings.service_urls, settings.api_key, attempts=1)

    def ask(request: pa.Table) -> pa.Table:
        wait, tries, begun = FIRST_WAIT, 0, time.monotonic()
        while True:
            try:
                answer = client.score_table(request)
            except (ServiceUnavailable, ServiceRefused) as error:
                _check_patience(settings, error, time.monotonic() - begun if once else 0.0)
                if tries == 0:
                    LOG.warning("service away, nothing is committed until it is back: %s", error)
                tries += 1
                if stop.wait(wait):
                    raise Stopped from None
                wait = min(wait * 2, LONGEST_WAIT)
            else:
                if tries:
                    LOG.warning("service is back after %d tries", tries)
                return answer

    return ask


def _check_patience(settings: Settings, error: ServiceUnavailable | ServiceRefused, seconds: float) -> None:
    """Whether asking again may help: it will not where the batch is at fault, nor for ever where a script waits."""
    if isinstance(error, ServiceRefused) and error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        key = error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
        then = f"; set {PREFIX}API_KEY to a key of role score (`meterwatch keys add`)" if key else ""
        raise StreamError(f"the service at {settings.service_url} refuses a batch: {error}{then}") from error
    if seconds > ONCE_SECONDS:
        raise StreamError(
            f"the service at {settings.service_url} has judged nothing for {seconds:.0f} s ({error}); start it with "
            "`meterwatch serve`, or set METERWATCH_SERVICE_URL; the records are still on the topic"
        ) from error


def _read(
    session: SparkSession, settings: Settings, topic: Topic, batches: Batches, stop: threading.Event, *, once: bool
) -> None:
    checkpoint = settings.run_dir / "spark" / "checkpoint"
    begin = {str(number): batches.offsets.get(number, EARLIEST) for number in topic.ends}
    records = (
        session.readStream.format("kafka")
        .option("kafka.bootstrap.servers", settings.kafka_bootstrap_servers)
        .option("kafka.max.poll.records", POLL)
        .options(**{f"kafka.{name}": value for name, value in java_config(settings).items()})
        .option("subscribe", topic.name)
        .option("startingOffsets", json.dumps({topic.name: begin}))
        .option("maxOffsetsPerTrigger", settings.max_offsets_per_trigger)
        .option("failOnDataLoss", "true")
        .load()
    )
    writer = carried(records).writeStream.foreachBatch(batches).option("checkpointLocation", str(checkpoint.absolute()))
    if once:
        writer = writer.trigger(availableNow=True)
    else:
        writer = writer.trigger(processingTime=f"{settings.trigger_seconds} seconds")
    LOG.info("reading topic %s (id %s) from %s", topic.name, topic.topic_id, begin)
    group = Group(AdminClient(client_config(settings)), topic.name)
    try:
        query = writer.start()
        while not stop.wait(0.2) and not batches.ending and query.isActive:  # Spark answers: it is alive
            beat(settings, STREAM)
            batches.metrics.lag(_lag(query, batches, topic))
            group.tell(batches.offsets)
            batches.tidy()
        while once and not stop.is_set() and not batches.ending and (batches.is_busy() or batches.tidy()):
            beat(settings, STREAM)
            stop.wait(0.01)
        batches.ending = True
        stop.set()  # nobody waits any longer for a service that is away
        with batches.running:  # Spark is not disturbed in what it parses, which then is left alone
            pass
        query.stop()
        batches.close()
        _raise_failure(batches, query)
    except (PySparkException, Py4JError) as error:
        _raise_failure(batches, None)
        raise StreamError(f"Spark ended: {_first_line(str(error))}") from error
    finally:
        stop.set()
        batches.close()
        group.close(batches.offsets)


def _lag(query: StreamingQuery, batches: Batches, topic: Topic) -> dict[int, int]:
    progress = query.lastProgress
    if not progress or not progress["sources"][0]["latestOffset"]:
        return {}
    ends = progress["sources"][0]["latestOffset"]
    ends = json.loads(ends) if isinstance(ends, str) else ends
    return {
        int(number): max(0, int(end) - batches.offsets.get(int(number), topic.ends.get(int(number), (0, 0))[0]))
        for number, end in ends[topic.name].items()
    }


def _raise_failure(batches: Batches, query: StreamingQuery | None) -> None:
    if isinstance(batches.failure, AnswerError):
        raise StreamError(str(batches.failure)) from batches.failure
    if isinstance(batches.failure, SPARK_ENDED):
        raise StreamError(f"Spark ended: {_first_line(str(batches.failure))}") from batches.failure
    if batches.failure is not None and not isinstance(batches.failure, Stopped):
        raise batches.failure
    if query is not None and (error := query.exception()) is not None:
        raise StreamError(f"Spark ended: {_first_line(str(error))}") from error


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "without a word")
