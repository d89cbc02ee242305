"""Colours and the frame that every figure shares.

The colours keep a contrast of 3:1 on white and on the dark page alike, and blue against red or amber stays apart for
colour-blind eyes. Text and grid take the page's colours from the style sheet, so that a figure is drawn once and
follows the system's dark or light preference without being drawn again.
"""

from __future__ import annotations

from typing import Any, TypeAlias

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
DIVERGING = [[0.0, "#B2182B"], [0.25, "#EF8A62"], [0.5, "#F2F2F2"], [0.75, "#67A9CF"], [1.0, "#2166AC"]]

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
        view: names what is looked at; while it stays the same, an update keeps the reader's zoom.
        legend: whether the traces are named above the plot.
    """
    return {
        "autosize": True,
        "margin": {"l": 58, "r": 16, "t": 30 if legend else 12, "b": 46},
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
            "zeroline": False,
            "automargin": True,
        },
        "yaxis": {
            "title": {"text": y_title, "standoff": 6},
            "gridcolor": "#e4e7eb",
            "zerolinecolor": "#c3c9d1",
            "automargin": True,
        },
    }


def message(text: str, *, view: str) -> Figure:
    """A figure with nothing but a sentence in its middle, of the same frame as the one it stands in for."""
    layout = frame(x_title="", y_title="", view=view, legend=False)
    layout["xaxis"]["visible"] = layout["yaxis"]["visible"] = False
    layout["annotations"] = [
        {"text": text, "x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper", "showarrow": False, "font": {"size": 14}}
    ]
    return {"data": [], "layout": layout}
