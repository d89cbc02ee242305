"""Everything of an instance under one process: broker, service, stream and, if asked, a replay.

What dies is started again; what a killed supervisor left behind is cleared first; at the end nothing is left over.
"""

from __future__ import annotations

import signal
import threading
import time
import webbrowser
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from meterwatch import processes
from meterwatch.java import JavaError
from meterwatch.kafka import Topic, client_config
from meterwatch.storage import models, queries, states
from meterwatch.storage.migrate import database_path, migrate
from serving.client import Client
from streaming import accounts
from streaming.broker import Broker, check_free, check_space
from streaming.children import Child, Patience, clear, trim
from streaming.errors import BrokerAwayError, StreamError
from streaming.jars import CONNECTOR, jars
from streaming.ledger import describe, starting_offsets
from streaming.metrics import HOST as METRICS_HOST
from streaming.sending import Sending
from streaming.status_line import StatusLine, summary
from streaming.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meterwatch.settings import Settings
    from streaming.lines import Record

LEAST_MB = 500
TICK = 0.2
LOOK = 0.5  # seconds between two looks at the counts
READY_SECONDS, LOOK_SECONDS = 10.0, 2.0  # that is waited for the broker's answer at the start, and at a look
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def up(
    settings: Settings,
    *,
    records: Iterable[Record] | None = None,
    rate: float | None = None,
    at_once: int = 0,
    exit_when_done: bool = False,
    open_browser: bool = False,
    accept_new_topic: bool = False,
) -> int:
    """Run everything until told to end, or until all is stored.

    Args:
        settings: of the instance.
        records: what a replay sends.
        rate: of the replay, records a second; None for full speed.
        at_once: so many of the first records are sent at full speed in any case.
        exit_when_done: end once the replay's records are all accounted for.
        open_browser: show the dashboard.
        accept_new_topic: go on with a topic that replaced the one read so far, from its start.

    Returns:
        The exit code: 0, or 1 where something does not add up.

    Raises:
        StreamError, RunningError, JavaError, DatabaseError: it cannot start, or a part of it fails again and again.
    """
    with processes.registered(settings, processes.UP):
        broker = Broker(settings)
        _check(settings, broker)  # Ctrl-C ends this at once: nothing has been started yet
        with _told_to_end() as told:
            supervisor = Supervisor(settings, broker, told, accept_new_topic=accept_new_topic)
            try:
                supervisor.start(records, rate, at_once)
                print(_where(settings), flush=True)
                supervisor.run(exit_when_done=exit_when_done, open_browser=open_browser)
            finally:
                supervisor.end()
            return supervisor.result() if exit_when_done else 0


