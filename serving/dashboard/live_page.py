"""The live page: a meter's readings against what was expected, and the newest verdict in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import dcc, html

from serving.dashboard import address, parts, wording
from serving.dashboard.events_table import events_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo

    from serving.dashboard.address import View
    from serving.dashboard.theme import Figure

CHART_LABEL = "Actual power against the expected, with its 95 percent band and the anomalous readings"
EXPLAINING = html.P("Asking the service", className="note")
NO_EVENT = html.P("No event so far.", className="note")


def page(
    meters: Sequence[str],
    view: View,
    figure: Figure,
    verdict: Sequence[Any],
    events: Sequence[Any],
    *,
    newest: int,
    window: tuple[int, int],
    panels: int,
    zone: tzinfo,
) -> list[Any]:
    """The whole page.

    Args:
        meters: those to choose from.
        view: what is looked at.
        figure: the picture.
        verdict: what the card of the newest verdict holds.
        events: what the card of events holds.
        newest: the time of the newest reading.
        window: the ends of what is looked at, unix seconds.
        panels: how many the picture has below the power.
        zone: the zone of times.
    """
    start, end = (None, None) if view.live else window
    return [
        dcc.Store(id="live-newest", data=newest),
        dcc.Store(id="explained"),
        parts.heading(
            "Meter",
            parts.meter_choice(meters, view.meter_id),
            parts.segmented(
                [
                    (name, address.METER + view.with_range(key).search(zone), view.live and key == view.range)
                    for key, name in address.RANGE_NAMES.items()
                ],
                label="Range up to now",
            ),
            _following(view, zone),
        ),
        html.Div(
            [*parts.period("meter", start, end, zone), *_steps(view, window, zone), parts.saved()],
            className="filters",
        ),
        html.Section(
            verdict, id="live-verdict", className="card verdict", **parts.attributes(aria_label="Newest verdict")
        ),
        parts.card(
            "Actual against expected",
            parts.chart(figure, CHART_LABEL, size=f"tall panels-{panels}", chart_id="live-chart"),
            note=[
                html.Span("Drag across it to look closer, click a reading to ask why. ", className="with-mouse"),
                "Of a long range the extremes of power are drawn, the other channels at their times. ",
                "Every anomaly is in a red mark: a diamond is one reading, ",
                "a bar reaches from the first of several to the last.",
            ],
            wide=True,
        ),
        parts.card("Why", html.Div(EXPLAINING, id="explanation"), wide=True),
        parts.card("Events of this meter", html.Div(events, id="live-events"), wide=True),
    ]


def _steps(view: View, window: tuple[int, int], zone: tzinfo) -> list[dcc.Link]:
    """Addresses of the same length of time before and after, and of twice the length."""
    start, end = window
    length = end - start
    steps = (
        ("Earlier", start - length, start),
        ("Later", end, end + length),
        ("Wider", start - length // 2, end + length // 2),
    )
    return [
        dcc.Link(name, href=address.METER + view.of_window(max(first, 0), last).search(zone), className="button")
        for name, first, last in steps
        if not (view.live and name == "Later")
    ]


def _following(view: View, zone: tzinfo) -> parts.Content:
    if not view.live:
        return dcc.Link(
            "Back to now", href=address.METER + view.with_range(view.range).search(zone), className="button"
        )
    return html.Button("Pause", id="pause", className="button", n_clicks=0, **parts.attributes(aria_pressed="false"))


def verdict_card(newest: Mapping[str, Any], *, why: str, zone: tzinfo) -> list[Any]:
    """The newest verdict in words: status, score against threshold, expected, reason.

    Args:
        newest: `at`, `status`, `anomalous`, `score`, `threshold`, `active_power_kw`, `expected_kw`, `lower_kw`,
            `upper_kw`, `reason`, `model_version`; numbers None where unknown.
        why: the address that explains it.
        zone: the zone of times.
    """
    status = str(newest["status"])
    state = wording.verdict_state(status, anomalous=bool(newest["anomalous"]))
    scored = status == "scored"
    band = f"{wording.number(newest['lower_kw'], 2)} to {wording.number(newest['upper_kw'], 2, 'kW')}"
    tiles = [
        parts.tile("Actual", wording.number(newest["active_power_kw"], 3, "kW"), "active power"),
        parts.tile("Expected", wording.number(newest["expected_kw"], 3, "kW"), band if scored else ""),
        parts.tile(
            "Score",
            wording.number(newest["score"], 2),
            f"anomalous from {wording.number(newest['threshold'], 2)}" if scored else "",
        ),
    ]
    return [
        html.Div(
            [
                html.Span(className=f"mark {state}", **parts.attributes(aria_hidden="true")),
                html.Div(
                    [
                        html.P(f"Newest reading, {wording.moment(newest['at'], zone)} ({zone})", className="note"),
                        html.Strong(wording.STATUS_WORDS[state], className="state"),
                        html.P([_sentence(newest), " ", dcc.Link("Why?", href=why)]),
                    ]
                ),
            ],
            className=f"finding {state}",
        ),
        html.Dl(tiles, className="tiles"),
    ]


def _sentence(newest: Mapping[str, Any]) -> str:
    """Why: the model's own reason where it gives one, else what the score or the status means."""
    status = str(newest["status"])
    if status in wording.STATUS_SENTENCES:
        return newest["reason"] or wording.STATUS_SENTENCES[status]
    often = wording.rarity(float(newest["score"]))
    if not newest["anomalous"]:
        return f"Within the usual: in normal running, readings like this come {often}."
    rarity = f"In normal running, readings like this come {often}."
    return f"{newest['reason']}. {rarity}" if newest["reason"] else rarity


def recent_events(
    events: Sequence[Mapping[str, Any]], view: View, *, zone: tzinfo, price: float, newest: int
) -> list[Any]:
    """The meter's newest events and the way to all of them."""
    if not events:
        return [NO_EVENT]
    where = address.EVENTS + address.meter_query(view.meter_id)
    return [
        events_table(events, zone=zone, price=price, newest=newest, with_meter=False),
        html.P(dcc.Link("All events of this meter", href=where)),
    ]
