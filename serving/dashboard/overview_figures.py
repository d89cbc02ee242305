"""The pictures of a meter's whole history: what it used, when it uses it, how its channels go together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from serving.dashboard import theme
from serving.dashboard.columns import packed, times

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo

    from numpy.typing import NDArray

    from serving.dashboard.theme import Figure

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
CHANNEL_NAMES = {
    "active_power_kw": "Active power",
    "reactive_power_kvar": "Reactive power",
    "voltage_v": "Voltage",
    "current_a": "Current",
    "sub_metering_1_wh": "Sub-meter 1",
    "sub_metering_2_wh": "Sub-meter 2",
    "sub_metering_3_wh": "Sub-meter 3",
}


def scatter_figure(columns: Mapping[str, NDArray[Any]], *, zone: tzinfo, view: str) -> Figure:
    """Power over time as single points: normal ones blue circles, anomalous ones red diamonds.

    Args:
        columns: `at` (n,) unix seconds, `active_power_kw` (n,) kW with NaN where missing, `anomalous` (n,) bool.
        zone: the zone of the time axis.
        view: names what is looked at.
    """
    at, power = np.asarray(columns["at"], np.int64), np.asarray(columns["active_power_kw"], np.float64)
    anomalous = np.asarray(columns["anomalous"], bool)
    layout = theme.frame(x_title=f"Time ({zone})", y_title="Active power (kW)", view=view)
    layout["hovermode"] = "closest"
    layout["xaxis"]["type"] = "date"
    return {
        "data": [
            _points("Normal", at[~anomalous], power[~anomalous], zone, color=theme.NORMAL, symbol="circle", size=4),
            _points(
                "Anomalous", at[anomalous], power[anomalous], zone, color=theme.ANOMALOUS, symbol="diamond", size=7
            ),
        ],
        "layout": layout,
    }


def _points(name: str, at: NDArray[np.int64], power: NDArray[np.float64], zone: tzinfo, **marker: object) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": times(at, zone),
        "y": packed(power),
        "marker": {"opacity": 0.7, **marker},
        "hovertemplate": "%{x|%Y-%m-%d %H:%M}, %{y:.3f} kW",
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
    layout = theme.frame(x_title="Month", y_title="Mean power (kW)", view=view)
    layout["xaxis"]["type"] = "category"
    layout["yaxis"]["rangemode"] = "tozero"
    return {
        "data": [
            _bars(list(months), mean_kw, "Monthly mean", "%{y:.3f} kW"),
            _average(list(months), average_kw, "Two-month moving average", "%{y:.3f} kW", points=True),
        ],
        "layout": layout,
    }


def daily_figure(
    days: Sequence[str], total_kwh: NDArray[np.float64], average_kwh: NDArray[np.float64], *, window: int, view: str
) -> Figure:
    """Energy of each day with its moving average.

    Args:
        days: (n,) as 2007-11-30.
        total_kwh: (n,) kWh, NaN where a day has no power.
        average_kwh: (n,) kWh, NaN where too few days stand before.
        window: days of the moving average.
        view: names what is looked at.
    """
    layout = theme.frame(x_title="Day", y_title="Energy (kWh)", view=view)
    layout["xaxis"]["type"] = "date"
    layout["yaxis"]["rangemode"] = "tozero"
    layout["bargap"] = 0.15
    return {
        "data": [
            _bars(list(days), total_kwh, "Daily total", "%{y:.1f} kWh"),
            _average(list(days), average_kwh, f"{window}-day moving average", "%{y:.1f} kWh"),
        ],
        "layout": layout,
    }


def _bars(x: list[str], values: NDArray[np.float64], name: str, hover: str) -> Figure:
    marker = {"color": theme.NORMAL, "opacity": 0.55}
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


def week_figure(mean_kw: NDArray[np.float64], *, zone: tzinfo, view: str) -> Figure:
    """Mean power by weekday and hour.

    Args:
        mean_kw: (7, 24) kW, Monday first, NaN where nothing was measured.
        zone: the zone of hours and weekdays.
        view: names what is looked at.
    """
    layout = theme.frame(x_title=f"Hour of the day ({zone})", y_title="", view=view, legend=False)
    layout["hovermode"] = "closest"
    layout["xaxis"] |= {"dtick": 3, "showgrid": False}
    layout["yaxis"] |= {"autorange": "reversed", "showgrid": False}
    heat = _heat(mean_kw, theme.SEQUENTIAL, title="kW") | {
        "x": list(range(24)),
        "y": list(WEEKDAYS),
        "hovertemplate": "%{y}, %{x}:00: %{z:.2f} kW<extra></extra>",
    }
    return {"data": [heat], "layout": layout}


def correlation_figure(channels: Sequence[str], matrix: NDArray[np.float64], *, view: str) -> Figure:
    """Correlation of the channels with each other.

    Args:
        channels: (k,) names as in the table of readings.
        matrix: (k, k) Pearson correlations, NaN where a channel never changes or is never there.
        view: names what is looked at.
    """
    names = [CHANNEL_NAMES.get(channel, channel) for channel in channels]
    layout = theme.frame(x_title="", y_title="", view=view, legend=False)
    layout["hovermode"] = "closest"
    layout["margin"] = {"l": 16, "r": 16, "t": 12, "b": 16}
    layout["xaxis"] |= {"showgrid": False, "tickangle": -40}
    layout["yaxis"] |= {"showgrid": False, "autorange": "reversed"}
    heat = _heat(matrix, theme.DIVERGING, title="r") | {
        "x": names,
        "y": names,
        "zmin": -1,
        "zmax": 1,
        "texttemplate": "%{z:.2f}",
        "hovertemplate": "%{y} and %{x}: %{z:.3f}<extra></extra>",
    }
    return {"data": [heat], "layout": layout}


def _heat(values: NDArray[np.float64], colours: object, *, title: str) -> Figure:
    return {
        "type": "heatmap",
        "z": [[None if np.isnan(value) else round(float(value), 4) for value in row] for row in values],
        "colorscale": colours,
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
        "colorbar": {"title": {"text": title}, "thickness": 12, "outlinewidth": 0},
    }


def voltage_figure(edges_v: NDArray[np.float64], counts: NDArray[np.int64], *, view: str) -> Figure:
    """How often each voltage was read.

    Args:
        edges_v: (n + 1,) V, rising.
        counts: (n,) readings in each bin.
        view: names what is looked at.
    """
    layout = theme.frame(x_title="Voltage (V)", y_title="Readings", view=view, legend=False)
    layout["bargap"] = 0.05
    layout["hovermode"] = "closest"
    widths = np.diff(edges_v)
    bars = {
        "type": "bar",
        "name": "Readings",
        "x": packed(edges_v[:-1] + widths / 2, "f8"),
        "width": packed(widths),
        "y": packed(counts, "f8"),
        "marker": {"color": theme.NORMAL, "opacity": 0.7},
        "hovertemplate": "%{x:.2f} V: %{y:,} readings<extra></extra>",
    }
    return {"data": [bars], "layout": layout}
