"""The patterns in a meter's history: when it needs power, which voltages it sees, how its channels go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from serving.dashboard import theme
from serving.dashboard.columns import packed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from numpy.typing import NDArray

    from serving.dashboard.theme import Figure

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
