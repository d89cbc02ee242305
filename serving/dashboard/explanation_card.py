"""Why a reading was judged so, in words and bars: what `GET /v1/meters/{id}/explain` answers."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dash import dcc, html

from serving.dashboard import parts, wording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo

HOW = html.P(
    "Click a reading in the picture above: what its score is made of, what is usual then, which model said it.",
    className="note",
)
SHOWN = 8  # parts of a score, the largest ones
DAY_MIN, HOUR_MIN = 1440, 60
CHARACTERS = 12  # of a hash
FRACTION = re.compile(r"\d+\.\d+")


def explanation(told: Mapping[str, Any] | None, *, zone: tzinfo, close: str) -> list[Any]:
    """What the card holds.

    Args:
        told: the service's answer with `ok`; None where no reading was asked for. Parts that it lacks are left out.
        zone: the zone of times.
        close: the address without the reading.
    """
    if told is None:
        return [HOW]
    closing = dcc.Link("Close", href=close, className="button")
    if not told.get("ok"):
        said = html.P(str(told.get("detail") or "The service did not say why."))
        return [html.Div([said, closing], className="between")]
    verdict, reading = told.get("verdict") or {}, told.get("reading") or {}
    return [
        html.Div([_headline(str(told.get("at")), reading, verdict, zone), closing], className="between"),
        html.Div(
            [
                *_made_of(told, verdict),
                *_shares("By channel", told.get("by_channel") or {}, str),
                *_shares("By time scale", told.get("by_window_min") or {}, _window),
                *_earlier(told.get("same_hour_earlier_weeks") or [], reading, zone),
                *_lineage(told.get("lineage") or {}),
            ],
            className="why",
        ),
    ]


def _headline(at: str, reading: Mapping[str, Any], verdict: Mapping[str, Any], zone: tzinfo) -> html.Div:
    status = str(verdict.get("status"))
    state = wording.verdict_state(status, anomalous=bool(verdict.get("anomalous")))
    said = [wording.STATUS_SENTENCES.get(status) or str(verdict.get("reason") or "Within the usual.")]
    if status == "scored":
        names = ("expected_kw", "lower_kw", "upper_kw", "score", "threshold")
        expected, lower, upper, score, threshold = (wording.number(verdict.get(name), 2) for name in names)
        often = wording.rarity(float(verdict.get("score") or 0.0))
        said.append(
            f"Expected {expected} kW ({lower} to {upper} kW); score {score}, anomalous from {threshold}: "
            f"such readings come {often}."
        )
    power = wording.number(reading.get("active_power_kw"), 3, "kW")
    return html.Div(
        [
            html.Span(className=f"mark {state}", **parts.attributes(aria_hidden="true")),
            html.Div(
                [
                    html.P(f"Reading of {_moment(at, zone)} ({zone})", className="note"),
                    html.Strong(f"{power}: {wording.STATUS_WORDS.get(state, state).lower()}", className="state"),
                    *(html.P(sentence) for sentence in said),
                ]
            ),
        ],
        className=f"finding {state}",
    )


def _made_of(told: Mapping[str, Any], verdict: Mapping[str, Any]) -> list[Any]:
    found = told.get("contributions")
    if not found:
        missing = told.get("contributions_missing")
        return [_part("What the score is made of", html.P(str(missing)))] if missing else []
    largest = sorted(found, key=lambda part: -abs(float(part.get("amount") or 0.0)))[:SHOWN]
    rows = [(_words(part), float(part.get("amount") or 0.0), _usual(part)) for part in largest]
    score = wording.number(verdict.get("score"), 2)
    left = f" The {len(found) - SHOWN} smallest parts are left out." if len(found) > SHOWN else ""
    note = html.P(f"Together with the rest they sum to the score, {score}.{left}", className="note")
    return [_part("What the score is made of", _bars(rows), note, wide=True)]


def _words(part: Mapping[str, Any]) -> str:
    words, window = str(part.get("words")), part.get("window_min")
    return f"{words}, {_window(str(window))}" if window and " over " not in words else words


def _usual(part: Mapping[str, Any]) -> str:
    if part.get("value") is None:
        return ""
    unit = str(part.get("unit") or "")
    said = wording.number(part["value"], 2, unit)
    low, high = part.get("usual_low"), part.get("usual_high")
    if part.get("usual") is None:
        return said
    between = (
        f" ({wording.number(low, 2)} to {wording.number(high, 2)})" if low is not None and high is not None else ""
    )
    return f"{said}, usually {wording.number(part['usual'], 2)}{between}"


def _shares(title: str, sums: Mapping[str, float], name: Any) -> list[Any]:  # noqa: ANN401 - a function of a text
    rows = [(name(key), float(amount), "") for key, amount in sorted(sums.items(), key=lambda one: -abs(one[1]))]
    return [_part(title, _bars(rows))] if rows else []


def _window(minutes: str) -> str:
    if not minutes.isdigit():
        return minutes
    count = int(minutes)
    for size, unit in ((DAY_MIN, "day"), (HOUR_MIN, "hour")):
        if count >= size and count % size == 0:
            return f"{count // size} {unit}{'' if count == size else 's'}"
    return f"{count} minutes"


def _bars(rows: Sequence[tuple[str, float, str]]) -> html.Ul:
    """Amounts as bars to the right (rarer) or to the left (more usual) of a middle line, with their number."""
    most = max((abs(amount) for _, amount, _ in rows), default=1.0) or 1.0
    items = []
    for name, amount, note in rows:
        width = f"{50 * abs(amount) / most:.1f}%"
        side = {"left": "50%"} if amount >= 0 else {"right": "50%"}
        fill = html.Span(className=f"amount {'rarer' if amount >= 0 else 'usual'}", style={**side, "width": width})
        items.append(
            html.Li(
                [
                    html.Span([name, *([html.Span(note, className="note")] if note else [])], className="what"),
                    html.Span(fill, className="balance", **parts.attributes(aria_hidden="true")),
                    html.Span(wording.signed(amount, 2), className="number"),
                ]
            )
        )
    return html.Ul(items, className="bars")


def _earlier(hours: Sequence[Mapping[str, Any]], reading: Mapping[str, Any], zone: tzinfo) -> list[Any]:
    if not hours:
        return []
    rows = [
        [
            _moment(str(hour.get("at")), zone),
            wording.number(hour.get("mean_kw"), 3),
            f"{wording.number(hour.get('least_kw'), 2)} to {wording.number(hour.get('greatest_kw'), 2)}",
            "anomalous" if hour.get("anomalous") else "",
        ]
        for hour in hours
    ]
    columns = [(f"Hour ({zone})", ""), ("Mean, kW", "number"), ("Range, kW", "number"), ("", "")]
    this = html.P(f"This reading: {wording.number(reading.get('active_power_kw'), 3, 'kW')}.", className="note")
    return [_part("The same hour in earlier weeks", parts.table(columns, rows, caption="Earlier weeks"), this)]


def _lineage(lineage: Mapping[str, Any]) -> list[Any]:
    tiles = []
    for name, value in lineage.items():
        if isinstance(value, str | int | float) and str(value) and "." not in name:  # not MLflow's own tags
            text = wording.number(float(value), 2) if FRACTION.fullmatch(str(value)) else str(value)
            short = f"{text[:CHARACTERS]}…" if len(text) > 2 * CHARACTERS else text
            tiles.append(html.Div([html.Dt(name.replace("_", " ").capitalize()), html.Dd(short, title=text)]))
    return [_part("Where the verdict comes from", html.Dl(tiles, className="lineage"))] if tiles else []


def _part(title: str, *content: Any, wide: bool = False) -> html.Section:  # noqa: ANN401 - what Dash takes as children
    return html.Section([html.H3(title), *content], className="part wide" if wide else "part")


def _moment(text: str, zone: tzinfo) -> str:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    return wording.moment(int(at.timestamp()), zone)
