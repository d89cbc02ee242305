"""What each page shows, read from the database: nothing is computed here that a closed page would leave undone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meterwatch.storage import queries
from serving.dashboard import (
    address,
    events_page,
    health_page,
    live_page,
    overview_figures,
    overview_page,
    parts,
    theme,
    wording,
)
from serving.dashboard.address import View
from serving.dashboard.live_figures import live_figure

if TYPE_CHECKING:
    import sqlite3
    from datetime import tzinfo

    from meterwatch.settings import Settings

LINE_POINTS = 1200  # readings of a line with its band: four columns each
CLOUD_POINTS = 3600  # readings of the scatter
EVENTS_BELOW = 5  # events under the live chart
AVERAGE_DAYS = 7


class UnknownMeterError(Exception):
    """An address names a meter that never reported."""


class Pages:
    """The content of every page, for one database and one zone. Holds nothing but where to read."""

    def __init__(self, settings: Settings, zone: tzinfo) -> None:
        self._settings = settings
        self._zone = zone

    def page(self, path: str, search: str) -> tuple[list[Any], str]:
        """The content of the page at an address, and the meter it looks at (empty: none)."""
        view = address.parse(search, self._zone)
        with queries.reading(self._settings) as db:
            meters = [str(meter["meter_id"]) for meter in queries.meters(db, parts.METERS_OFFERED)]
            if path == address.HEALTH:
                return health_page.page(self._health(db)), ""
            if path == address.EVENTS:
                if view.meter_id is not None:
                    self._known(db, view)
                return events_page.page(meters, view, self._events(db, view)), view.meter_id or ""
            view = self._known(db, view)
            if path == address.OVERVIEW:
                return overview_page.page(meters, view, self._overview(db, view)), view.meter_id or ""
            figure, verdict, events, newest = self._live(db, view)
            content = live_page.page(meters, view, figure, verdict, events, newest=newest, zone=self._zone)
            return content, view.meter_id or ""

    def live(self, search: str, shown: int | None) -> tuple[theme.Figure, list[Any], list[Any], int | None] | None:
        """The parts of the live page that move; None where the reading `shown` is still the newest."""
        with queries.reading(self._settings) as db:
            view = self._known(db, address.parse(search, self._zone))
            newest = queries.newest(db, view.meter_id) if view.meter_id is not None else None
            if not view.live or newest is None or newest["at"] == shown:
                return None
            return self._live(db, view)

    def events(self, search: str) -> list[Any]:
        """The part of the page of events that moves."""
        with queries.reading(self._settings) as db:
            return self._events(db, address.parse(search, self._zone))

    def health(self) -> list[Any]:
        """The part of the page of health that moves."""
        with queries.reading(self._settings) as db:
            return self._health(db)

    def overview(self, search: str) -> list[Any]:
        """The part of the overview that moves."""
        with queries.reading(self._settings) as db:
            return self._overview(db, self._known(db, address.parse(search, self._zone)))

    def _known(self, db: sqlite3.Connection, view: View) -> View:
        """The view with its meter named: the one that reported last where the address names none."""
        if view.meter_id is None:
            return View(queries.latest_meter(db), view.range, view.start, view.end)
        if queries.newest(db, view.meter_id) is None:
            raise UnknownMeterError(view.meter_id)
        return view

    def _live(self, db: sqlite3.Connection, view: View) -> tuple[theme.Figure, list[Any], list[Any], int | None]:
        meter_id, name = view.meter_id, view.search(self._zone)
        newest = queries.newest(db, meter_id) if meter_id is not None else None
        if meter_id is None or newest is None:
            return theme.message("No readings yet", view=name), live_page.no_verdict(), [live_page.NO_EVENT], None
        oldest, last = queries.span(db, meter_id)
        start, end = view.window(oldest, last)
        columns = queries.series(db, meter_id, start, end, LINE_POINTS)
        events, _ = queries.events(db, meter_id, start=start, end=end)
        spans = [
            (int(event["start_at"]), last if event["end_at"] is None else int(event["end_at"])) for event in events
        ]
        recent, _ = queries.events(db, meter_id, limit=EVENTS_BELOW)
        return (
            live_figure(columns, spans, window=(start, end), zone=self._zone, view=name),
            live_page.verdict_card(newest, zone=self._zone),
            live_page.recent_events(recent, view, zone=self._zone, price=self._settings.energy_price, newest=last),
            int(newest["at"]),
        )

    def _events(self, db: sqlite3.Connection, view: View) -> list[Any]:
        events, total = queries.events(db, view.meter_id, limit=events_page.SHOWN)
        latest = queries.latest_meter(db)
        newest = queries.span(db, latest)[1] if latest is not None else 0
        price = self._settings.energy_price
        return events_page.events_body(events, total, view, zone=self._zone, price=price, newest=newest)

    def _overview(self, db: sqlite3.Connection, view: View) -> list[Any]:
        meter_id, zone = view.meter_id, self._zone
        if meter_id is None:
            return [parts.notice("No readings yet", "Send a file of readings:", command="meterwatch replay FILE")]
        oldest, newest = queries.span(db, meter_id)
        name = view.search(zone)
        cloud = queries.series(db, meter_id, oldest, newest, CLOUD_POINTS)
        return overview_page.overview_body(
            scatter=overview_figures.scatter_figure(cloud, zone=zone, view=name),
            monthly=overview_figures.monthly_figure(*queries.monthly(db, meter_id), view=name),
            daily=overview_figures.daily_figure(
                *queries.daily(db, meter_id, AVERAGE_DAYS), window=AVERAGE_DAYS, view=name
            ),
            week=overview_figures.week_figure(queries.week(db, meter_id), zone=zone, view=name),
            voltage=overview_figures.voltage_figure(*queries.voltage(db, meter_id), view=name),
            correlation=overview_figures.correlation_figure(*queries.correlation(db, meter_id), view=name),
            spanned=f"{wording.moment(oldest, zone)} to {wording.moment(newest, zone)} ({zone})",
        )

    def _health(self, db: sqlite3.Connection) -> list[Any]:
        ledger = queries.ledger(db)
        if not ledger:
            return [
                parts.notice(
                    "Nothing has been read yet",
                    "The stream has not committed a record. Start everything, or the stream alone:",
                    command="meterwatch up\nmeterwatch stream",
                )
            ]
        statuses = queries.statuses(db)
        return [
            health_page.ledger_card(ledger),
            health_page.verdicts_card(statuses, statuses["anomalous"]),
            health_page.rejected_card(queries.rejected(db)),
        ]
