"""What each page shows, read from the database: nothing is computed here that a closed page would leave undone."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from meterwatch.storage import event_list, queries, shadow
from meterwatch.storage import models as registry
from meterwatch.storage.model_evaluations import evaluations, experiment_of
from serving.dashboard import (
    address,
    event_listing,
    events_page,
    files,
    health_page,
    listing,
    live_page,
    models_page,
    now_page,
    overview_page,
    parts,
    theme,
    waiting,
    watch_cards,
)
from serving.dashboard.address import View
from serving.dashboard.explanation_card import explanation
from serving.dashboard.meter_reads import UnknownMeterError, moved, power
from serving.dashboard.running import Watch
from serving.dashboard.standings import Standings
from serving.dashboard.sums_reads import health, overview

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping
    from datetime import tzinfo

    from meterwatch.settings import Settings
    from serving.dashboard.event_listing import EventListing
    from serving.dashboard.listing import Listing
    from serving.dashboard.meter_reads import Moved
    from serving.dashboard.overview_page import Overview
    from serving.drifting import Drift

AGAIN_MS = 3000  # after which a page that waits for something is read again
WATCHED_MS = 10_000  # after which the page of health is: what has stopped commits nothing that would move it


class Shown(NamedTuple):
    """A page's content."""

    content: list[Any]
    meter_id: str = ""  # that it looks at; empty: none
    again_ms: int = 0  # after which it is to be read again; 0: its parts move by themselves
    steady: bool = False  # whether its moving part follows the address' query, so that the rest need not be read again


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
        self._watch = Watch(settings)

    def page(self, path: str, search: str) -> Shown:
        """The page at an address.

        Raises:
            AddressError: the address asks for something that cannot be.
            UnknownMeterError: it names a meter that never reported.
            sqlite3.Error: the database cannot be read.
        """
        view = View() if path in (address.NOW, address.EVENTS, address.HEALTH) else address.parse(search, self._zone)
        with queries.reading(self._settings) as db:
            if path == address.HEALTH:
                return Shown(
                    health_page.page(health(db, self._watch, self._model(), self._zone)),
                    again_ms=AGAIN_MS if self._model() is None else WATCHED_MS,
                )
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
            return overview_page.page(meters, meter_id, overview(db, meter_id, self._zone)), meter_id
        found = self._moved(db, meter_id, view)
        figure = found.figure or theme.message("No readings", view="")
        return (
            live_page.page(
                meters,
                view,
                figure,
                found.verdict,
                found.events,
                newest=found.newest,
                window=view.window(*queries.span(db, meter_id)),
                panels=found.panels,
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
            found = self._moved(db, meter_id, view)
        past = view.end is not None and view.end <= shown
        return found._replace(figure=None) if past else found

    def now(self, search: str) -> list[Any]:
        """The part of the page of now that moves."""
        with queries.reading(self._settings) as db:
            return self._now(db, listing.parse(search))

    def events(self, search: str) -> list[Any]:
        """The part of the page of events that moves."""
        with queries.reading(self._settings) as db:
            return self._events(db, event_listing.parse(search, self._zone))

    def file(self, path: str, search: str, meter_id: str | None) -> dict[str, str]:
        """What a page shows as CSV; `meter_id` is the one looked at where the address names none."""
        zone = self._zone
        with queries.reading(self._settings) as db:
            if path == address.NOW:
                name, text = "meters", files.meters(db, self._standings, listing.parse(search), zone)
            elif path == address.EVENTS:
                asked = event_listing.parse(search, zone).asked
                name, text = "events", files.events(db, asked, zone, price=self._settings.energy_price)
            else:
                view = address.parse(search, zone)
                meter_id, view = self._known(db, replace(view, meter_id=view.meter_id or meter_id))
                window = view.window(*queries.span(db, meter_id))
                name, text = "readings", files.readings(db, meter_id, window, zone)
        return {"filename": f"{name}.csv", "content": text, "type": "text/csv"}

    def health(self) -> list[Any]:
        """The part of the page of health that moves."""
        with queries.reading(self._settings) as db:
            return health(db, self._watch, self._model(), self._zone)

    def overview(self, meter_id: str) -> Overview:
        """The part of the overview that moves."""
        with queries.reading(self._settings) as db:
            return overview(db, meter_id, self._zone)

    def _moved(self, db: sqlite3.Connection, meter_id: str, view: View) -> Moved:
        return moved(db, meter_id, view, zone=self._zone, price=self._settings.energy_price)

    def _known(self, db: sqlite3.Connection, view: View) -> tuple[str, View]:
        """The meter that is looked at, and the view with it named: the one that reported last where none is."""
        meter_id = queries.latest_meter(db) if view.meter_id is None else view.meter_id
        if meter_id is None or queries.newest(db, meter_id) is None:
            raise UnknownMeterError(meter_id or "")
        return meter_id, replace(view, meter_id=meter_id)

    def explanation(self, told: Mapping[str, Any] | None, search: str) -> list[Any]:
        """What the card holds that says why a reading was judged so; `told` is the service's answer."""
        close = address.METER + replace(address.parse(search, self._zone), at=None).search(self._zone)
        return explanation(told, zone=self._zone, close=close)

    def _now(self, db: sqlite3.Connection, asked: Listing) -> list[Any]:
        listed = self._standings.listed(db, asked)
        first = power(db, listed.rows[0].meter.meter_id, View(), self._zone)[0] if listed.rows else None
        return now_page.now_body(listed, first, zone=self._zone)

    def _all_events(self, db: sqlite3.Connection, meters: list[str], asked: EventListing) -> Shown:
        meter_id = asked.asked.meter_id
        if meter_id is not None:
            self._known(db, View(meter_id))
        body = self._events(db, asked)
        content = events_page.page(meters, event_list.kinds(db, meter_id), asked, body, zone=self._zone)
        return Shown(content, meter_id or "")

    def _events(self, db: sqlite3.Connection, asked: EventListing) -> list[Any]:
        rows = events_page.PAGE_ROWS
        found = event_list.listed(db, asked.asked, offset=(asked.page - 1) * rows, limit=rows)
        last = max(math.ceil(found.total / rows), 1)
        if asked.page > last:  # as in the list of meters
            return self._events(db, replace(asked, page=last))
        labelled = event_list.labelled(db, asked.asked.meter_id)
        newest, price = queries.newest_at(db) or 0, self._settings.energy_price
        return events_page.events_body(found, labelled, asked, zone=self._zone, price=price, newest=newest)
