"""What live readings say of the models: how a challenger compares in the champion's shadow, and what has moved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import dcc, html

from meterwatch.detection.drift import POWER_FACTOR, SCORE
from serving.dashboard import address, parts, wording
from serving.dashboard.events_table import around
from serving.dashboard.pattern_figures import CHANNEL_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo

    from meterwatch.detection.drift import Distance
    from meterwatch.storage.shadow import Comparison, Events
    from serving.drifting import Drift

POINTS = 100  # percentile points
FULL_BAR = 0.5  # a distance that fills the bar: all readings at the reference's edge
SIGNAL_WORDS = {**CHANNEL_NAMES, POWER_FACTOR: "Power factor", SCORE: "Score"}
SIDES = {"champion": "Champion only", "challenger": "Challenger only"}


def shadow_card(
    found: Comparison | None, events: Events, alone: Sequence[Mapping[str, Any]], *, zone: tzinfo
) -> html.Section:
    """How a challenger compares with the champion on what came in since it began.

    Args:
        found: the comparison; None where nothing is compared.
        events: how many each side has.
        alone: the newest events that only one side has.
        zone: the zone of times.
    """
    title = "Shadow: the challenger on live readings"
    if found is None:
        nothing = "No challenger: a version with that alias judges live readings beside the champion, without a say."
        return parts.card(title, html.P(nothing, className="note"), wide=True)
    counts = found.counts
    share = "none yet" if found.agreement is None else f"{100 * found.agreement:.2f} %"
    behind = wording.duration(found.behind_s) if found.behind_s else "Not at all"
    tiles = [
        parts.tile("Agreement", share, f"of {wording.number(counts.readings)} readings that both scored"),
        parts.tile("Anomalous to both", wording.number(counts.both), "readings"),
        parts.tile("To the champion only", wording.number(counts.champion_only),
                   f"readings; {_of(events.champion_only, events.champion)} events"),
        parts.tile("To the challenger only", wording.number(counts.challenger_only),
                   f"readings; {_of(events.challenger_only, events.challenger)} events"),
        parts.tile("Behind the stream", behind, _followed(found)),
    ]  # fmt: skip
    note = (
        f"Version {found.challenger} beside version {found.champion} since {wording.moment(found.begun_at, zone)} "
        f"({zone}), from the states that the stream had then, as after a promotion. Its verdicts are kept apart."
    )
    content: list[Any] = [html.Dl(tiles, className="tiles")]
    if alone:
        content.append(_alone(alone, zone))
    return parts.card(title, *content, note=note, wide=True)


def _of(some: int, every: int) -> str:
    return f"{wording.number(some)} of {wording.number(every)}"


def _followed(found: Comparison) -> str:
    told = f"{wording.number(found.meters)} meter{'' if found.meters == 1 else 's'} followed"
    again = found.counts.begun_again
    return f"{told}, {wording.number(again)} taken up anew" if again else told


def _alone(events: Sequence[Mapping[str, Any]], zone: tzinfo) -> html.Div:
    rows = []
    for event in events:
        start, end = int(event["start_at"]), event["end_at"]
        until = start if end is None else int(end)
        rows.append([
            dcc.Link(wording.moment(start, zone), href=address.METER + around(event, until).search(zone)),
            SIDES[event["side"]],
            str(event["meter_id"]),
            "going on" if end is None else wording.duration(until - start) if until > start else "1 reading",
            str(event["kind"]),
            parts.grade(float(event["severity"])),
        ])  # fmt: skip
    columns = [
        (f"Start ({zone})", "start"), ("Seen by", "label"), ("Meter", "meter"), ("Lasted", "number lasts"),
        ("Kind", "kind"), ("Severity", "number grading"),
    ]  # fmt: skip
    return parts.table(columns, rows, caption="Events that only one of both sees, newest first", name="events")


def drift_card(found: Drift | None) -> html.Section:
    """How far the newest day is from the days that the champion was made of; None: not looked at yet."""
    title = "Drift: the newest day beside the days that the champion was made of"
    if found is None:
        return parts.card(title, html.P("Not looked at yet; it is once a minute.", className="note"), wide=True)
    if found.distances is None:
        unknown = f"Unknown: version {found.version} was made before bundles said how their readings were distributed."
        return parts.card(title, html.P([unknown, " ", html.Code("dvc repro"), " makes one."], className="note"),
                          wide=True)  # fmt: skip
    if not found.meters:
        waits = "Unknown yet: a meter is compared once it has a week of readings, and most of its last day."
        return parts.card(title, html.P(waits, className="note"), wide=True)
    meters = f"{wording.number(found.meters)} meter{'' if found.meters == 1 else 's'}"
    note = (
        f"By how many percentile points the last 24 hours of {meters} have moved, on average, from the days that "
        f"version {found.version} was made of; one in a hundred of those days went beyond “usual”. Power, current and "
        "sub-meters count by the meter's own mean power."
    )
    rows = [
        [
            SIGNAL_WORDS[one.signal],
            _moved(one),
            wording.number(one.usual * POINTS, 1),
            html.Span("Beyond usual", className="going-on") if one.drifted else _calm(one),
        ]
        for one in found.distances
    ]
    columns = [("Signal", "measure"), ("Moved by, points", ""), ("Usual, up to", "number"), ("State", "")]
    return parts.card(
        title, parts.table(columns, rows, caption="Drift by signal", name="compared drift"), note=note, wide=True
    )


def _calm(one: Distance) -> str:
    return "no readings with it" if one.distance is None else "as usual"


def _moved(one: Distance) -> parts.Content:
    if one.distance is None:
        return wording.MISSING
    width, limit = (f"{100 * min(value / FULL_BAR, 1):.0f}%" for value in (one.distance, one.usual))
    bar = [html.Span(className="fill", style={"width": width}), html.Span(className="limit", style={"left": limit})]
    return html.Span(
        [
            html.Span(bar, className="bar" if one.drifted else "bar calm", **parts.attributes(aria_hidden="true")),
            html.Span(wording.number(one.distance * POINTS, 1), className="grade"),
        ],
        className="severity",
    )
