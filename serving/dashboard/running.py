"""What the page of health knows beside the tables: the topic, the pace, the disk, the versions."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from meterwatch import __version__
from meterwatch.kafka import client_config, is_away, topic
from meterwatch.storage.migrate import database_path

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from meterwatch.settings import Settings

BROKER_SECONDS = 1.0
PACE_SECONDS = 60.0


class Running(NamedTuple):
    """What the machine says."""

    lag: int | None  # records on the topic that the ledger has not accounted for; None: the broker does not say
    pace: float | None  # records a second; None before a second look
    committed_at: int | None  # unix seconds of the last commit that was seen; None: none since `watched_at`
    watched_at: int  # since when commits are looked for
    size: int  # bytes of the database
    free: int  # bytes left on its disk
    version: str
    schema: int | None  # of the database; None before there is one


class Watch:
    """Looks, and remembers a minute of looks.

    Args:
        settings: where the topic and the database are.
        clock: unix seconds now.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._seen: list[tuple[float, int]] = []
        self._ledger: Sequence[dict[str, Any]] | None = None
        self._moved_at: int | None = None
        self._begun_at = int(clock())
        self._admin: AdminClient | None = None

    def look(self, db: sqlite3.Connection, ledger: Sequence[dict[str, Any]]) -> Running:
        """Ask for everything; `ledger` holds the rows of `offsets`."""
        now = self._clock()
        if self._ledger is not None and ledger != self._ledger:
            self._moved_at = int(now)
        self._ledger = ledger
        path = database_path(self._settings.database_url)
        size = 0
        for file in (path, path.with_name(f"{path.name}-wal")):
            with suppress(FileNotFoundError):
                size += file.stat().st_size
        return Running(
            lag=self._lag(ledger),
            pace=self._pace(now, sum(row["records"] for row in ledger)),
            committed_at=self._moved_at,
            watched_at=self._begun_at,
            size=size,
            free=shutil.disk_usage(next(room for room in path.absolute().parents if room.exists())).free,
            version=__version__,
            schema=db.execute("SELECT max(version) FROM schema_version").fetchone()[0] if ledger else None,
        )

    def _pace(self, now: float, records: int) -> float | None:
        seen = [one for one in self._seen if one[0] >= now - PACE_SECONDS] + [(now, records)]
        self._seen, (begun, before) = seen, seen[0]
        return (records - before) / (now - begun) if now > begun else None

    def _lag(self, ledger: Sequence[dict[str, Any]]) -> int | None:
        settings, name = self._settings, self._settings.kafka_topic
        if is_away(settings.kafka_bootstrap_servers):
            return None
        try:
            self._admin = self._admin or AdminClient(client_config(settings))
            found = topic(self._admin, name, BROKER_SECONDS)
            read: dict[int, int] = {
                row["partition"]: row["next_offset"] for row in ledger if row["topic_id"] == found.topic_id
            }
            return sum(max(end - read.get(number, 0), 0) for number, (_, end) in found.ends.items())
        except KafkaException:
            return None
