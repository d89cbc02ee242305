"""The other channels below a meter's power, on the same time axis, and the marks on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from serving.dashboard import theme, wording
from serving.dashboard.columns import local_seconds, packed, times, with_breaks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo

    from numpy.typing import NDArray

    from meterwatch.storage.marks import Marks
    from serving.dashboard.theme import Figure


class Line(NamedTuple):
    """A channel in a panel."""

    channel: str
    name: str
    colour: str = theme.NORMAL
    dash: str = "solid"


PANELS: dict[str, tuple[Line, ...]] = {
    "V": (Line("voltage_v", "Voltage"),),
    "A": (Line("current_a", "Current"),),
    "kVAr": (Line("reactive_power_kvar", "Reactive power"),),
    "Wh": (
        Line("sub_metering_1_wh", "Sub-meter 1"),
        Line("sub_metering_2_wh", "Sub-meter 2", theme.AVERAGE, "dash"),
        Line("sub_metering_3_wh", "Sub-meter 3", theme.EXPECTED, "dot"),
    ),
}
NAMES = {"V": "Voltage", "A": "Current", "kVAr": "Reactive power", "Wh": "Sub-meters 1 solid, 2 dashed, 3 dotted"}
TITLE: Figure = {"xanchor": "left", "yanchor": "bottom", "showarrow": False, "font": {"size": 11}}
PANEL, BETWEEN = 0.12, 0.025  # of the picture's height
MARKED = {
    "gap": ("Not judged: gap", "square-open"),
    "late": ("Not judged: late", "triangle-left-open"),
    "rejected": ("Refused record", "x-thin-open"),
}
MARK_HEIGHT = 0.025  # above the bottom of the power's panel, of its height


def with_channels(
    figure: Figure, at: NDArray[np.int64], channels: Mapping[str, NDArray[Any]], *, resolution: float, zone: tzinfo
) -> int:
    """Add a panel for each unit that the readings have, below the power; nothing moves in a figure without readings.

    Args:
        figure: of `live_figure`; is changed.
        at: (n,) unix seconds of the readings drawn.
        channels: the contract's channel names to (n,) values, NaN where unknown.
        resolution: the coarsest usual step in seconds.
        zone: of the time axis.

    Returns:
        How many panels were added.
    """
    shown = {
        unit: [line for line in lines if not np.isnan(channels[line.channel]).all()] for unit, lines in PANELS.items()
    }
    shown = {unit: lines for unit, lines in shown.items() if lines} if len(at) else {}
    broken_at, values = with_breaks(
        at, {line.channel: channels[line.channel] for lines in shown.values() for line in lines}, resolution=resolution
    )
    layout, x = figure["layout"], times(broken_at, zone)
    for number, (unit, lines) in enumerate(shown.items(), start=2):
        top = PANEL * (len(shown) - number + 2)
        layout[f"yaxis{number}"] = {
            **{name: layout["yaxis"][name] for name in ("gridcolor", "zerolinecolor", "automargin")},
            **theme.NO_TICKS,
            "domain": [top - PANEL + BETWEEN / 2, top - BETWEEN],
            "fixedrange": True,
            "nticks": 4,
        }
        layout["annotations"].append(_title(f"{NAMES[unit]} ({unit})", number))
        figure["data"] += [_trace(x, values[line.channel], line, unit, number) for line in lines]
    if shown:
        layout["yaxis"]["domain"] = [PANEL * len(shown) + 2 * BETWEEN, 1]
        layout["xaxis"]["anchor"] = f"y{len(shown) + 1}"
        layout["hoversubplots"] = "axis"
    return len(shown)


def _title(text: str, number: int) -> Figure:
    return {"text": text, "x": 0, "y": 1, "xref": "paper", "yref": f"y{number} domain", **TITLE}


def _trace(x: object, values: NDArray[np.float64], line: Line, unit: str, number: int) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": line.name,
        "x": x,
        "y": packed(values),
        "yaxis": f"y{number}",
        "line": {"color": line.colour, "width": 1.3, "dash": line.dash},
        "connectgaps": False,
        "showlegend": False,
        "hovertemplate": f"%{{y}} {unit}",
    }


def with_marks(figure: Figure, found: Marks, *, zone: tzinfo) -> None:
    """Add marks along the bottom of the power, each kind named in the legend, and a line where the model changed."""
    layout = figure["layout"]
    said: dict[str, Sequence[tuple[int, str]]] = {
        "gap": [(at, "") for at in found.gap],
        "late": [(at, "") for at in found.late],
        "rejected": [(at, wording.REJECT_WORDS.get(reason, reason)) for at, reason in found.rejected],
    }
    for kind, marks in said.items():
        if not marks:
            continue
        name, symbol = MARKED[kind]
        layout["yaxis9"] = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
        figure["data"].append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": times(np.array([at for at, _ in marks], np.int64), zone),
                "y": packed(np.full(len(marks), MARK_HEIGHT)),
                "yaxis": "y9",
                "text": [text for _, text in marks],
                "marker": {"symbol": symbol, "size": 9, "color": theme.AVERAGE, "line": {"width": 1.6}},
                "hovertemplate": "%{text}" if kind == "rejected" else " ",
            }
        )
    for at, version in found.models:
        (x,) = (local_seconds(np.array([at], np.int64), zone) * 1000).tolist()
        line = {"color": theme.EXPECTED, "width": 1.2, "dash": "dash"}
        layout["shapes"].append(
            {"type": "line", "xref": "x", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": line}
        )
        text = {"text": f"model {version}", "x": x, "y": 0, "xref": "x", "yref": "y domain", "yanchor": "bottom"}
        layout["annotations"].append({**text, "xanchor": "left", "showarrow": False, "font": {"size": 11}})
