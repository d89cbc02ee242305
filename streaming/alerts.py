"""Tells others of events that were opened, updated and closed: what the outbox has, behind the stream and in its order.

One thread a receiver, each with its own place in the outbox, so that none waits for another and the stream for nobody.
A change is told again until it is acknowledged: at least once, and in order.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from meterwatch.storage.migrate import DatabaseError, database_path
from meterwatch.storage.outbox import Outbox, enlist
from streaming.errors import UntoldError
from streaming.event_topic import EventTopic
from streaming.webhook import Webhook

if TYPE_CHECKING:
    from pathlib import Path

    from meterwatch.settings import Settings
    from streaming.metrics import StreamMetrics

LOG = logging.getLogger("meterwatch.alerts")
TOPIC, WEBHOOK = "topic", "webhook"
FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0  # seconds between two tries, doubled, with jitter


class Receiver(Protocol):
    """Who is told."""

    most: int  # changes at once
    spacing: float  # least seconds between two deliveries; what comes meanwhile is gathered

    def tell(self, changes: list[dict[str, Any]]) -> None:
        """Tell it, and return once it has acknowledged all.

        Raises:
            UntoldError: it has not.
        """


class Alerts:
    """All receivers that the settings name. `start`, `wake` after a commit, `close`."""

    def __init__(self, settings: Settings) -> None:
        """Have changes of events kept from now on.

        Raises:
            StreamError: the webhook's secret cannot be used.
            DatabaseError: the database cannot be written.
        """
        self._receivers: dict[str, Receiver] = {}
        if settings.kafka_events_topic:
            self._receivers[TOPIC] = EventTopic(settings)
        if settings.webhook_url:
            self._receivers[WEBHOOK] = Webhook(settings)
        self._path = database_path(settings.database_url)
        enlist(self._path, self._receivers)
        self._ending, self._stop = threading.Event(), threading.Event()  # once all is told; at once
        self._woken = {name: threading.Event() for name in self._receivers}
        self._threads: list[threading.Thread] = []

    def start(self, metrics: StreamMetrics) -> None:
        """Tell what waits, and what comes."""
        for name, receiver in self._receivers.items():
            telling = Telling(self._path, name, receiver, metrics, self._woken[name], self._ending, self._stop)
            self._threads.append(threading.Thread(target=telling.run, name=f"alerts-{name}", daemon=True))
            self._threads[-1].start()

    def wake(self) -> None:
        """There may be something to tell."""
        for woken in self._woken.values():
            woken.set()

    def close(self, seconds: float) -> None:
        """End once all is told, or after so many seconds: what is left is told after the next start."""
        deadline = time.monotonic() + seconds
        self._ending.set()
        self.wake()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._stop.set()


class Telling:
    """One receiver's thread."""

    def __init__(
        self, path: Path, name: str, receiver: Receiver, metrics: StreamMetrics, woken: threading.Event,
        ending: threading.Event, stop: threading.Event,
    ) -> None:  # fmt: skip
        self._path, self._name, self._receiver, self._metrics = path, name, receiver, metrics
        self._woken, self._ending, self._stop = woken, ending, stop

    def run(self) -> None:
        """Tell until told to end."""
        tries = 0
        with Outbox(self._path, self._name) as outbox:
            while not self._stop.is_set():
                is_ending = self._ending.is_set()  # asked first: then nothing is committed after the look
                try:
                    has_told = self._turn(outbox)
                except (UntoldError, DatabaseError) as error:
                    tries += 1
                    if tries == 1:
                        LOG.warning("events wait to be told to the %s: %s", self._name, error)
                    self._failed(outbox, error, tries)
                    continue
                if tries and has_told:
                    LOG.warning("events are told to the %s again", self._name)
                    tries = 0
                if not has_told:
                    if is_ending:
                        return
                    self._woken.wait()

    def _turn(self, outbox: Outbox) -> bool:
        """Tell some; whether there was something to tell."""
        self._woken.clear()
        changes = outbox.take(self._receiver.most)
        if not changes:
            return False
        self._receiver.tell(changes)
        outbox.told(changes[-1]["sequence"])
        self._metrics.told(self._name, len(changes))
        self._stop.wait(self._receiver.spacing)
        return True

    def _failed(self, outbox: Outbox, error: Exception, tries: int) -> None:
        if self._stop.is_set():
            return  # another one may be at it
        self._metrics.untold(self._name)
        wait = min(FIRST_WAIT * 2 ** min(tries - 1, 20), LONGEST_WAIT) * random.uniform(0.5, 1.0)  # noqa: S311
        try:
            outbox.failed(str(error))
        except DatabaseError as fault:
            LOG.warning("that cannot be kept: %s", fault)
        until = self._stop if self._ending.is_set() else self._ending  # which brings one more try at once
        until.wait(max(wait, getattr(error, "retry_after", 0.0)))
