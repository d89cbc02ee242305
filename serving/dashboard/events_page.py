"""The page of events: what stood out, what it cost, and whether it was real."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import dcc, html

from meterwatch.detection.intervals import wilson
from serving.dashboard import address, parts, wording
from serving.dashboard.event_listing import SEVERITIES, EventListing
from serving.dashboard.events_table import events_table
from serving.dashboard.precision import kept

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from meterwatch.storage.event_list import Events
    from serving.dashboard.precision import Kept

PAGE_ROWS = 50
LABEL_CHOICE = (("", "All"), ("open", "To judge"), ("real", "Real"), ("false_alarm", "False alarm"))


def page(
    meters: Sequence[str], kinds: Sequence[str], listing: EventListing, body: Sequence[Any], *, zone: tzinfo
) -> list[Any]:
    """The whole page: what can be asked for, and `body`, the table or what stands in for it."""
    asked = listing.asked
    severities = [(0, "Any"), *((least, f"{least}+") for least in SEVERITIES)]
    choices = html.Div(
        [
            parts.segmented(
                [
                    (name, address.EVENTS + listing.labelled(label).query(zone), label == asked.label)
                    for label, name in LABEL_CHOICE
                ],
                label="Label",
            ),
            parts.segmented(
                [
                    (name, address.EVENTS + listing.at_least(least).query(zone), least == asked.severity)
                    for least, name in severities
                ],
                label="Severity",
                titled=True,
            ),
            parts.field(
                "Kind",
                dcc.Dropdown(
                    id="event-kind",
                    options=sorted({*kinds, asked.kind} - {""}),
                    value=asked.kind or None,
                    placeholder="Any kind",
                    className="choice",
                    labels={"search": "Search kinds"},
                ),
            ),
            *parts.period("event", asked.start, asked.end, zone),
        ],
        className="filters",
    )
    meter = parts.meter_choice(meters, asked.meter_id, everyone=True)
    told = parts.keys(("j k", "row"), ("r", "real"), ("f", "false alarm"), ("n", "note"), ("u", "undo"))
    return [
        parts.heading("Events", meter, parts.saved(), told),
        choices,
        html.Div(body, id="events-body", className="stack"),
    ]


def events_body(
    found: Events,
    labelled: Sequence[tuple[float, bool]],
    listing: EventListing,
    *,
    zone: tzinfo,
    price: float,
    newest: int,
) -> list[Any]:
    """What the labels say, and a page of events; what to say where there is none.

    Args:
        found: the events.
        labelled: severity and truth of every labelled event of the meters that are looked at.
        listing: what was asked for.
        zone: the zone of times.
        price: of a kWh.
        newest: unix seconds of the newest reading, up to which an open event lasts.
    """
    asked = listing.asked
    if not found.rows and listing == EventListing():
        return [
            parts.notice("No event so far", "No reading of any meter was anomalous. An event appears here at once.")
        ]
    judged = precision_card(labelled, whose="of this meter" if asked.meter_id else "of all meters")
    if not found.rows:
        every = dcc.Link("Show every event", href=address.EVENTS)
        return [parts.notice("No event is like this", "Nothing fits all that is asked for above.", every), judged]
    first = (listing.page - 1) * PAGE_ROWS
    energy = found.above_kwh + found.below_kwh
    tiles = [
        parts.tile("Events", wording.number(found.total)),
        parts.tile("Above the expected", wording.signed(found.above_kwh, 1, "kWh")),
        parts.tile("Below the expected", wording.signed(found.below_kwh, 1, "kWh")),
        parts.tile("Cost of both", wording.signed(energy * price, 2), f"at {wording.number(price, 2)} a kWh"),
    ]
    table = events_table(
        found.rows, zone=zone, price=price, newest=newest, with_meter=asked.meter_id is None, judging=True
    )
    pager = parts.pager(
        f"{first + 1:,} to {first + len(found.rows):,} of {found.total:,} events, newest first",
        before=address.EVENTS + EventListing(asked, listing.page - 1).query(zone) if listing.page > 1 else None,
        after=address.EVENTS + EventListing(asked, listing.page + 1).query(zone)
        if first + len(found.rows) < found.total
        else None,
    )
    note = "Severity runs from 0 at the threshold towards 100; energy and cost are above (+) or below the expected."
    return [
        parts.card("Anomalous runs", html.Dl(tiles, className="tiles"), table, pager, note=note, wide=True),
        judged,
    ]


def precision_card(labelled: Sequence[tuple[float, bool]], *, whose: str) -> html.Section:
    """The share of alarms that were real, with its interval, now and at higher thresholds."""
    rows = kept(labelled)
    now = rows[0]
    if now.total == 0:
        return parts.card(
            "What the labels say",
            html.P(f"No event {whose} is labelled yet. Say of some whether they were real: press r or f on a row."),
            wide=True,
        )
    low, high = wilson(now.real, now.total)
    told = (
        f"{now.real:,} of {now.total:,} labelled events {whose} were real: a precision of "
        f"{_percent(now.real / now.total)}, and with so many labels anything from {_percent(low)} to {_percent(high)} "
        "is plausible (Wilson, 95 %), if the labelled ones are like the others."
    )
    columns = [
        ("If the threshold asked for", "raised"),
        ("Real kept", "number"),
        ("False alarms kept", "number"),
        ("Precision", "number"),
        ("95 % interval", "number"),
    ]
    table = parts.table(
        columns, [_raised(row, now) for row in rows], caption="Precision at higher thresholds", name="raised"
    )
    missed = "What no alarm told cannot be labelled here, so this says nothing about what was missed."
    return parts.card("What the labels say", html.P(told), table, html.P(missed, className="note"), wide=True)


def _raised(row: Kept, now: Kept) -> list[str]:
    low, high = wilson(row.real, row.total)
    name = "what it does now" if row.raised == 0 else f"{10**row.raised:.0f} times rarer readings"
    precision = (
        (_percent(row.real / row.total), f"{_percent(low)} to {_percent(high)}")
        if row.total
        else (wording.MISSING,) * 2
    )
    return [name, f"{row.real:,} of {now.real:,}", f"{row.false:,} of {now.false:,}", *precision]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
