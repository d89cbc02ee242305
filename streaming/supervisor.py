"""Everything of an instance under one process: broker, service, stream and, if asked, a replay.

What dies is started again; what a killed supervisor left behind is cleared first; at the end nothing is left over.
"""

from __future__ import annotations

import shutil
import signal
import threading
import time
import webbrowser
from contextlib import contextmanager
from typing import TYPE_CHECKING

from meterwatch import processes
from meterwatch.java import JavaError
from meterwatch.kafka import client_config
from meterwatch.storage import models, queries
from meterwatch.storage.migrate import database_path, migrate
from serving.client import Client
from streaming import accounts
from streaming.broker import Broker, check_free
from streaming.children import Child, clear
from streaming.errors import StreamError
from streaming.jars import CONNECTOR, jars
from streaming.ledger import BrokerAwayError, Topic, describe, starting_offsets
from streaming.replay import Replay, Result, check
from streaming.status_line import StatusLine, summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meterwatch.settings import Settings
    from streaming.lines import Record

LEAST_MB = 500
TICK = 0.2
LOOK = 0.5  # seconds between two looks at the counts
GIVE_UP_SECONDS, GIVE_UP_FAILURES = 60.0, 3  # of a part that never did its work meanwhile, where a script waits
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def up(
    settings: Settings,
    *,
    records: Iterable[Record] | None = None,
    rate: float | None = None,
    exit_when_done: bool = False,
    open_browser: bool = False,
) -> int:
    """Run everything until told to end, or until all is stored.

    Args:
        settings: of the instance.
        records: what a replay sends.
        rate: of the replay, records a second; None for full speed.
        exit_when_done: end once the replay's records are all accounted for.
        open_browser: show the dashboard.

    Returns:
        The exit code: 0, or 1 where something does not add up.

    Raises:
        StreamError, RunningError, JavaError, DatabaseError: it cannot start, or a part of it fails again and again.
    """
    with processes.registered(settings, processes.UP), _told_to_end() as told:
        supervisor = Supervisor(settings, told)
        try:
            supervisor.start(records, rate)
            print(_where(settings), flush=True)
            supervisor.run(exit_when_done=exit_when_done, open_browser=open_browser)
        finally:
            supervisor.end()
        return supervisor.result() if exit_when_done else 0


