"""What each page shows, read from the database: nothing is computed here that a closed page would leave undone."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from meterwatch.storage import queries
from meterwatch.storage.migrate import database_path
from serving.dashboard import (
    address,
    events_page,
    health_page,
    live_page,
    overview_figures,
    overview_page,
    parts,
    pattern_figures,
    theme,
    waiting,
    wording,
)
from serving.dashboard.live_figures import Span, live_figure
from serving.dashboard.overview_page import Overview

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from datetime import tzinfo
    from pathlib import Path

    from meterwatch.settings import Settings
    from serving.dashboard.address import View

LINE_POINTS = 1200  # readings of a line with its band: four columns each
CLOUD_POINTS = 3600  # readings of the scatter
EVENTS_BELOW = 5  # events under the live chart
AVERAGE_DAYS = 7
VOLTAGE_BINS = 1000  # fine ones, so that some remain where the readings are when there are zeros far away
AGAIN_MS = 3000  # after which a page that waits for something is read again


class UnknownMeterError(Exception):
    """An address names a meter that never reported."""


class Shown(NamedTuple):
    """A page's content."""

    content: list[Any]
    meter_id: str = ""  # that it looks at; empty: none
    again_ms: int = 0  # after which it is to be read again; 0: its parts move by themselves


class Moved(NamedTuple):
    """What of the live page moves."""

    figure: theme.Figure | None  # None: stays
    verdict: list[Any]
    events: list[Any]
    newest: int  # unix seconds of the newest reading


