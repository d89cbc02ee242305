"""What each page shows, read from the database: nothing is computed here that a closed page would leave undone."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from meterwatch.storage import event_list, queries, shadow
from meterwatch.storage import models as registry
from meterwatch.storage.marks import marks
from meterwatch.storage.migrate import database_path
from meterwatch.storage.model_evaluations import evaluations, experiment_of
from serving.dashboard import (
    address,
    event_listing,
    events_page,
    health_page,
    listing,
    live_page,
    models_page,
    now_page,
    overview_figures,
    overview_page,
    parts,
    pattern_figures,
    theme,
    waiting,
    watch_cards,
    wording,
)
from serving.dashboard.address import View
from serving.dashboard.channel_panels import with_channels, with_marks
from serving.dashboard.explanation_card import explanation
from serving.dashboard.live_figures import Span, live_figure, resolution
from serving.dashboard.overview_page import Overview
from serving.dashboard.standings import Standings

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping
    from datetime import tzinfo
    from pathlib import Path

    from numpy.typing import NDArray

    from meterwatch.settings import Settings
    from serving.dashboard.event_listing import EventListing
    from serving.dashboard.listing import Listing
    from serving.drifting import Drift

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
    steady: bool = False  # whether its moving part follows the address' query, so that the rest need not be read again


class Moved(NamedTuple):
    """What of the live page moves."""

    figure: theme.Figure | None  # None: stays
    verdict: list[Any]
    events: list[Any]
    newest: int  # unix seconds of the newest reading
    panels: int = 0  # of the figure, below the power


class Pages:
    """The content of every page, for one database and one zone. Holds where to read, and how all meters stood last.

    Args:
        settings: where the database is, and the price of a kWh.
        zone: of every time that is shown.
        model: asks for the version that judges; None where there is none.
        drift: asks how far the newest readings have moved; None before that was looked at.
    """

    def __init__(
        self, settings: Settings, zone: tzinfo, model: Callable[[], str | None], drift: Callable[[], Drift | None]
    ) -> None:
        self._settings = settings
        self._zone = zone
        self._model = model
        self._drift = drift
        self._standings = Standings()

    def page(self, path: str, search: str) -> Shown:
        """The page at an address.

        Raises:
            AddressError: the address asks for something that cannot be.
            UnknownMeterError: it names a meter that never reported.
            sqlite3.Error: the database cannot be read.
        """
        view = View() if path in (address.NOW, address.EVENTS) else address.parse(search, self._zone)
        with queries.reading(self._settings) as db:
            if path == address.HEALTH:
                return Shown(health_page.page(self._health(db)), again_ms=AGAIN_MS if self._model() is None else 0)
            meters = [str(meter["meter_id"]) for meter in queries.meters(db, parts.METERS_OFFERED)]
            if not meters:
                records = sum(row["records"] for row in queries.ledger(db))
                content = waiting.page(address.name(path), model=self._model(), records=records)
                return Shown(content, again_ms=AGAIN_MS)
            if path == address.NOW:
                asked = listing.parse(search)
                shown = Shown(now_page.page(asked, self._now(db, asked)), steady=True)
            elif path == address.EVENTS:
                shown = self._all_events(db, meters, event_listing.parse(search, self._zone))
            else:
                shown = Shown(*self._read(db, path, view, meters), steady=path == address.METER)
        if self._model() is None:
            return Shown([waiting.no_model(), *shown.content], shown.meter_id, AGAIN_MS)
        return shown

    def _read(self, db: sqlite3.Connection, path: str, view: View, meters: list[str]) -> tuple[list[Any], str]:
        meter_id, view = self._known(db, view)
        if path == address.OVERVIEW:
            return overview_page.page(meters, meter_id, self._overview(db, meter_id)), meter_id
        moved = self._live(db, meter_id, view)
        figure = moved.figure or theme.message("No readings", view="")
        return (
            live_page.page(
                meters,
                view,
                figure,
                moved.verdict,
                moved.events,
                newest=moved.newest,
                window=view.window(*queries.span(db, meter_id)),
                panels=moved.panels,
                zone=self._zone,
            ),
            meter_id,
        )

    def models(self, *, admin: bool) -> Shown:
        """The page of the models.

        Raises:
            RegistryError: the registry is not a SQLite file.
            sqlite3.Error: it cannot be read.
        """
        settings = self._settings
        known = registry.versions(settings)
        experiments = experiment_of(settings, [model.run_id for model in known if model.run_id])
        body = models_page.models_body(
            known, evaluations(settings), experiments, serving=self._model(), admin=admin, zone=self._zone
        )
        live = self.watch() if known else []
        return Shown(models_page.page(body, live), again_ms=0 if known else AGAIN_MS)

    def watch(self) -> list[Any]:
        """The part of the page of models that moves: what live readings say of them."""
        with queries.reading(self._settings) as db:
            compared, events, alone = shadow.comparison(db), shadow.events(db), shadow.alone(db)
        return [
            watch_cards.shadow_card(compared, events, alone, zone=self._zone),
            watch_cards.drift_card(self._drift()),
        ]

    def live(self, search: str, meter_id: str, shown: int) -> Moved | None:
        """The parts of the live page that move; None where the reading `shown` is still the newest."""
        view = replace(address.parse(search, self._zone), meter_id=meter_id)
        with queries.reading(self._settings) as db:
            if queries.span(db, meter_id)[1] == shown:
                return None
            moved = self._live(db, meter_id, view)
        past = view.end is not None and view.end <= shown
        return moved._replace(figure=None) if past else moved

    def now(self, search: str) -> list[Any]:
        """The part of the page of now that moves."""
        with queries.reading(self._settings) as db:
            return self._now(db, listing.parse(search))

    def events(self, search: str) -> list[Any]:
        """The part of the page of events that moves."""
        with queries.reading(self._settings) as db:
            return self._events(db, event_listing.parse(search, self._zone))

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
        last = int(newest["at"])
        figure, drawn, window = self._power(db, meter_id, view)
        panels = self._below(db, meter_id, figure, drawn, window)
        recent, _ = queries.events(db, meter_id, limit=EVENTS_BELOW)
        why = address.METER + replace(view, at=last).search(zone)
        return Moved(
            figure,
            live_page.verdict_card(newest, why=why, zone=zone),
            live_page.recent_events(recent, view, zone=zone, price=price, newest=last),
            last,
            panels,
        )

    def _power(
        self, db: sqlite3.Connection, meter_id: str, view: View
    ) -> tuple[theme.Figure, Mapping[str, NDArray[Any]], tuple[int, int]]:
        """A picture of a meter's power, what is drawn in it, and its window."""
        zone = self._zone
        oldest, last = queries.span(db, meter_id)
        start, end = view.window(oldest, last)
        events, _ = queries.events(db, meter_id, start=start, end=end)
        spans = [
            Span(int(event["start_at"]), last if event["end_at"] is None else int(event["end_at"]), str(event["kind"]))
            for event in events
        ]
        drawn = queries.series(db, meter_id, start, end, LINE_POINTS)
        figure = live_figure(
            drawn,
            spans,
            window=(start, end),
            zone=zone,
            view=view.search(zone),
            nothing=f"No readings in this range.<br>There are some from {wording.moment(oldest, zone)}"
            f"<br>to {wording.moment(last, zone)} ({zone}).",
        )
        return figure, drawn, (start, end)

    def _below(
        self,
        db: sqlite3.Connection,
        meter_id: str,
        figure: theme.Figure,
        drawn: Mapping[str, NDArray[Any]],
        window: tuple[int, int],
    ) -> int:
        """Add the other channels and the marks to a picture of the power; answers how many panels came below."""
        at = drawn["at"]
        if not len(at):
            return 0
        stored = queries.at_times(db, "readings", meter_id, at.tolist())
        channels = {name: np.array(stored[name], np.float64) for name in queries.CHANNEL_COLUMNS}
        panels = with_channels(figure, at, channels, resolution=resolution(drawn, window), zone=self._zone)
        with_marks(figure, marks(db, meter_id, *window), zone=self._zone)
        return panels

    def explanation(self, told: Mapping[str, Any] | None, search: str) -> list[Any]:
        """What the card holds that says why a reading was judged so; `told` is the service's answer."""
        close = address.METER + replace(address.parse(search, self._zone), at=None).search(self._zone)
        return explanation(told, zone=self._zone, close=close)

    def _now(self, db: sqlite3.Connection, asked: Listing) -> list[Any]:
        listed = self._standings.listed(db, asked)
        first = self._power(db, listed.rows[0].meter.meter_id, View())[0] if listed.rows else None
        return now_page.now_body(listed, first, zone=self._zone)

    def _all_events(self, db: sqlite3.Connection, meters: list[str], asked: EventListing) -> Shown:
        meter_id = asked.asked.meter_id
        if meter_id is not None:
            self._known(db, View(meter_id))
        body = self._events(db, asked)
        content = events_page.page(meters, event_list.kinds(db, meter_id), asked, body, zone=self._zone)
        return Shown(content, meter_id or "")

    def _events(self, db: sqlite3.Connection, asked: EventListing) -> list[Any]:
        offset = (asked.page - 1) * events_page.PAGE_ROWS
        found = event_list.listed(db, asked.asked, offset=offset, limit=events_page.PAGE_ROWS)
        labelled = event_list.labelled(db, asked.asked.meter_id)
        newest, price = queries.newest_at(db) or 0, self._settings.energy_price
        return events_page.events_body(found, labelled, asked, zone=self._zone, price=price, newest=newest)

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
