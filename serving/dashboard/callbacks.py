"""What the browser asks for: a page when the address changes, its moving parts when something new was stored."""

from __future__ import annotations

import logging
import sqlite3
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from dash import Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.backends._fastapi import get_current_request
from starlette.concurrency import run_in_threadpool

from meterwatch.storage.models import RegistryError
from serving.dashboard import address, parts, theme
from serving.dashboard.address import AddressError
from serving.dashboard.in_browser import in_the_browser
from serving.dashboard.meter_reads import UnknownMeterError
from serving.dashboard.overview_page import Overview
from serving.dashboard.reads import AGAIN_MS, Pages, Shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving.keys import Caller

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
TICK, SEARCH, METER = Input("tick", "data"), State("url", "search"), State("meter", "value")
LIVE_MS, LISTS_MS, OVERVIEW_MS = 1000, 3000, 60_000  # least time between two updates of a page
ZOOMED = ("scatter", "daily", "monthly", "voltage")  # the overview's charts that the reader may zoom
OF_A_METER = (address.METER, address.EVENTS, address.OVERVIEW)
REFRESH_MS = {
    address.EVENTS: LISTS_MS,
    address.HEALTH: LISTS_MS,
    address.MODELS: LISTS_MS,
    address.OVERVIEW: OVERVIEW_MS,
}


def register(app: Dash, pages: Pages) -> None:
    """Connect the shell and the pages' moving parts to what `pages` reads."""
    _whole(app, pages)
    _lists(app, pages)
    _pictures(app, pages)
    in_the_browser(app)


def _whole(app: Dash, pages: Pages) -> None:
    @app.callback(
        Output("page", "children"),
        Output("nav", "children"),
        Output("steady", "data"),
        Input("url", "pathname"),
        Input("url", "search"),
        Input("again", "data"),
        State("steady", "data"),
    )
    async def page(path: str | None, query: str | None, _: int, before: str | None) -> tuple[Any, ...]:
        path, query = path or "/", query or ""
        steady = address.steady(path, query)
        if steady and steady == before and ctx.triggered_id != "again":
            return (no_update,) * 3  # its own moving part follows the address, so that a text being typed stays
        shown = await run_in_threadpool(_page, pages, path, query, admin=_admin())
        told = parts.attributes(
            data_refresh_ms=str(REFRESH_MS.get(path, LIVE_MS)),
            data_again_ms=str(shown.again_ms),
            data_meter=shown.meter_id,
            data_name=address.name(path),
        )
        root = html.Div(shown.content, id="page-root", **told)
        return root, _navigation(path, shown.meter_id), steady if shown.steady else ""


def _lists(app: Dash, pages: Pages) -> None:
    @app.callback(
        Output("now-body", "children"),
        TICK,
        Input("url", "search"),
        State("url", "pathname"),
        prevent_initial_call=True,
    )
    async def now(_: int, query: str | None, path: str) -> parts.Content:
        if path != address.NOW:
            return no_update
        return await run_in_threadpool(_quietly, pages.now, query or "") or no_update

    @app.callback(Output("events-body", "children"), TICK, SEARCH, prevent_initial_call=True)
    async def events(_: int, query: str | None) -> parts.Content:
        return await run_in_threadpool(_quietly, pages.events, query or "") or no_update

    @app.callback(Output("health-body", "children"), TICK, prevent_initial_call=True)
    async def health(_: int) -> parts.Content:
        return await run_in_threadpool(_quietly, pages.health) or no_update

    @app.callback(Output("models-watch", "children"), TICK, prevent_initial_call=True)
    async def models(_: int) -> parts.Content:
        return await run_in_threadpool(_quietly, pages.watch) or no_update

    @app.callback(
        Output("file", "data"),
        Input("save", "n_clicks"),
        State("url", "pathname"),
        SEARCH,
        State("meter", "value", allow_optional=True),
        prevent_initial_call=True,
    )
    async def file(clicks: int | None, path: str, query: str | None, meter_id: str | None) -> Any:  # noqa: ANN401 - as Dash takes it
        if not clicks:
            return no_update
        return await run_in_threadpool(_quietly, pages.file, path, query or "", meter_id) or no_update