class Pages:
    """The content of every page, for one database and one zone. Holds nothing but where to read.

    Args:
        settings: where the database is, and the price of a kWh.
        zone: of every time that is shown.
        model: asks for the version that judges; None where there is none.
    """

    def __init__(self, settings: Settings, zone: tzinfo, model: Callable[[], str | None]) -> None:
        self._settings = settings
        self._zone = zone
        self._model = model

    def page(self, path: str, search: str) -> Shown:
        """The page at an address.

        Raises:
            AddressError: the address asks for something that cannot be.
            UnknownMeterError: it names a meter that never reported.
            sqlite3.Error: the database cannot be read.
        """
        view = address.parse(search, self._zone)
        with queries.reading(self._settings) as db:
            if path == address.HEALTH:
                return Shown(health_page.page(self._health(db)), again_ms=AGAIN_MS if self._model() is None else 0)
            meters = [str(meter["meter_id"]) for meter in queries.meters(db, parts.METERS_OFFERED)]
            if not meters:
                records = sum(row["records"] for row in queries.ledger(db))
                content = waiting.page(address.name(path), model=self._model(), records=records)
                return Shown(content, again_ms=AGAIN_MS)
            content, meter_id = self._read(db, path, view, meters)
        if self._model() is None:
            return Shown([waiting.no_model(), *content], meter_id, AGAIN_MS)
        return Shown(content, meter_id)

    def _read(self, db: sqlite3.Connection, path: str, view: View, meters: list[str]) -> tuple[list[Any], str]:
        if path == address.EVENTS:
            if view.meter_id is not None:
                self._known(db, view)
            return events_page.page(meters, view, self._events(db, view)), view.meter_id or ""
        meter_id, view = self._known(db, view)
        if path == address.OVERVIEW:
            return overview_page.page(meters, meter_id, self._overview(db, meter_id)), meter_id
        moved = self._live(db, meter_id, view)
        figure = moved.figure or theme.message("No readings", view="")
        return (
            live_page.page(meters, view, figure, moved.verdict, moved.events, newest=moved.newest, zone=self._zone),
            meter_id,
        )

    def live(self, search: str, meter_id: str, shown: int) -> Moved | None:
        """The parts of the live page that move; None where the reading `shown` is still the newest."""
        view = replace(address.parse(search, self._zone), meter_id=meter_id)
        with queries.reading(self._settings) as db:
            if queries.span(db, meter_id)[1] == shown:
                return None
            moved = self._live(db, meter_id, view)
        past = view.end is not None and view.end <= shown
        return moved._replace(figure=None) if past else moved

    def events(self, search: str) -> list[Any]:
        """The part of the page of events that moves."""
        with queries.reading(self._settings) as db:
            return self._events(db, address.parse(search, self._zone))

    def health(self) -> list[Any]:
        """The part of the page of health that moves."""
        with queries.reading(self._settings) as db:
            return self._health(db)

    def overview(self, meter_id: str) -> Overview:
        """The part of the overview that moves."""
        with queries.reading(self._settings) as db:
            return self._overview(db, meter_id)

    def _known(self, db: sqlite3.Connection, view: View) -> tuple[str, View]:
        """The meter that is looked at, and the view with it named: the one that reported last where none is."""
        meter_id = queries.latest_meter(db) if view.meter_id is None else view.meter_id
        if meter_id is None or queries.newest(db, meter_id) is None:
            raise UnknownMeterError(meter_id or "")
        return meter_id, replace(view, meter_id=meter_id)

    def _live(self, db: sqlite3.Connection, meter_id: str, view: View) -> Moved:
        zone, price = self._zone, self._settings.energy_price
        newest = queries.newest(db, meter_id)
        if newest is None:
            raise UnknownMeterError(meter_id)
        oldest, last = queries.span(db, meter_id)
        start, end = view.window(oldest, last)
        events, _ = queries.events(db, meter_id, start=start, end=end)
        spans = [
            Span(int(event["start_at"]), last if event["end_at"] is None else int(event["end_at"]), str(event["kind"]))
            for event in events
        ]
        figure = live_figure(
            queries.series(db, meter_id, start, end, LINE_POINTS),
            spans,
            window=(start, end),
            zone=zone,
            view=view.search(zone),
            nothing=f"No readings in this range.<br>There are some from {wording.moment(oldest, zone)}"
            f"<br>to {wording.moment(last, zone)} ({zone}).",
        )
        recent, _ = queries.events(db, meter_id, limit=EVENTS_BELOW)
        return Moved(
            figure,
            live_page.verdict_card(newest, zone=zone),
            live_page.recent_events(recent, view, zone=zone, price=price, newest=last),
            last,
        )

    def _events(self, db: sqlite3.Connection, view: View) -> list[Any]:
        events, total = queries.events(db, view.meter_id, limit=events_page.SHOWN)
        latest = queries.latest_meter(db)
        newest = queries.span(db, latest)[1] if latest is not None else 0
        price = self._settings.energy_price
        return events_page.events_body(events, total, view, zone=self._zone, price=price, newest=newest)

    def _overview(self, db: sqlite3.Connection, meter_id: str) -> Overview:
        zone = self._zone
        oldest, newest = queries.span(db, meter_id)
        cloud = queries.series(db, meter_id, oldest, newest, CLOUD_POINTS)
        days = queries.daily(db, meter_id, AVERAGE_DAYS, zone)
        return Overview(
            spanned=f"{wording.moment(oldest, zone)} to {wording.moment(newest, zone)} ({zone}).",
            scatter=overview_figures.scatter_figure(cloud, zone=zone, view=meter_id),
            daily=overview_figures.daily_figure(*days, window=AVERAGE_DAYS, zone=zone, view=meter_id),
            monthly=overview_figures.monthly_figure(*queries.monthly(db, meter_id, zone), view=meter_id),
            week=pattern_figures.week_figure(queries.week(db, meter_id, zone), zone=zone, view=meter_id),
            voltage=pattern_figures.voltage_figure(*queries.voltage(db, meter_id, VOLTAGE_BINS), view=meter_id),
            correlation=pattern_figures.correlation_figure(*queries.correlation(db, meter_id), view=meter_id),
        )

    def _health(self, db: sqlite3.Connection) -> list[Any]:
        latest = queries.latest_meter(db)
        now = health_page.now_card(
            model=self._model(),
            newest=queries.newest(db, latest) if latest is not None else None,
            events=queries.events(db, limit=1)[1],
            size=_size(database_path(self._settings.database_url)),
            zone=self._zone,
        )
        ledger = queries.ledger(db)
        if not ledger:
            nothing = parts.notice(
                "Nothing has been read yet",
                "The stream has not committed a record.",
                steps=[("Start everything:", "meterwatch up"), ("Or the stream alone:", "meterwatch stream")],
            )
            return [now, nothing]
        return [
            now,
            health_page.ledger_card(ledger),
            health_page.verdicts_card(queries.statuses(db)),
            health_page.rejected_card(queries.rejected(db)),
        ]


def _size(path: Path) -> int:
    """Bytes of a database with what waits in its log."""
    total = 0
    for file in (path, path.with_name(f"{path.name}-wal")):
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total