class Supervisor:
    """The parts of one instance. `start`, `run`, `end`, in this order."""

    def __init__(
        self, settings: Settings, broker: Broker, told: threading.Event, *, accept_new_topic: bool = False
    ) -> None:
        self._settings = settings
        self._told = told  # to end
        self._broker = broker
        self._service = Child(settings, processes.SERVICE, "serve")
        self._accepts = accept_new_topic
        words = ["stream", "--accept-new-topic"] if accept_new_topic else ["stream"]
        self._stream = Child(settings, processes.STREAM, *words)
        self._sending: Sending | None = None
        self._patience = Patience()  # with the broker
        self._watchdog = Watchdog(settings, self._broker, self._service, self._stream)
        self._line = StatusLine()
        self._counts: dict[str, int | None] = {}

    def start(self, records: Iterable[Record] | None, rate: float | None, at_once: int) -> None:
        """Start the parts, and wait for the broker."""
        for child in (self._service, self._stream):  # they come up while the broker does
            child.watch()
        while not self._told.is_set():
            try:
                return self._begin(records, rate, at_once)
            except BrokerAwayError as error:  # one that is killed meanwhile is no reason to give up at once
                self._patience.failed()
                if self._patience.is_over:
                    raise
                self._line.say(f"{error}; it is started again")
                while not self._patience.is_due and not self._told.wait(TICK):
                    pass
        return None

    def _begin(self, records: Iterable[Record] | None, rate: float | None, at_once: int) -> None:
        self._broker.start(supervised=True, told=self._told)
        if self._told.is_set():
            return
        self._same_topic()
        if records is not None:
            self._sending = Sending(self._settings, records, rate, at_once)

    def run(self, *, exit_when_done: bool, open_browser: bool) -> None:
        """Keep the parts alive until told to end, or done."""
        looked = 0.0
        while not self._told.wait(TICK):
            self._revive(give_up=exit_when_done)
            if time.monotonic() - looked < LOOK:
                continue
            looked = time.monotonic()
            has_sent = self._has_sent()  # asked before the look: what is sent after it is not among its counts
            self._look()
            if open_browser and self._service.patience.failures == 0 and self._ready():
                webbrowser.open(self._settings.service_urls[0])
                open_browser = False
            if exit_when_done and has_sent and self._counts["lag"] == 0:
                return

    def end(self) -> None:
        """End the parts, the senders first: what is on its way is finished or left for the next start."""
        with ExitStack() as each:  # one that fails keeps none of the others running; the last one here is the first
            each.callback(self._end_broker)
            each.callback(self._service.end)
            each.callback(self._stream.end)
            each.callback(self._end_replay)
            each.callback(self._line.close)

    def result(self) -> int:
        """Say what became of the records; 0 where everything adds up and nothing is left on the topic."""
        broken = accounts.broken_identities(self._settings)
        if self._counts.get("lag") != 0:
            broken.append(f"lag: {self._counts.get('lag')} records are not accounted for yet")
        sent = self._sending.result if self._sending else None
        if sent is not None and sent.failed:
            broken.append(f"sent: {sent.failed:,} records were not acknowledged by the broker")
        print(summary(self._counts, sent, broken), flush=True)
        return 1 if broken else 0

    def _end_broker(self) -> None:
        """One that was started by hand is left running."""
        part = processes.running(self._settings, processes.BROKER)
        if part is not None and part.supervisor:
            self._broker.stop()

    def _end_replay(self) -> None:
        if self._sending is not None:
            self._sending.end()

    def _same_topic(self) -> None:
        """A topic that is not the one read so far is a question for a person, asked before the stream asks it."""
        topic = self._described(READY_SECONDS)
        with queries.reading(self._settings) as db:
            ledger = queries.ledger(db, topic.name)
        starting_offsets(topic, ledger, accept_new_topic=self._accepts)

    def _revive(self, *, give_up: bool) -> None:
        if self._sending is not None and self._sending.fault is not None:
            raise self._sending.fault
        self._revive_broker(give_up=give_up)
        for child in (self._service, self._stream):
            if (fact := child.watch()) is not None:
                self._line.say(fact)
            if give_up and child.patience.is_over:
                raise StreamError(f"the {child.name} fails again and again: {child.last_line()} (see {child.log})")

    def _revive_broker(self, *, give_up: bool) -> None:
        if processes.running(self._settings, processes.BROKER) is not None:
            trim(self._broker.log)
            return
        if not self._patience.is_due:
            return
        self._patience.failed()
        self._line.say("the broker has ended; it is started again")
        try:
            self._broker.start(supervised=True, told=self._told)
        except (StreamError, JavaError) as error:
            if give_up and self._patience.is_over:
                raise
            self._line.say(str(error))

    def _look(self) -> None:
        try:
            topic: Topic | None = self._described(LOOK_SECONDS)
        except BrokerAwayError:
            topic = None
        before = self._counts.get("records")
        self._counts = accounts.counts(self._settings, topic)
        if before is not None and self._counts["records"] != before:
            for patience in (self._patience, self._stream.patience, self._service.patience):
                patience.works()  # no batch is committed without all three
        for fact in self._watchdog.look(self._counts["lag"], self._counts["records"] or 0):
            self._line.say(fact)
        self._line.show(self._counts, *(self._sending.counts if self._sending else ()))

    def _described(self, timeout: float) -> Topic:
        config, admin = client_config(self._settings), self._broker.admin
        return describe(config, self._settings.kafka_topic, timeout=timeout, admin=admin)

    def _has_sent(self) -> bool:
        """Whether the replay, if there is one, has ended; then it is told, once, what was not acknowledged."""
        if self._sending is None:
            return True
        if not self._sending.has_ended:
            return False
        if (fact := self._sending.failures()) is not None:
            self._line.say(fact)
        return True

    def _ready(self) -> bool:
        with Client(self._settings.service_urls[0], attempts=1) as client:
            return client.ready()


def _check(settings: Settings, broker: Broker) -> None:
    """What would keep it from running for good is said now, in one line; what has to be fetched is fetched.

    Raises:
        StreamError, RunningError, JavaError, DatabaseError: it cannot run.
    """
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    check_space(settings.run_dir, LEAST_MB)
    champion = models.champion(settings)
    if champion is None:
        raise StreamError("there is no champion model yet; make one: .venv/bin/dvc repro")
    for name in (processes.STREAM, processes.SERVICE):
        clear(settings, name)
    migrate(database_path(settings.database_url))
    states.check(settings, champion.version)
    if settings.api_keys_file is not None and not settings.api_key:
        raise StreamError(
            "the service asks for a key and the stream has none; make one with "
            "`meterwatch keys add stream --role score` and set METERWATCH_API_KEY to it"
        )
    check_free(settings.host, settings.port, "the service", "METERWATCH_PORT")
    if settings.stream_metrics_port:
        check_free(METRICS_HOST, settings.stream_metrics_port, "the stream's metrics", "METERWATCH_STREAM_METRICS_PORT")
    _ = broker.java
    jars(CONNECTOR)


@contextmanager
def _told_to_end() -> Iterator[threading.Event]:
    """An event that Ctrl-C and its kin set; the end of the terminal does not where `nohup` has it ignored."""
    told = threading.Event()
    nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    heard = [number for number in ENDING if not (nohup and number == signal.SIGHUP)]
    before = {number: signal.signal(number, lambda *_: told.set()) for number in heard}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _where(settings: Settings) -> str:
    url = settings.service_urls[0]
    places = {
        "dashboard": url,
        "REST": f"{url}/docs",
        "Kafka": f"{settings.kafka_bootstrap_servers}, topic {settings.kafka_topic}",
        "database": settings.database_url,
        "logs": str(settings.run_dir / "logs"),
    }
    return "\n".join(f"  {name:10} {place}" for name, place in places.items()) + "\nCtrl-C ends everything.\n"