def _pictures(app: Dash, pages: Pages) -> None:
    @app.callback(
        Output("live-chart", "figure"),
        Output("live-verdict", "children"),
        Output("live-events", "children"),
        Output("live-newest", "data"),
        TICK,
        SEARCH,
        METER,
        State("live-newest", "data"),
        prevent_initial_call=True,
    )
    async def live(_: int, query: str | None, meter_id: str, shown: int) -> tuple[Any, ...]:
        moved = await run_in_threadpool(_quietly, pages.live, query or "", meter_id, shown)
        if moved is None:
            return (no_update,) * 4
        figure = no_update if moved.figure is None else moved.figure
        return figure, moved.verdict, moved.events, moved.newest

    @app.callback(Output("explanation", "children"), Input("explained", "data"), SEARCH, prevent_initial_call=True)
    async def explanation(told: dict[str, Any] | None, query: str | None) -> parts.Content:
        return await run_in_threadpool(_quietly, pages.explanation, told, query or "") or no_update

    @app.callback(
        [Output(f"overview-{name}", "children" if name == "spanned" else "figure") for name in Overview._fields],
        TICK,
        METER,
        [State(f"overview-{name}", "relayoutData") for name in ZOOMED],
        prevent_initial_call=True,
    )
    async def overview(_: int, meter_id: str, changes: list[dict[str, Any] | None]) -> tuple[Any, ...]:
        moved = await run_in_threadpool(_quietly, pages.overview, meter_id)
        if moved is None:
            return (no_update,) * len(Overview._fields)
        for name, change in zip(ZOOMED, changes, strict=True):
            theme.keep_zoom(getattr(moved, name), change or {})
        return moved


def _admin() -> bool:
    """Whether whoever asks for a page may promote models."""
    caller: Caller = get_current_request().state.caller
    return caller.may("admin")


def _page(pages: Pages, path: str, query: str, *, admin: bool) -> Shown:
    """A page, or what to say in its place."""
    heading = parts.heading(address.name(path))
    if path not in address.NAMES:
        return Shown([heading, dcc.Link("Show all meters", href=address.NOW)])
    try:
        return pages.models(admin=admin) if path == address.MODELS else pages.page(path, query)
    except UnknownMeterError as error:
        there = dcc.Link("Show all meters", href=address.NOW)
        said = parts.notice("No such meter", f"No reading of a meter “{error}” is stored.", there)
        return Shown([heading, said])
    except AddressError as error:
        said = parts.notice("This address shows nothing", str(error), dcc.Link("Start again", href=path))
        return Shown([heading, said])
    except RegistryError as error:
        return Shown([heading, parts.notice("The registry cannot be read", f"{error}.", state="broken")])
    except sqlite3.Error as error:
        log.warning("the page %s could not be read: %s", path, error)
        said = parts.notice(
            "The database cannot be read",
            f"It answers: {error}. It may be damaged, locked, or being brought to a new schema; this page tries again.",
            steps=[("What is wrong on this machine:", "meterwatch doctor")],
            state="broken",
        )
        return Shown([heading, said], again_ms=AGAIN_MS)


def _quietly(read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """None where a moving part cannot be read now: what is shown stays, and the next update tries again."""
    try:
        return read(*args, **kwargs)
    except (UnknownMeterError, AddressError):
        return None
    except sqlite3.Error as error:
        log.warning("an update could not be read: %s", error)
        return None


def _navigation(path: str, meter_id: str) -> list[Any]:
    """The pages' names; a meter that is looked at stays the same from page to page."""
    query = address.meter_query(meter_id)
    return [
        dcc.Link(
            [name, html.Span(", this page", className="unseen")] if target == path else name,
            href=target + query if target in OF_A_METER else target,
            className="current" if target == path else "",
        )
        for target, name in address.NAMES.items()
    ]