class Supervisor:
    """The parts of one instance. `start`, `run`, `end`, in this order."""

    def __init__(self, settings: Settings, told: threading.Event) -> None:
        self._settings = settings
        self._told = told  # to end
        self._broker = Broker(settings)
        self._service = Child(settings, processes.SERVICE, "serve")
        self._stream = Child(settings, processes.STREAM, "stream")
        self._replay: Replay | None = None
        self._sent: Result | None = None
        self._sending: threading.Thread | None = None
        self._fault: BaseException | None = None  # of the replay
        self._is_ours = False  # the broker: one that was there before is left running
        self._line = StatusLine()
        self._counts: dict[str, int | None] = {}

    def start(self, records: Iterable[Record] | None, rate: float | None) -> None:
        """Look whether it can run, start the parts, and wait for the broker."""
        self._check()
        for child in (self._service, self._stream):  # they come up while the broker does
            child.watch()
        self._start_broker()
        self._same_topic()
        if records is not None:
            replay = self._replay = Replay(self._settings, rate)
            self._sending = threading.Thread(target=self._send, args=(replay, records), name="replay", daemon=True)
            self._sending.start()

    def run(self, *, exit_when_done: bool, open_browser: bool) -> None:
        """Keep the parts alive until told to end, or done."""
        looked = 0.0
        while not self._told.wait(TICK):
            self._revive(give_up=exit_when_done)
            if time.monotonic() - looked < LOOK:
                continue
            looked = time.monotonic()
            self._look()
            if open_browser and self._service.failures == 0 and self._ready():
                webbrowser.open(self._settings.service_url)
                open_browser = False
            if exit_when_done and self._is_done():
                return

    def end(self) -> None:
        """End the parts, the senders first: what is on its way is finished or left for the next start."""
        self._line.close()
        if self._replay is not None and self._sending is not None:
            self._replay.stop.set()
            self._sending.join()
        self._stream.end()
        self._service.end()
        if self._is_ours:
            self._broker.stop()

    def result(self) -> int:
        """Say what became of the records; 0 where everything adds up and nothing is left on the topic."""
        broken = accounts.broken_identities(self._settings)
        if self._counts.get("lag") != 0:
            broken.append(f"lag: {self._counts.get('lag')} records are not accounted for yet")
        if self._sent is not None and self._sent.failed:
            broken.append(f"sent: {self._sent.failed:,} records were not acknowledged by the broker")
        print(summary(self._counts, self._sent, broken), flush=True)
        return 1 if broken else 0

    def _check(self) -> None:
        """What would keep it from running for good is said now, in one line."""
        settings = self._settings
        settings.run_dir.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(settings.run_dir).free // 10**6
        if free < LEAST_MB:
            raise StreamError(f"{free} MB of disk are free at {settings.run_dir}, {LEAST_MB} are needed; make space")
        if models.champion(settings) is None:
            raise StreamError("there is no champion model yet; make one: .venv/bin/dvc repro")
        for name in (processes.STREAM, processes.SERVICE):
            clear(settings, name)
        migrate(database_path(settings.database_url))
        check_free(settings.host, settings.port, "the service", "METERWATCH_PORT")
        jars(CONNECTOR)

    def _start_broker(self) -> None:
        part = processes.running(self._settings, processes.BROKER)
        self._is_ours = part is None or part.supervisor != 0
        self._broker.start(supervised=True)

    def _same_topic(self) -> None:
        """A topic that is not the one read so far is a question for a person, asked before the stream asks it."""
        topic = describe(client_config(self._settings), self._settings.kafka_topic)
        with queries.reading(self._settings) as db:
            ledger = [row for row in queries.ledger(db) if row["topic"] == topic.name]
        starting_offsets(topic, ledger, accept_new_topic=False)

    def _send(self, replay: Replay, records: Iterable[Record]) -> None:
        try:
            self._sent = replay.run(records)
        except Exception as error:  # noqa: BLE001 - told by the main thread, as what ended `up`
            self._fault = error

    def _revive(self, *, give_up: bool) -> None:
        if self._fault is not None:
            raise self._fault
        if processes.running(self._settings, processes.BROKER) is None:
            self._line.say("the broker has ended; it is started again")
            try:
                self._start_broker()
            except (StreamError, JavaError) as error:
                self._line.say(str(error))
        for child in (self._service, self._stream):
            if (fact := child.watch()) is not None:
                self._line.say(fact)
            since = child.failing_since
            if (
                give_up
                and since is not None
                and time.monotonic() - since > GIVE_UP_SECONDS
                and child.failures >= GIVE_UP_FAILURES
            ):
                raise StreamError(f"the {child.name} fails again and again: {child.last_line()} (see {child.log})")

    def _look(self) -> None:
        try:
            topic: Topic | None = describe(client_config(self._settings), self._settings.kafka_topic, timeout=2.0)
        except BrokerAwayError:
            topic = None
        before = self._counts.get("records")
        self._counts = accounts.counts(self._settings, topic)
        if before is not None and self._counts["records"] != before:
            self._stream.works()  # and so does the service: no batch is committed without it
            self._service.works()
        self._line.show(self._counts, self._replay.sent if self._replay is not None else None)

    def _is_done(self) -> bool:
        if self._sending is not None:
            if self._sending.is_alive():
                return False
            if self._sent is not None:
                check(self._sent)
        return self._counts["lag"] == 0

    def _ready(self) -> bool:
        with Client(self._settings.service_url.split(",")[0].strip(), attempts=1) as client:
            return client.ready()


@contextmanager
def _told_to_end() -> Iterator[threading.Event]:
    """An event that Ctrl-C and its kin set."""
    told = threading.Event()
    before = {number: signal.signal(number, lambda *_: told.set()) for number in ENDING}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _where(settings: Settings) -> str:
    url = settings.service_url.split(",")[0].strip()
    places = {
        "dashboard": url,
        "REST": f"{url}/docs",
        "Kafka": f"{settings.kafka_bootstrap_servers}, topic {settings.kafka_topic}",
        "database": settings.database_url,
        "logs": str(settings.run_dir / "logs"),
    }
    return "\n".join(f"  {name:10} {place}" for name, place in places.items()) + "\nCtrl-C ends everything.\n"
