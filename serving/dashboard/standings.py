"""Every meter's state, since when, and those that a page shows of them."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from meterwatch.storage import queries, standing
from serving.dashboard.listing import PAGE_ROWS, STATES, Listing

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from numpy.typing import NDArray

    from meterwatch.storage.standing import Standing

SILENT_CADENCES, SILENT_LEAST = 3, 3600  # a meter is silent after three cadences without a reading, an hour at least
REPLAYED = 86_400  # seconds: when the newest reading of all is older, time is that of the readings and not the clock's


class Row(NamedTuple):
    """A meter of the list. Times are unix seconds."""

    state: str
    since: int | None
    meter: Standing
    day: tuple[NDArray[Any], NDArray[Any]]  # mean power (24,) kW and anomalies (24,) of the hours up to now


class Listed(NamedTuple):
    """A page of the list, and what is said around it."""

    rows: list[Row]
    counts: dict[str, int]  # meters by state, of those whose id holds the text that is searched for
    found: int  # meters that are asked for, on all pages
    listing: Listing  # as shown: a page beyond the last is the last
    now: int  # unix seconds that silence is counted to
    replayed: bool  # whether that is the newest reading's time


class Standings:
    """Asks for all meters once a commit, however many pages ask; between two commits only time passes.

    Args:
        clock: unix seconds now.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._known: tuple[list[dict[str, Any]], list[Standing]] = ([], [])
        self._cadences: dict[str, tuple[int, int | None]] = {}

    def listed(self, db: sqlite3.Connection, listing: Listing) -> Listed:
        """The meters that a listing asks for."""
        meters = self._all(db)
        now, replayed = self._now(meters)
        every = self._standing(db, meters, listing.text, now)
        counts = dict.fromkeys(STATES, 0) | Counter(state for state, _ in every)
        found = _asked(every, listing)
        last = max(math.ceil(len(found) / PAGE_ROWS), 1)
        shown = listing if listing.page <= last else replace(listing, page=last)
        rows = [
            Row(state, since(db, state, meter), meter, standing.day_before(db, meter.meter_id, now))
            for state, meter in found[(shown.page - 1) * PAGE_ROWS : shown.page * PAGE_ROWS]
        ]
        return Listed(rows, counts, len(found), shown, now, replayed)

    def found(self, db: sqlite3.Connection, listing: Listing) -> list[tuple[str, Standing]]:
        """Every meter that a listing asks for, on all pages, with its state."""
        meters = self._all(db)
        return _asked(self._standing(db, meters, listing.text, self._now(meters)[0]), listing)

    def _now(self, meters: list[Standing]) -> tuple[int, bool]:
        """Unix seconds that silence is counted to, and whether that is the newest reading's time."""
        newest = max((meter.at for meter in meters), default=0)
        clock = int(self._clock())
        replayed = clock - newest > REPLAYED
        return newest if replayed else max(clock, newest), replayed

    def _standing(
        self, db: sqlite3.Connection, meters: list[Standing], text: str, now: int
    ) -> list[tuple[str, Standing]]:
        """The meters whose id holds a text, with their states."""
        wanted = text.casefold()
        return [(self._state(db, meter, now), meter) for meter in meters if wanted in meter.meter_id.casefold()]

    def _all(self, db: sqlite3.Connection) -> list[Standing]:
        ledger = queries.ledger(db)
        if ledger != self._known[0] or not ledger:
            self._known = (ledger, standing.standings(db))
        return self._known[1]

    def _state(self, db: sqlite3.Connection, meter: Standing, now: int) -> str:
        away = now - meter.at
        if away > SILENT_LEAST and away > SILENT_CADENCES * (self._cadence(db, meter) or 0):
            return "silent"
        if meter.anomalous or meter.event_open:
            return "anomalous"
        return {"scored": "normal", "warming_up": "warming_up"}.get(meter.status, "unjudged")

    def _cadence(self, db: sqlite3.Connection, meter: Standing) -> int | None:
        at, cadence = self._cadences.get(meter.meter_id, (0, None))
        if at != meter.at:
            cadence = standing.recent_cadence(db, meter.meter_id)
            self._cadences[meter.meter_id] = (meter.at, cadence)
        return cadence


def since(db: sqlite3.Connection, state: str, meter: Standing) -> int | None:
    """When the state began; a meter is normal since its last event, or since it was first scored."""
    if state == "normal":
        return meter.event_end or standing.first_scored(db, meter.meter_id)
    if state == "anomalous":
        return meter.event_start if meter.event_open else meter.at
    return meter.oldest_at if state == "warming_up" else meter.at


def _asked(every: list[tuple[str, Standing]], listing: Listing) -> list[tuple[str, Standing]]:
    """Those in the state asked for, in the order asked for."""
    return _ordered([one for one in every if listing.state in ("", one[0])], listing)


def _ordered(found: list[tuple[str, Standing]], listing: Listing) -> list[tuple[str, Standing]]:
    """In the order asked for, what is unknown last; equals by state, the severest first, and by meter."""
    usual = sorted(found, key=lambda one: (STATES.index(one[0]), -_severity(*one), one[1].meter_id))
    if listing.order == "state":
        return usual[::-1] if listing.descending else usual
    if listing.order == "meter":
        return sorted(usual, key=lambda one: one[1].meter_id, reverse=listing.descending)
    key = _KEYS[listing.order]
    known = [one for one in usual if key(*one) is not None]
    unknown = [one for one in usual if key(*one) is None]
    return sorted(known, key=lambda one: key(*one), reverse=listing.descending) + unknown


def _severity(state: str, meter: Standing) -> float:
    return meter.severity or 0.0 if state == "anomalous" else 0.0


def _coarsely_since(state: str, meter: Standing) -> int:
    """As `since`, without asking the database: a meter without an event has been normal since its first reading."""
    if state == "normal":
        return meter.event_end or meter.oldest_at
    if state == "anomalous" and meter.event_start is not None and meter.event_open:
        return meter.event_start
    return meter.oldest_at if state == "warming_up" else meter.at


_KEYS: dict[str, Callable[[str, Standing], Any]] = {
    "since": _coarsely_since,
    "reading": lambda _, meter: meter.at,
    "power": lambda _, meter: meter.power,
    "expected": lambda _, meter: meter.expected,
    "severity": lambda state, meter: meter.severity if state == "anomalous" else None,
}
