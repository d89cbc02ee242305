"""The page of now: a row a meter, the worst first, with what its day looked like."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dash import dcc, html

from serving.dashboard import address, parts, wording
from serving.dashboard.listing import ORDERS, PAGE_ROWS, STATES, Listing
from serving.dashboard.sparkline import sparkline

if TYPE_CHECKING:
    from datetime import tzinfo

    from serving.dashboard.standings import Listed, Row
    from serving.dashboard.theme import Figure

STATE_WORDS = {
    "anomalous": "Anomalous",
    "silent": "Silent",
    "unjudged": "Not judged",
    "warming_up": "Warming up",
    "normal": "Normal",
}
EXPLAINED = (
    "Silent: no reading for three of the meter's cadences and at least an hour. Not judged: the newest reading came "
    "without power or too soon after a gap."
)


def page(listing: Listing, body: list[Any]) -> list[Any]:
    """The whole page; `body` is the list or what stands in for it."""
    return [
        parts.heading(
            "Now",
            html.Div(
                [
                    html.Label("Search", htmlFor="now-search", className="label"),
                    dcc.Input(
                        id="now-search",
                        type="search",
                        value=listing.text,
                        debounce=0.25,
                        placeholder="Part of a meter id",
                        className="text-input",
                        maxLength=address.LONGEST_ID,
                        autoComplete="off",
                    ),
                ],
                className="field",
            ),
            parts.saved(),
            parts.keys(("/", "search"), ("j k", "next and previous row")),
        ),
        html.Div(body, id="now-body", className="stack"),
    ]


def now_body(listed: Listed, first: Figure | None, *, zone: tzinfo) -> list[Any]:
    """The states with their counts, the rows with the way to the other pages, and a picture of the first one."""
    listing = listed.listing
    everyone = sum(listed.counts.values())
    states = [("", "All", everyone), *((state, STATE_WORDS[state], listed.counts[state]) for state in STATES)]
    choice = parts.segmented(
        [
            (f"{name} {count:,}", address.NOW + listing.of_state(state).query(), state == listing.state)
            for state, name, count in states
        ],
        label="Meters in the state",
    )
    since = "" if not listed.replayed else " Nothing newer has come for a day, so silence is counted up to that time."
    told = f"As of {wording.moment(listed.now, zone)} ({zone}), power in kW.{since}"
    if not listed.rows:
        said = "No such meter is in this state now" if everyone else f"No meter id holds “{listing.text}”"
        return [choice, parts.notice(said, dcc.Link("Show all meters", href=address.NOW))]
    table = parts.table(
        [
            (_heading(title, name, listing), kind)
            for title, name, kind in (
                ("State", "state", "standing"),
                ("Meter", "meter", "meter"),
                ("Since", "since", "since"),
                ("Last reading", "reading", "reading"),
                ("Actual", "power", "number power"),
                ("Expected", "expected", "number expected"),
                ("Severity", "severity", "number grading"),
                ("Last 24 hours", "", "day"),
            )
        ],
        [_cells(row, zone) for row in listed.rows],
        caption="Meters",
        name="now",
        sorted_by=_sorted_by(listing),
    )
    card = parts.card("Meters", table, _pager(listed), html.P(EXPLAINED, className="note"), note=told, wide=True)
    if first is None:
        return [choice, card]
    meter_id = listed.rows[0].meter.meter_id
    picture = parts.card(
        f"The last day of {meter_id}",
        parts.chart(first, f"Actual and expected power of meter {meter_id}", chart_id="now-chart"),
        note=["The first of the list. ", dcc.Link("Look closer", href=address.METER + address.meter_query(meter_id))],
        wide=True,
    )
    return [choice, card, picture]


def _heading(title: str, name: str, listing: Listing) -> parts.Content:
    if not name:
        return title
    arrow = "" if name != listing.order else " ▾" if listing.descending else " ▴"
    return dcc.Link(title + arrow, href=address.NOW + listing.by(name).query(), className="sort")


def _sorted_by(listing: Listing) -> tuple[int, str]:
    return ORDERS.index(listing.order), "descending" if listing.descending else "ascending"


def _cells(row: Row, zone: tzinfo) -> list[Any]:
    state, meter = row.state, row.meter
    band = f"{wording.number(meter.lower, 2)} to {wording.number(meter.upper, 2)}"
    mean, odd = row.day
    return [
        html.Span(
            [
                html.Span(className=f"mark small {state}", **parts.attributes(aria_hidden="true")),
                html.Span(STATE_WORDS[state]),
                html.Span(meter.kind if state == "anomalous" else None, className="note"),
            ],
            className=f"finding-small {state}",
        ),
        dcc.Link(meter.meter_id, href=address.METER + address.meter_query(meter.meter_id)),
        wording.moment(row.since, zone),
        wording.moment(meter.at, zone),
        wording.number(meter.power, 3),
        html.Span(
            wording.number(meter.expected, 3), title=f"95 % band: {band} kW" if meter.expected is not None else ""
        ),
        parts.grade(meter.severity) if state == "anomalous" and meter.severity is not None else wording.MISSING,
        sparkline(mean, odd),
    ]


def _pager(listed: Listed) -> html.Nav:
    listing, first = listed.listing, (listed.listing.page - 1) * PAGE_ROWS
    last = first + len(listed.rows)
    return parts.pager(
        f"{first + 1:,} to {last:,} of {listed.found:,} meter{'' if listed.found == 1 else 's'}",
        before=address.NOW + replace(listing, page=listing.page - 1).query() if listing.page > 1 else None,
        after=address.NOW + replace(listing, page=listing.page + 1).query() if last < listed.found else None,
    )
