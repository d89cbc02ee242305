"""The pictures of a meter's whole history: what it used, when it uses it, how its channels go together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from serving.dashboard import theme
from serving.dashboard.columns import local_seconds, packed, times

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo

    from numpy.typing import NDArray

    from serving.dashboard.theme import Figure

SHORTEST_MS = 600_000  # that a time axis shows
EACH_DAY = 10  # so many days and fewer are named one by one
FEW_COUNTS = 6  # counts below have a tick each, and none between
# Of the voltages: bars, the share of readings at either end that need not be seen, the least range that is.
BARS, RARE, LEAST_VOLTS = 60, 0.005, 2.0
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
    if len(at) == 0:
        return theme.message("No readings", view=view)
    layout = theme.frame(x_title=f"Time ({zone})", y_title="Active power (kW)", view=view)
    layout["hovermode"] = "closest"
    begin, end = (int(second) * 1000 for second in local_seconds(at[[0, -1]], zone))
    layout["xaxis"] |= theme.time_axis() | {"range": [begin, max(end, begin + SHORTEST_MS)]}
    layout["yaxis"]["rangemode"] = "tozero"
    normal = {"color": theme.NORMAL, "symbol": "circle", "size": 4, "opacity": 0.7}
    odd = {"color": theme.ANOMALOUS, "symbol": "diamond", "size": 7}
    return {
        "data": [
            _points("Normal", at[~anomalous], power[~anomalous], zone, normal),
            _points("Anomalous", at[anomalous], power[anomalous], zone, odd),
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


def week_figure(mean_kw: NDArray[np.float64], *, zone: tzinfo, view: str) -> Figure:
    """Mean power by weekday and hour.

    Args:
        mean_kw: (7, 24) kW, Monday first, NaN where nothing was measured.
        zone: the zone of hours and weekdays.
        view: names what is looked at.
    """
    layout = theme.frame(x_title=f"Hour of the day ({zone})", y_title="", view=view, legend=False)
    layout["hovermode"] = "closest"
    layout["xaxis"] |= {"dtick": 3, "showgrid": False, "fixedrange": True}
    layout["yaxis"] |= {"autorange": "reversed", "showgrid": False, "fixedrange": True}
    known = mean_kw[~np.isnan(mean_kw)]
    heat = _heat(mean_kw, theme.SEQUENTIAL) | {
        "x": list(range(24)),
        "y": list(WEEKDAYS),
        "zmin": float(min(known.min(initial=0.0), 0.0)),
        "zmax": float(known.max(initial=0.0)) or 1.0,
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
    if np.isnan(matrix).all():
        return theme.message("Two complete readings that differ<br>are needed", view=view)
    names = [CHANNEL_NAMES.get(channel, channel) for channel in channels]
    layout = theme.frame(x_title="", y_title="", view=view, legend=False)
    layout["hovermode"] = "closest"
    layout["margin"] |= {"l": 16, "b": 16}
    layout["xaxis"] |= {"showgrid": False, "tickangle": -40, "fixedrange": True}
    layout["yaxis"] |= {"showgrid": False, "autorange": "reversed", "fixedrange": True}
    heat = _heat(matrix, theme.DIVERGING) | {
        "x": names,
        "y": names,
        "zmin": -1,
        "zmax": 1,
        "text": [[_short(value) for value in row] for row in matrix.tolist()],
        "texttemplate": "%{text}",
        "hovertemplate": "%{y} and %{x}: %{z:.3f}<extra></extra>",
    }
    return {"data": [heat], "layout": layout}


def _heat(values: NDArray[np.float64], colours: object) -> Figure:
    return {
        "type": "heatmap",
        "z": [[None if np.isnan(value) else round(float(value), 4) for value in row] for row in values],
        "colorscale": colours,
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
        # Above the picture, so that it takes no width from it on a phone.
        "colorbar": {"orientation": "h", "x": 0.5, "y": 1, "yanchor": "bottom", "ypad": 4, "thickness": 8, "nticks": 5}
        | {"outlinewidth": 0, "ticklabelposition": "outside top"},
    }


def _short(correlation: float) -> str:
    """Two digits without the zero before them, so that it fits into a cell on a phone."""
    if np.isnan(correlation):
        return ""
    text = f"{abs(correlation):.2f}".removeprefix("0")
    return f"−{text}" if correlation < 0 and text != ".00" else text  # noqa: RUF001 - a minus sign


def voltage_figure(edges_v: NDArray[np.float64], counts: NDArray[np.int64], *, view: str) -> Figure:
    """How often each voltage was read.

    Args:
        edges_v: (n + 1,) V, rising.
        counts: (n,) readings in each bin.
        view: names what is looked at.

    Returns:
        About `BARS` bars over the part of the range where nearly all readings are: the zeros of one outage would
        squash all others into a few. The bars beyond it are there too, for who zooms out.
    """
    if counts.sum() == 0:
        return theme.message("This meter tells no voltage", view=view)
    layout = theme.frame(x_title="Voltage (V)", y_title="Readings", view=view, legend=False)
    edges_v, counts, shown = _binned(edges_v, counts)
    layout["xaxis"]["range"] = shown
    layout["yaxis"] |= {"tickformat": ",", "dtick": 1 if counts.max() < FEW_COUNTS else None}
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


def _binned(
    edges_v: NDArray[np.float64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], list[float]]:
    """Neighbouring bins put together, so that about `BARS` lie where nearly all readings are, and that range."""
    below = np.cumsum(counts) - counts
    rare = RARE * counts.sum()
    usual = np.flatnonzero((below + counts > rare) & (below < counts.sum() - rare))
    first, last = int(usual[0]), int(usual[-1]) + 1
    low, high = float(edges_v[first]), float(edges_v[last])
    margin = max(LEAST_VOLTS - (high - low), (high - low) / BARS) / 2
    step = max(round((high - low + 2 * margin) / BARS / float(edges_v[1] - edges_v[0])), 1)
    starts = np.unique([*np.arange(first, 0, -step), 0, *np.arange(first, len(counts), step)])
    edges = np.append(edges_v[starts], edges_v[-1])
    return edges, np.add.reduceat(counts, starts), [low - margin, high + margin]
