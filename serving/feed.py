"""What is new in the database, told to every listener: one poller, however many pages are open."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from typing import TYPE_CHECKING, Any

import orjson
from starlette.concurrency import run_in_threadpool

from meterwatch.storage import queries
from serving.formats import objects

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from meterwatch.settings import Settings

LOG = logging.getLogger("meterwatch.service")
POLL_SECONDS = 0.5
HEARTBEAT_SECONDS = 15.0
METERS_FOLLOWED = 1000
NEWEST_READINGS = 20  # of a meter at a time; a page that wants all of them asks for them
NEWEST_EVENTS = 100
QUEUE = 64  # answers of the poller that a slow listener may be behind


class Feed:
    """Server-sent events `reading`, `verdict`, `event` and `commit` for any number of listeners."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._listeners: set[asyncio.Queue[bytes | None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._news = News()
        self._closed = False

    async def listen(self) -> AsyncIterator[bytes]:
        """Bytes for one listener until it goes away, falls too far behind, or the service ends."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE)
        self._listeners.add(queue)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        try:
            yield b"retry: 2000\n\n"
            while not self._closed:
                try:
                    message = await asyncio.wait_for(queue.get(), HEARTBEAT_SECONDS)
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                if message is None:
                    return
                yield message
        finally:
            self._listeners.discard(queue)

    def close(self) -> None:
        """Let every listener end, so that the service can."""
        self._closed = True
        for queue in self._listeners:
            self._end(queue)

    def _end(self, queue: asyncio.Queue[bytes | None]) -> None:
        if queue.full():
            queue.get_nowait()
        queue.put_nowait(None)

    async def _poll(self) -> None:
        """Look for news while anybody listens."""
        self._news = News()
        said = ""
        while self._listeners and not self._closed:
            try:
                news, fault = await run_in_threadpool(self._news.look, self._settings), ""
            except sqlite3.Error as error:
                news, fault = b"", str(error)
            if fault and fault != said:  # not twice a second
                LOG.warning("the feed cannot read the database, trying again: %s", fault)
            said = fault
            if news:
                for queue in list(self._listeners):
                    if queue.full():
                        self._end(queue)  # it connects again and starts with what is new then
                        self._listeners.discard(queue)
                    else:
                        queue.put_nowait(news)
            await asyncio.sleep(POLL_SECONDS)


class News:
    """Remembers what was told, so that each look answers only what came since."""

    def __init__(self) -> None:
        self._ledger: list[dict[str, Any]] | None = None
        self._newest: dict[str, int] = {}
        self._events: dict[str, tuple[Any, ...]] = {}

    def look(self, settings: Settings) -> bytes:
        """New readings, verdicts and events as server-sent events, and `commit` last; the first look tells no others.

        A `commit` says that the ledger moved, though it be by rejected records alone. That of the first look lets a
        listener who read before he listened know that there may be more.
        """
        with queries.reading(settings) as db:
            ledger = queries.ledger(db)
            if ledger == self._ledger:
                return b""
            first, told = self._ledger is None, []
            for meter_id, at in queries.ends(db, METERS_FOLLOWED).items():
                since = self._newest.get(meter_id, -1)
                self._newest[meter_id] = at
                if at > since and not first:
                    told += _rows(queries.since(db, meter_id, since, NEWEST_READINGS))
            events, _ = queries.events(db, limit=NEWEST_EVENTS)
        for event in reversed(events):
            stand = tuple(event.values())
            if self._events.get(event["event_id"]) != stand and not first:
                told.append(_message("event", objects({name: [value] for name, value in event.items()})[0]))
        self._events = {event["event_id"]: tuple(event.values()) for event in events}
        self._ledger = ledger  # last: after a failure all of it is looked at again
        return b"".join([*told, _message("commit", {"records": sum(row["records"] for row in ledger)})])


def _rows(rows: list[dict[str, Any]]) -> list[bytes]:
    told = []
    for row in rows:
        shown = objects({name: [value] for name, value in row.items()})[0]
        key = {"meter_id": shown["meter_id"], "at": shown["at"]}
        told.append(_message("reading", key | {name: shown[name] for name in queries.CHANNEL_COLUMNS}))
        told.append(_message("verdict", key | {name: shown[name] for name in queries.VERDICT_COLUMNS}))
    return told


def _message(name: str, data: dict[str, Any]) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"
