"""Parts that run and do nothing, because they are stopped or in a call that never ends: told by missing signs of life.

A slow batch is none, nor is waiting for another part. What is killed here is started again as any part that dies. Each
failure in a row doubles the time that a part gets, so that on a slow machine everything starts in the end.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from meterwatch import processes
from serving.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meterwatch.settings import Settings
    from streaming.broker import Broker
    from streaming.children import Child

# Seconds without a sign of life.
BROKER_SECONDS = 60.0  # it says what topics it has
SERVICE_SECONDS = 60.0  # it answers on /healthz
STREAM_SECONDS = 180.0  # its main thread, which asks Spark how it is, marks its lock file; Spark may start slowly
COMMIT_SECONDS = 300.0  # while records wait, the broker and a replica being well: it commits; no step may last so long
LONGEST_STEP = 5.0
MOST_DOUBLINGS = 4


class Silence:
    """Adds up the time without a new sign, from look to look.

    A step counts for some seconds at most: nobody is silent because the supervisor, or the whole machine, was stopped.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._sign: object = None
        self._looked = time.monotonic()
        self._seconds = 0.0

    def too_long(self, sign: object, failures: int = 0) -> float:
        """For how many seconds this very sign has been shown, if that is too long: then it begins anew; else 0."""
        now = time.monotonic()
        step = min(now - self._looked, LONGEST_STEP)
        seconds = self._seconds + step if sign == self._sign else 0.0
        is_over = seconds > self._limit * 2 ** min(failures, MOST_DOUBLINGS)
        self._sign, self._looked, self._seconds = sign, now, 0.0 if is_over else seconds
        return seconds if is_over else 0.0


class Watchdog:
    """Watches over the parts that the supervisor of an instance started."""

    def __init__(self, settings: Settings, broker: Broker, service: Child, stream: Child) -> None:
        self._settings = settings
        self._broker, self._service, self._stream = broker, service, stream
        self._own, self._asked = Client(settings.own_url), Client(settings.service_urls)  # ours; those the stream asks
        self._answers = {processes.BROKER: 0, processes.SERVICE: 0}
        self._answering = {processes.BROKER: Silence(BROKER_SECONDS), processes.SERVICE: Silence(SERVICE_SECONDS)}
        self._beating, self._committing = Silence(STREAM_SECONDS), Silence(COMMIT_SECONDS)

    def look(self, lag: int | None, done: int) -> Iterator[str]:
        """Kill what has been silent for too long, and say so.

        Args:
            lag: records that wait; None where they are not known.
            done: records accounted for.
        """
        is_alive = self._own.alive()
        answers = lag is not None or self._broker.answers()
        if (seconds := self._silent(processes.BROKER, answers=answers)) and self._kill_broker():
            yield f"the broker has not answered for {seconds:.0f} s; it is killed"
        if seconds := self._silent(processes.SERVICE, answers=is_alive, failures=self._service.patience.failures):
            self._service.kill()
            yield f"the service has not answered for {seconds:.0f} s; it is killed"
        pid, failures = self._stream.pid, self._stream.patience.failures
        beat = processes.newest_beat(self._settings, processes.STREAM)
        if seconds := self._beating.too_long((pid, beat) if pid else object(), failures):
            self._stream.kill()
            yield f"the stream has shown no sign of life for {seconds:.0f} s; it is killed"
        is_due = pid and lag and self._asked.ready()
        if seconds := self._committing.too_long((pid, done) if is_due else object(), failures):
            self._stream.kill()
            yield f"the stream has committed nothing for {seconds:.0f} s while records wait; it is killed"

    def _silent(self, name: str, *, answers: bool, failures: int = 0) -> float:
        part = processes.running(self._settings, name)
        self._answers[name] += answers
        sign = (part.pid, self._answers[name]) if part is not None else object()
        return self._answering[name].too_long(sign, failures)

    def _kill_broker(self) -> bool:
        """Kill it if it is ours; one that somebody started by hand is theirs."""
        part = processes.running(self._settings, processes.BROKER)
        if part is None or part.supervisor != os.getpid():
            return False
        with suppress(ProcessLookupError):
            os.kill(part.pid, signal.SIGKILL)
        return True
