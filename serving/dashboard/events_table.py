"""Events as a table, with or without the buttons that label them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import dcc, html

from serving.dashboard import address, parts, wording
from serving.dashboard.address import View

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo

LEAST_MARGIN = 3600  # seconds seen on either side of an event that is looked at
LABEL_WORDS = {"real": "Real", "false_alarm": "False alarm"}


def events_table(
    events: Sequence[Mapping[str, Any]],
    *,
    zone: tzinfo,
    price: float,
    newest: int,
    with_meter: bool,
    judging: bool = False,
) -> html.Div:
    """A row an event; the start leads to the meter's page at that time.

    Args:
        events: rows of the table of events with `label` and `note`, times in unix seconds.
        zone: the zone of times.
        price: of a kWh.
        newest: unix seconds of the newest reading, up to which an open event lasts.
        with_meter: whether the meter is named.
        judging: whether labels can be given.
    """
    columns = [
        (f"Start ({zone})", "start"),
        ("End", "end"),
        ("Duration", "number lasts"),
        ("Kind", "kind"),
        ("Severity", "number grading"),
        ("Energy", "number energy"),
        ("Cost", "number cost"),
        ("Was it real?" if judging else "Label", "label"),
    ]
    rows = [_cells(event, zone=zone, price=price, newest=newest, judging=judging) for event in events]
    if with_meter:
        columns.insert(0, ("Meter", "meter"))
        rows = [[str(event["meter_id"]), *cells] for event, cells in zip(events, rows, strict=True)]
    marked = [_marked(event) for event in events] if judging else []
    return parts.table(columns, rows, caption="Events, newest first", name="events", marked=marked)


def _marked(event: Mapping[str, Any]) -> dict[str, Any]:
    told = parts.attributes(
        data_event=str(event["event_id"]), data_label=event["label"] or "", data_note=event["note"] or ""
    )
    return {**told, "tabIndex": -1, "key": str(event["event_id"])}


def _cells(event: Mapping[str, Any], *, zone: tzinfo, price: float, newest: int, judging: bool) -> list[Any]:
    start, end, energy = int(event["start_at"]), event["end_at"], event["energy_kwh"]
    until = max(newest, start) if end is None else int(end)
    return [
        dcc.Link(wording.moment(start, zone), href=address.METER + around(event, until).search(zone)),
        html.Span("going on", className="going-on") if end is None else wording.moment(int(end), zone),
        wording.duration(until - start) if until > start else "1 reading",
        str(event["kind"]),
        parts.grade(float(event["severity"])),
        wording.signed(energy, 2, "kWh"),
        wording.signed(None if energy is None else float(energy) * price, 2),
        _buttons(event) if judging else _label(event),
    ]


def _label(event: Mapping[str, Any]) -> str:
    return LABEL_WORDS.get(event["label"], wording.MISSING)


def _buttons(event: Mapping[str, Any]) -> html.Div:
    """Real or not, and a note; what they do is in assets/labels.js."""
    said = [
        html.Button(
            name,
            className=f"say {label}",
            type="button",
            **parts.attributes(data_say=label, aria_pressed=str(event["label"] == label).lower()),
        )
        for label, name in LABEL_WORDS.items()
    ]
    note = html.Button(
        event["note"] or "Note",
        className="say note-button" if event["note"] else "say note-button none",
        type="button",
        title=event["note"] or None,
        **parts.attributes(data_say="note"),
    )
    return html.Div([html.Div(said, className="says", role="group", **parts.attributes(aria_label="Label")), note],
                    className="labelling")  # fmt: skip


def around(event: Mapping[str, Any], until: int) -> View:
    """The meter's page around an event and its peak, with as much time on either side as it lasts, an hour at least."""
    start = int(event["start_at"])
    margin = max(until - start, LEAST_MARGIN)
    return View(str(event["meter_id"]), start=start - margin, end=until + margin, at=int(event["peak_at"]))
