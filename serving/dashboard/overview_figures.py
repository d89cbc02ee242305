"""A meter's whole history over time: every reading, days and months."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from serving.dashboard import theme
from serving.dashboard.columns import local_seconds, packed, times
from serving.dashboard.live_figures import anomalies

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo

    from numpy.typing import NDArray

    from serving.dashboard.theme import Figure

SHORTEST_MS = 600_000  # that a time axis shows
HOVER = "%{x|%Y-%m-%d %H:%M}, %{y:.3f} kW"
EACH_DAY = 10  # so many days and fewer are named one by one


def scatter_figure(columns: Mapping[str, NDArray[Any]], *, zone: tzinfo, view: str) -> Figure:
    """Power over time as single points: normal ones blue circles, anomalous ones red diamonds.

    Args:
        columns: `at` (n,) unix seconds, `active_power_kw` (n,) kW with NaN where missing, `score`, `anomalous` bool
            and `stands_for` (n,).
        zone: the zone of the time axis.
        view: names what is looked at.
    """
    at, power = np.asarray(columns["at"], np.int64), np.asarray(columns["active_power_kw"], np.float64)
    anomalous = np.asarray(columns["anomalous"], bool)
    if len(at) == 0:
        return theme.message("No readings", view=view)
    layout = theme.frame(x_title=f"Time ({zone})", y_title="Active power (kW)", view=view)
    layout["hovermode"] = "closest"
    begin, end = (int(second) * 1000 for second in local_seconds(at[[0, -1]], zone))
    layout["xaxis"] |= theme.time_axis() | {"range": [begin, max(end, begin + SHORTEST_MS)]}
    layout["yaxis"]["rangemode"] = "tozero"
    normal = {"color": theme.NORMAL, "symbol": "circle", "size": 4, "opacity": 0.7}
    return {
        "data": [
            _points("Normal", at[~anomalous], power[~anomalous], zone, normal),
            anomalies(columns, zone, hover=HOVER),
        ],
        "layout": layout,
    }


def _points(
    name: str, at: NDArray[np.int64], power: NDArray[np.float64], zone: tzinfo, marker: Mapping[str, object]
) -> Figure:
    """`showlegend`, because the legend tells what an anomaly looks like before there is one."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": times(at, zone) if len(at) else [None],
        "y": packed(power) if len(at) else [None],
        "marker": marker,
        "cliponaxis": False,
        "showlegend": True,
        "hovertemplate": HOVER,
    }


def monthly_figure(
    months: Sequence[str], mean_kw: NDArray[np.float64], average_kw: NDArray[np.float64], *, view: str
) -> Figure:
    """Mean power of each month with its two-month moving average.

    Args:
        months: (n,) as 2007-11.
        mean_kw: (n,) kW, NaN where a month has no power.
        average_kw: (n,) kW, NaN where there is no month before.
        view: names what is looked at.
    """
    if np.isnan(mean_kw).all():
        return theme.message("No reading with power yet", view=view)
    layout = theme.frame(x_title="Month", y_title="Mean power (kW)", view=view)
    layout["xaxis"] |= {"type": "category", "showgrid": False}
    layout["yaxis"]["rangemode"] = "tozero"
    layout["bargap"] = 0.4
    return {
        "data": [
            _bars(list(months), mean_kw, "Monthly mean", "%{y:.3f} kW"),
            _average(list(months), average_kw, "Two-month moving average", "%{y:.3f} kW", points=True),
        ],
        "layout": layout,
    }


def daily_figure(
    days: Sequence[str],
    total_kwh: NDArray[np.float64],
    average_kwh: NDArray[np.float64],
    *,
    window: int,
    zone: tzinfo,
    view: str,
) -> Figure:
    """Energy of each day with its moving average.

    Args:
        days: (n,) as 2007-11-30.
        total_kwh: (n,) kWh, NaN where a day has no power.
        average_kwh: (n,) kWh, NaN where too few days stand before.
        window: days of the moving average.
        zone: whose days.
        view: names what is looked at.
    """
    if np.isnan(total_kwh).all():
        return theme.message("A day's energy is known from<br>its second reading with power on", view=view)
    layout = theme.frame(x_title=f"Day ({zone})", y_title="Energy (kWh)", view=view)
    layout["xaxis"] |= theme.time_axis(hover="%a %Y-%m-%d") | {"showgrid": False}
    if len(days) <= EACH_DAY:
        layout["xaxis"]["dtick"] = theme.DAY_MS
    layout["yaxis"]["rangemode"] = "tozero"
    return {
        "data": [
            _bars(list(days), total_kwh, "Daily total", "%{y:.1f} kWh") | {"width": 0.85 * theme.DAY_MS},
            _average(list(days), average_kwh, f"{window}-day moving average", "%{y:.1f} kWh"),
        ],
        "layout": layout,
    }


def _bars(x: list[str], values: NDArray[np.float64], name: str, hover: str) -> Figure:
    marker = {"color": theme.NORMAL, "opacity": 0.6}
    return {"type": "bar", "name": name, "x": x, "y": packed(values), "marker": marker, "hovertemplate": hover}


def _average(x: list[str], values: NDArray[np.float64], name: str, hover: str, *, points: bool = False) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines+markers" if points else "lines",
        "name": name,
        "x": x,
        "y": packed(values),
        "line": {"color": theme.AVERAGE, "width": 2.5},
        "marker": {"size": 7, "symbol": "square"},
        "hovertemplate": hover,
    }
