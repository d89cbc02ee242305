"""Actual against expected, with its band, the anomalous readings, and the events' spans with what they were."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from serving.dashboard import theme, wording
from serving.dashboard.columns import local_seconds, packed, times, with_breaks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import tzinfo

    from numpy.typing import NDArray

    from serving.dashboard.theme import Figure


class Span(NamedTuple):
    """An event as the chart shows it."""

    start: int  # unix seconds
    end: int
    kind: str


LINES = ("active_power_kw", "expected_kw", "lower_kw", "upper_kw")
FEW = 240  # so many readings and fewer are drawn as single points too
ROOM, LINE = 0.25, 14  # an event's words: their share of the picture's width, characters of a line
WORDS: Figure = {"showarrow": False, "font": {"size": 11}}
ABOVE, ABOVE_WITH_WORDS = 0.05, 0.2  # of the picture's height, empty
MINUTE = 60
POWER = "%{y:.3f} kW"


def live_figure(
    columns: Mapping[str, NDArray[Any]],
    spans: Sequence[Span],
    *,
    window: tuple[int, int],
    zone: tzinfo,
    view: str,
    nothing: str = "No readings in this range",
) -> Figure:
    """Draw a meter's readings against what was expected of them.

    Args:
        columns: `at` (n,) unix seconds rising; `active_power_kw`, `expected_kw`, `lower_kw`, `upper_kw` (n,) kW, NaN
            where unknown; `score`, `threshold` (n,); `anomalous` (n,) bool; `stands_for` (n,).
        spans: the events, drawn as a tint behind the readings.
        window: (start, end) of what is looked at in unix seconds, whether readings reach so far or not.
        zone: the zone of the time axis.
        view: names what is looked at; while it stays the same, lines that the reader has hidden stay hidden.
        nothing: what is said where there are no readings.
    """
    at = np.asarray(columns["at"], np.int64)
    if len(at) == 0:
        return theme.message(nothing, view=view)
    broken_at, lines = with_breaks(at, {name: columns[name] for name in LINES}, resolution=resolution(columns, window))
    x = times(broken_at, zone)
    layout = theme.frame(x_title=f"Time ({zone})", y_title="Active power (kW)", view=view)
    hover = {"hover": "%Y-%m-%d %H:%M:%S"} if (at % MINUTE).any() else {}
    layout["xaxis"] |= theme.time_axis(**hover) | {"range": _milliseconds(window, zone)}
    layout["shapes"] = [_tint(span, zone) for span in spans]
    layout["annotations"] = words = _words(spans, window, zone)
    layout["yaxis"] |= {"fixedrange": True, "rangemode": "tozero", **_height(lines, words=bool(words))}
    return {
        "data": [
            *_band(x, lines),
            _line(x, lines["expected_kw"], "Expected", theme.EXPECTED, dash="dot"),
            _line(x, lines["active_power_kw"], "Actual", theme.NORMAL, points=len(at) <= FEW)
            | {"customdata": packed(broken_at, "f8")},  # of a clicked reading, its time in UTC
            anomalies(columns, zone, hover="score %{customdata:.2f}"),
        ],
        "layout": layout,
    }


def resolution(columns: Mapping[str, NDArray[Any]], window: tuple[int, int]) -> float:
    """The coarsest usual step of a thinned series in seconds; all anomalous readings are in it, however close."""
    return (window[1] - window[0]) / max(len(columns["at"]) - int(np.count_nonzero(columns["anomalous"])), 1)


def _milliseconds(window: tuple[int, int], zone: tzinfo) -> list[int]:
    start, end = local_seconds(np.asarray(window, np.int64), zone)
    return [int(start) * 1000, int(end) * 1000]


def _line(
    x: object, values: NDArray[np.float64], name: str, colour: str, *, dash: str = "solid", points: bool = False
) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines+markers" if points else "lines",
        "name": name,
        "x": x,
        "y": packed(values),
        "line": {"color": colour, "width": 1.6, "dash": dash},
        "marker": {"symbol": "circle", "size": 4, "color": colour},
        "cliponaxis": not points,  # the newest one stands on the edge
        "connectgaps": False,
        "hovertemplate": POWER,
    }


def _band(x: object, lines: Mapping[str, NDArray[np.float64]]) -> list[Figure]:
    edge = {"type": "scatter", "mode": "lines", "x": x, "line": {"width": 0}, "connectgaps": False}
    lower = edge | {"y": packed(lines["lower_kw"]), "hoverinfo": "skip", "showlegend": False, "legendgroup": "band"}
    upper = edge | {
        "y": packed(lines["upper_kw"]),
        "name": "95 % band",
        "fill": "tonexty",
        "fillcolor": theme.BAND,
        "customdata": packed(lines["lower_kw"]),
        "hovertemplate": "%{customdata:.3f} to %{y:.3f} kW",
        "legendgroup": "band",
    }
    return [lower, upper]


def anomalies(columns: Mapping[str, NDArray[Any]], zone: tzinfo, *, hover: str) -> Figure:
    """The anomalous readings: a diamond each; where marks are shared, a bar from the first to the last one of each.

    Args:
        columns: `at`, `active_power_kw`, `score`, `anomalous`, `stands_for` (n,), as `queries.picture` answers them.
        zone: the zone of the time axis.
        hover: what is said of a reading, whose score is `%{customdata}`.
    """
    found = np.flatnonzero(columns["anomalous"])
    at = np.asarray(columns["at"], np.int64)[found]
    power, score = (np.asarray(columns[name], np.float64)[found] for name in ("active_power_kw", "score"))
    if len(found) == 0:  # one point that is nowhere: the legend tells what an anomaly looks like before there is one
        at, power, score = np.asarray(columns["at"][:1], np.int64), np.full(1, np.nan), np.full(1, np.nan)
    words = {"name": "Anomalous", "mode": "markers"}
    begins = np.flatnonzero(columns["stands_for"][found])
    if len(begins) < len(found):
        longest = wording.duration((np.append(at[begins[1:] - 1], at[-1]) - at[begins]).max())
        words = {"name": f"Anomalous (a bar: all within {longest})", "mode": "lines+markers"}
        at = np.insert(at, begins[1:], at[begins[1:]])
        power, score = (np.insert(values, begins[1:], np.nan) for values in (power, score))
    return {
        "type": "scatter",
        "x": times(at, zone),
        "y": packed(power),
        "customdata": packed(score),
        "marker": {"symbol": "diamond", "size": 7, "color": theme.ANOMALOUS},
        "line": {"color": theme.ANOMALOUS, "width": 5},
        "connectgaps": False,
        "cliponaxis": False,
        "hovertemplate": hover,
        "showlegend": True,
        **words,
    }


def _tint(span: Span, zone: tzinfo) -> Figure:
    start, end = _milliseconds((span.start, span.end), zone)
    return {
        "type": "rect",
        "xref": "x",
        "yref": "paper",
        "x0": start,
        "x1": end,
        "y0": 0,
        "y1": 1,
        "line": {"width": 0},
        "fillcolor": theme.EVENT_SPAN,
        "layer": "below",
    }


def _words(spans: Iterable[Span], window: tuple[int, int], zone: tzinfo) -> list[Figure]:
    """What each event was, at the top of its tint; where two would be written over each other, the newer one."""
    first, last = window
    width = ROOM * (last - first)
    words: list[Figure] = []
    free = float(last)  # what lies beyond is written on
    for span in sorted(spans, reverse=True):
        start, end = max(span.start, first), min(span.end, last)
        left = min(max((start + end - width) / 2, first), last - width)
        if start > end or left + width > free:
            continue
        free = left
        x, _ = _milliseconds((round(left + width / 2), last), zone)
        text = "<br>".join(textwrap.wrap(span.kind, LINE))
        words.append({"x": x, "y": 1, "xref": "x", "yref": "paper", "yanchor": "top", "text": text, **WORDS})
    return words


def _height(lines: Mapping[str, NDArray[np.float64]], *, words: bool) -> Figure:
    """The vertical range, zero included, with room above for words; left to the browser where nothing is known."""
    known = np.concatenate([lines[name][~np.isnan(lines[name])] for name in LINES])
    if not len(known):
        return {}
    low, high = min(float(known.min()), 0.0), max(float(known.max()), 0.0)
    above, below = (high - low) * (ABOVE_WITH_WORDS if words else ABOVE), (high - low) * ABOVE
    return {"range": [low - below if low < 0 else 0.0, high + above or 1.0]}
