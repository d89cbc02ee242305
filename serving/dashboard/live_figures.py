"""Actual against expected, with its band, the anomalous readings and the events' spans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from serving.dashboard import theme
from serving.dashboard.columns import local_seconds, packed, times, with_breaks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import tzinfo

    from numpy.typing import NDArray

    from serving.dashboard.theme import Figure

LINES = ("active_power_kw", "expected_kw", "lower_kw", "upper_kw")
FEW = 240  # so many readings and fewer are drawn as single points too
POWER = "%{y:.3f} kW"


def live_figure(
    columns: Mapping[str, NDArray[Any]],
    spans: Iterable[tuple[int, int]],
    *,
    window: tuple[int, int],
    zone: tzinfo,
    view: str,
) -> Figure:
    """Draw a meter's readings against what was expected of them.

    Args:
        columns: `at` (n,) unix seconds rising; `active_power_kw`, `expected_kw`, `lower_kw`, `upper_kw` (n,) kW, NaN
            where unknown; `score`, `threshold` (n,); `anomalous` (n,) bool.
        spans: (start, end) of the events in unix seconds, drawn as a tint behind the readings.
        window: (start, end) of what is looked at in unix seconds, whether readings reach so far or not.
        zone: the zone of the time axis.
        view: names what is looked at; while it stays the same, an update keeps the reader's zoom.
    """
    at = np.asarray(columns["at"], np.int64)
    if len(at) == 0:
        return theme.message("No readings in this range", view=view)
    resolution = (window[1] - window[0]) / max(len(at) - int(np.count_nonzero(columns["anomalous"])), 1)
    broken_at, lines = with_breaks(at, {name: columns[name] for name in LINES}, resolution=resolution)
    x = times(broken_at, zone)
    layout = theme.frame(x_title=f"Time ({zone})", y_title="Active power (kW)", view=view)
    layout["xaxis"] |= {"type": "date", "range": _milliseconds(window, zone)}
    layout["yaxis"] |= {"fixedrange": True, "rangemode": "tozero"}
    layout["shapes"] = [_span(span, zone) for span in spans]
    return {
        "data": [
            *_band(x, lines),
            _line(x, lines["expected_kw"], "Expected", theme.EXPECTED, dash="dot"),
            _line(x, lines["active_power_kw"], "Actual", theme.NORMAL, points=len(at) <= FEW),
            _anomalies(at, columns, zone),
        ],
        "layout": layout,
    }


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
        "connectgaps": False,
        "hovertemplate": POWER,
    }


def _band(x: object, lines: Mapping[str, NDArray[np.float64]]) -> list[Figure]:
    edge = {"type": "scatter", "mode": "lines", "x": x, "line": {"width": 0}, "connectgaps": False}
    lower = edge | {"y": packed(lines["lower_kw"]), "hoverinfo": "skip", "showlegend": False, "legendgroup": "band"}
    upper = edge | {
        "y": packed(lines["upper_kw"]),
        "name": "Expected, 95 % band",
        "fill": "tonexty",
        "fillcolor": theme.BAND,
        "customdata": packed(lines["lower_kw"]),
        "hovertemplate": "%{customdata:.3f} to %{y:.3f} kW",
        "legendgroup": "band",
    }
    return [lower, upper]


def _anomalies(at: NDArray[np.int64], columns: Mapping[str, NDArray[Any]], zone: tzinfo) -> Figure:
    found = np.flatnonzero(columns["anomalous"])
    power, score = (np.asarray(columns[name], np.float64)[found] for name in ("active_power_kw", "score"))
    if len(found) == 0:  # one point that is nowhere: the legend tells what an anomaly looks like before there is one
        found, power, score = np.zeros(1, np.int64), np.full(1, np.nan), np.full(1, np.nan)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "Anomalous",
        "x": times(at[found], zone),
        "y": packed(power),
        "customdata": packed(score),
        "marker": {"symbol": "diamond", "size": 7, "color": theme.ANOMALOUS},
        "hovertemplate": "score %{customdata:.2f}",
        "showlegend": True,
    }


def _span(span: tuple[int, int], zone: tzinfo) -> Figure:
    start, end = _milliseconds(span, zone)
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
