"""The events: runs of anomalous readings, what they were and what they cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import dcc, html

from serving.dashboard import address, parts, wording
from serving.dashboard.address import View

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo

SHOWN = 100
LEAST_MARGIN = 3600  # seconds seen on either side of an event that is looked at


def page(meters: Sequence[str], view: View, body: Sequence[Any]) -> list[Any]:
    """The whole page; `body` is the table or what stands in for it."""
    return [
        parts.heading("Events", parts.meter_choice(meters, view.meter_id, everyone=True)),
        html.Div(body, id="events-body"),
    ]


def events_body(
    events: Sequence[Mapping[str, Any]],
    total: int,
    view: View,
    *,
    zone: tzinfo,
    price: float,
    newest: int,
) -> list[Any]:
    """The newest events as a table; what to say where there is none."""
    if not events:
        whose = "of this meter" if view.meter_id else "of any meter"
        return [parts.notice("No event so far", f"No reading {whose} was anomalous. An event appears here at once.")]
    count = f"{total:,} event{'' if total == 1 else 's'}"
    note = count if total <= len(events) else f"The newest {len(events):,} of {count}"
    return [
        parts.card(
            "Anomalous runs, newest first",
            events_table(events, zone=zone, price=price, newest=newest, with_meter=view.meter_id is None),
            note=f"{note}. {explained(price)}",
            wide=True,
        )
    ]


def explained(price: float) -> str:
    """What the numbers of the table mean."""
    return (
        "Severity runs from 0 at the threshold towards 100. Energy and cost are above (+) or below (−) the expected, "  # noqa: RUF001
        f"at {wording.number(price, 2)} a kWh."
    )


def events_table(
    events: Sequence[Mapping[str, Any]], *, zone: tzinfo, price: float, newest: int, with_meter: bool
) -> html.Div:
    """A row an event; the start leads to the live page at that time.

    Args:
        events: rows of the table of events, times in unix seconds.
        zone: the zone of times.
        price: of a kWh.
        newest: unix seconds of the newest reading, up to which an open event lasts.
        with_meter: whether the meter is named.
    """
    columns = [
        (f"Start ({zone})", "start"),
        ("End", "end"),
        ("Duration", "number lasts"),
        ("Kind", "kind"),
        ("Severity", "number grading"),
        ("Energy", "number energy"),
        ("Cost", "number cost"),
    ]
    rows = [_cells(event, zone=zone, price=price, newest=newest) for event in events]
    if with_meter:
        columns.insert(0, ("Meter", "meter"))
        rows = [[str(event["meter_id"]), *cells] for event, cells in zip(events, rows, strict=True)]
    return parts.table(columns, rows, caption="Events, newest first", name="events")


def _cells(event: Mapping[str, Any], *, zone: tzinfo, price: float, newest: int) -> list[Any]:
    start, end, energy = int(event["start_at"]), event["end_at"], event["energy_kwh"]
    until = max(newest, start) if end is None else int(end)
    severity = float(event["severity"])
    return [
        dcc.Link(wording.moment(start, zone), href=address.LIVE + around(event, until).search(zone)),
        html.Span("going on", className="going-on") if end is None else wording.moment(int(end), zone),
        wording.duration(until - start) if until > start else "1 reading",
        str(event["kind"]),
        html.Span(
            [
                html.Span(
                    html.Span(className="fill", style={"width": f"{min(max(severity, 0), 100):.0f}%"}),
                    className="bar",
                    **parts.attributes(aria_hidden="true"),
                ),
                html.Span(f"{severity:.0f}", className="grade"),
            ],
            className="severity",
        ),
        wording.signed(energy, 2, "kWh"),
        wording.signed(None if energy is None else float(energy) * price, 2),
    ]


def around(event: Mapping[str, Any], until: int) -> View:
    """The live page's view of an event, with as much time on either side as it lasts, an hour at least."""
    start = int(event["start_at"])
    margin = max(until - start, LEAST_MARGIN)
    return View(str(event["meter_id"]), start=start - margin, end=until + margin)
