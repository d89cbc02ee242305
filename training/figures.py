"""Figures of the MLflow runs. Pure: arrays in, a matplotlib figure out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from meterwatch.detection.readings import CHANNELS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from training.series import Series

    Floats = NDArray[np.float64]

BLUE, RED, GREY = "#1f6fb4", "#c8321e", "#8a9099"
DARK = 0.6  # of the scale of correlations: black is not read there
_HOUR_S = 3_600


def power_over_time(series: Series) -> Figure:
    """Hourly mean of active power over the whole set."""
    hour, group = np.unique(series.at // _HOUR_S, return_inverse=True)
    known = np.isfinite(series.channels[0])
    total = np.bincount(group[known], series.channels[0, known], len(hour))
    count = np.bincount(group[known], minlength=len(hour))
    mean = np.divide(total, count, out=np.full(len(hour), np.nan), where=count > 0)
    figure, axes = _axes("Power over time", "", "active power, hourly mean (kW)", (11, 4))
    axes.plot((hour * _HOUR_S).astype("datetime64[s]"), mean, color=BLUE, linewidth=0.5)
    return figure


def voltage_histogram(series: Series) -> Figure:
    """How often each voltage occurs."""
    volts = series.channels[CHANNELS.index("voltage_v")]
    figure, axes = _axes("Voltage", "voltage (V)", "readings", (7, 4))
    axes.hist(volts[np.isfinite(volts)], bins=100, color=BLUE)
    return figure


def correlation(series: Series) -> Figure:
    """Correlation of the channels, over readings that have them all; a constant channel has none."""
    whole = series.channels[:, np.isfinite(series.channels).all(axis=0)]
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = np.corrcoef(whole)
    figure, axes = _axes("Correlation of the channels", "", "", (7, 6))
    shown = axes.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r")
    axes.set_xticks(range(len(CHANNELS)), CHANNELS, rotation=40, ha="right")
    axes.set_yticks(range(len(CHANNELS)), CHANNELS)
    for (y, x), value in np.ndenumerate(matrix):
        colour = "white" if abs(value) > DARK else "black"
        axes.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour)
    figure.colorbar(shown)
    return figure


def training_curve(losses: Mapping[str, Sequence[float]]) -> Figure:
    """Loss over epochs, a line a data set."""
    figure, axes = _axes("Training of the sequence model", "epoch", "pinball loss", (7, 4))
    for (name, values), colour in zip(losses.items(), (BLUE, RED), strict=False):
        axes.plot(range(1, len(values) + 1), values, color=colour, marker="o", markersize=3, label=name)
    axes.legend(frameon=False)
    return figure


def recall_by_kind(recalls: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """Grouped bars: detectors → kind → recall."""
    kinds = sorted({kind for found in recalls.values() for kind in found})
    figure, axes = _axes(title, "", "share found", (11, 4.5))
    width = 0.8 / max(len(recalls), 1)
    colours = (BLUE, RED, GREY, "#d99a2b", "#4f9d69")
    for i, (name, found) in enumerate(recalls.items()):
        place = np.arange(len(kinds)) + (i - (len(recalls) - 1) / 2) * width
        axes.bar(place, [found.get(kind, np.nan) for kind in kinds], width, label=name, color=colours[i % len(colours)])
    axes.set_xticks(range(len(kinds)), kinds, rotation=30, ha="right")
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, ncols=len(recalls), loc="lower center", bbox_to_anchor=(0.5, 1.08))
    return figure


def recall_against_alarms(curves: Mapping[str, tuple[Floats, Floats]]) -> Figure:
    """Detectors → (false alarms a month, recall), a line each."""
    figure, axes = _axes(
        "What is found for how many false alarms", "false alarms a meter and month", "share found", (7, 4.5)
    )
    colours = (BLUE, RED, GREY, "#d99a2b", "#4f9d69")
    for (name, (alarms, recall)), colour in zip(curves.items(), colours, strict=False):
        axes.plot(alarms, recall, marker="o", markersize=3, label=name, color=colour)
    axes.set_xscale("log")
    axes.set_ylim(0, 1)
    axes.legend(frameon=False)
    return figure


def anomalies(at: NDArray[np.int64], power: Floats, anomalous: NDArray[np.bool_], title: str) -> Figure:
    """The original's scatter: normal readings blue, anomalous ones red."""
    figure, axes = _axes(title, "", "active power (kW)", (11, 4))
    times = at.astype("datetime64[s]")
    axes.scatter(times[~anomalous], power[~anomalous], s=1, color=BLUE, linewidths=0, label="normal")
    axes.scatter(times[anomalous], power[anomalous], s=4, color=RED, linewidths=0, label="anomalous")
    axes.legend(frameon=False, markerscale=5)
    return figure


def _axes(title: str, x: str, y: str, size: tuple[float, float]) -> tuple[Figure, Any]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
