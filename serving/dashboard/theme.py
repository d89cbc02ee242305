"""Colours and the frame that every figure shares.

The colours keep a contrast of 3:1 on white and on the dark page alike, and blue against red or amber stays apart for
colour-blind eyes. Text and grid take the page's colours from the style sheet, so that a figure is drawn once and
follows the system's dark or light preference without being drawn again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Figure: TypeAlias = dict[str, Any]

NORMAL = "#2483C5"
ANOMALOUS = "#E0402A"
EXPECTED = "#7A7F87"
AVERAGE = "#B8720A"
BAND = "rgba(122, 127, 135, 0.28)"
EVENT_SPAN = "rgba(224, 64, 42, 0.12)"
SEQUENTIAL = [
    [0.0, "#00224E"],
    [0.25, "#35456C"],
    [0.5, "#7C7B78"],
    [0.75, "#BCAF6F"],
    [1.0, "#FEE838"],
]
# Not red, which is an anomaly everywhere else.
DIVERGING = [[0.0, "#B35806"], [0.25, "#F1A340"], [0.5, "#F2F2F2"], [0.75, "#998EC3"], [1.0, "#542788"]]
DAY_MS = 86_400_000
# From the finest step to the coarsest. What follows \n is written where it changes.
TIME_TICKS = [
    {"dtickrange": [None, 59_999], "value": "%H:%M:%S\n%-d %b %Y"},
    {"dtickrange": [60_000, DAY_MS - 1], "value": "%H:%M\n%-d %b %Y"},
    {"dtickrange": [DAY_MS, 28 * DAY_MS], "value": "%-d %b\n%Y"},
    {"dtickrange": ["M1", "M11"], "value": "%b\n%Y"},
    {"dtickrange": ["M12", None], "value": "%Y"},
]
NO_TICKS = {"ticks": "outside", "tickcolor": "rgba(0, 0, 0, 0)", "ticklen": 6}  # keeps the axes' first labels apart

CONFIG: Any = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    "toImageButtonOptions": {"format": "png", "scale": 2},
}


def frame(*, x_title: str, y_title: str, view: str, legend: bool = True) -> Figure:
    """The layout of a figure: axes with their units, room for the labels, the legend above the plot.

    Args:
        x_title: what runs along the horizontal axis, with its unit or zone.
        y_title: what runs along the vertical axis, with its unit.
        view: names what is looked at; while it stays the same, lines that the reader has hidden stay hidden.
        legend: whether the traces are named above the plot.
    """
    return {
        "autosize": True,
        "margin": {"l": 58, "r": 16, "t": 36 if legend else 12, "b": 46},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
        "font": {"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 12, "color": "#1c232b"},
        "hovermode": "x unified",
        "hoverlabel": {"namelength": -1},
        "showlegend": legend,
        "legend": {"orientation": "h", "x": 0, "y": 1.01, "xanchor": "left", "yanchor": "bottom"},
        "uirevision": view,
        "xaxis": {
            "title": {"text": x_title, "standoff": 8},
            "gridcolor": "#e4e7eb",
            "spikethickness": 1,
            "spikecolor": EXPECTED,
            "zeroline": False,
            "automargin": True,
            **NO_TICKS,
        },
        "yaxis": {
            "title": {"text": y_title, "standoff": 6},
            "gridcolor": "#e4e7eb",
            "zerolinecolor": "#c3c9d1",
            "automargin": True,
            **NO_TICKS,
        },
    }


def time_axis(*, hover: str = "%Y-%m-%d %H:%M") -> Figure:
    """What makes a horizontal axis one of times; `hover` is how a time is written in full."""
    return {"type": "date", "tickformatstops": TIME_TICKS, "tickangle": 0, "hoverformat": hover}


def keep_zoom(figure: Figure, change: Mapping[str, Any]) -> None:
    """Give a figure that replaces another the range that the reader has zoomed that one to.

    Args:
        figure: is changed.
        change: the browser's last change of the layout, as plotly tells it: `xaxis.range[0]` and so on.
    """
    for axis in ("xaxis", "yaxis"):
        ends = [change.get(f"{axis}.range[{end}]") for end in (0, 1)]
        if None not in ends:
            figure["layout"][axis]["range"] = ends


def message(text: str, *, view: str) -> Figure:
    """A figure with nothing but a sentence in its middle, of the same frame as the one it stands in for."""
    layout = frame(x_title="", y_title="", view=view, legend=False)
    layout["margin"] |= {"l": 16, "b": 16}
    layout["xaxis"]["visible"] = layout["yaxis"]["visible"] = False
    layout["annotations"] = [
        {"text": text, "x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper", "showarrow": False, "font": {"size": 14}}
    ]
    return {"data": [], "layout": layout}
