"""Figures of the MLflow runs. Pure: arrays in, a matplotlib figure out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator, StrMethodFormatter

from meterwatch.detection.readings import CHANNELS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from meterwatch.detection.faults import Label
    from training.series import Series
    from training.worst import Episode

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

BLUE, RED, GREY, AMBER, GREEN = "#1f6fb4", "#c8321e", "#8a9099", "#d99a2b", "#4f9d69"
COLOURS = (BLUE, RED, GREY, AMBER, GREEN)
DARK = 0.6  # of the scale of correlations: black is not read there
MONTHS_AVERAGED = 2
_HOUR_S, _DAY_S = 3_600, 86_400
_UNITS = {"heat pump": " kW", "theft": " of the power"}  # of lasting changes


def power_over_time(series: Series) -> Figure:
    """Hourly mean of active power over the whole set."""
    hour, mean = _means(series.at // _HOUR_S, series.channels[0])
    figure, axes = _axes("Power over time", "", "active power, hourly mean (kW)", (11, 4))
    axes.plot((hour * _HOUR_S).astype("datetime64[s]"), mean, color=BLUE, linewidth=0.5)
    _dates(axes)
    return figure


def monthly_mean(series: Series) -> Figure:
    """The original's mean of each month, and its average with the month before; months without readings are gaps."""
    known, mean = _means(series.at.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64), series.channels[0])
    month = np.arange(known[0], known[-1] + 1) if len(known) else known
    value = np.full(len(month), np.nan)
    value[known - known[:1].sum()] = mean
    average = np.append(np.nan, (value[1:] + value[:-1]) / MONTHS_AVERAGED)[: len(value)]
    figure, axes = _axes("Mean power by month", "", "active power (kW)", (11, 4))
    place = np.arange(len(month))
    axes.bar(place, value, color=BLUE, width=0.7, label="mean of the month")
    axes.plot(place, average, color=RED, marker="o", label="two-month moving average")
    every = max(len(month) // 16, 1)
    axes.set_xticks(place[::every], month.astype("datetime64[M]").astype(str)[::every])
    axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    return figure


def voltage_histogram(series: Series) -> Figure:
    """How often each voltage occurs."""
    volts = series.channels[CHANNELS.index("voltage_v")]
    figure, axes = _axes("Voltage", "voltage (V)", "readings", (7, 4))
    axes.hist(volts[np.isfinite(volts)], bins=100, color=BLUE)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    return figure


def correlation(series: Series) -> Figure:
    """Correlation of the channels, over readings that have them all; a constant channel has none."""
    whole = series.channels[:, np.isfinite(series.channels).all(axis=0)]
    matrix = np.full((len(CHANNELS), len(CHANNELS)), np.nan)
    if whole.shape[1] > 1:
        with np.errstate(invalid="ignore", divide="ignore"):
            matrix = np.atleast_2d(np.corrcoef(whole))
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
    for (name, values), colour in zip(losses.items(), COLOURS, strict=False):
        axes.plot(range(1, len(values) + 1), values, color=colour, marker="o", markersize=3, label=name)
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    return figure


def recall_by_kind(recalls: Mapping[str, Mapping[str, float]], counts: Mapping[str, int], title: str) -> Figure:
    """Grouped bars: detectors → kind → recall, with how many faults of the kind there were."""
    kinds = sorted(counts)
    figure, axes = _axes(title, "kind of fault (how many there were)", "share found", (11, 4.5))
    width = 0.8 / max(len(recalls), 1)
    for i, (name, found) in enumerate(recalls.items()):
        place = np.arange(len(kinds)) + (i - (len(recalls) - 1) / 2) * width
        values = [found.get(kind, np.nan) for kind in kinds]
        axes.bar(place, values, width, label=name, color=COLOURS[i % len(COLOURS)])
    ticks = [f"{kind.replace('_', ' ')} ({counts[kind]})" for kind in kinds]
    axes.set_xticks(range(len(kinds)), ticks, rotation=30, ha="right")
    axes.set_ylim(0, 1)
    figure.legend(frameon=False, ncols=len(recalls), loc="outside lower center")
    return figure


def recall_against_alarms(curves: Mapping[str, tuple[Floats, Floats]]) -> Figure:
    """Detectors → (false alarms a month, recall), a line each."""
    figure, axes = _axes(
        "What is found for how many false alarms", "false alarms a meter and month", "share found", (7, 4.5)
    )
    for (name, (alarms, recall)), colour in zip(curves.items(), COLOURS, strict=False):
        axes.plot(alarms, recall, marker="o", markersize=3, label=name, color=colour)
        axes.set_xscale("log")
        axes.set_xticks(alarms)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0, 1)
    axes.legend(frameon=False)
    return figure


def kinds_told(table: Mapping[tuple[str, str], int]) -> Figure:
    """Injected kind against the words its events were given, with how many events there were."""
    injected, told = (sorted({pair[side] for pair in table}) for side in (0, 1))
    shares = np.zeros((len(injected), len(told)))
    for (kind, words), count in table.items():
        shares[injected.index(kind), told.index(words)] = count
    figure, axes = _axes("What the events of injected faults were called", "", "kind of fault", (11, 6))
    axes.imshow(shares / np.maximum(shares.sum(axis=1, keepdims=True), 1), vmin=0, vmax=1, cmap="Blues", aspect="auto")
    axes.set_xticks(range(len(told)), told, rotation=35, ha="right")
    axes.set_yticks(range(len(injected)), [kind.replace("_", " ") for kind in injected])
    for (y, x), events in np.ndenumerate(shares):
        if events:
            dark = events / shares[y].sum() > DARK
            axes.text(x, y, f"{events:.0f}", ha="center", va="center", color="white" if dark else "black")
    return figure


def lasting(rows: Sequence[Sequence[str]], threshold: float) -> Figure:
    """The highest score of each day of lasting changes: rows of kind, size, day and score, a line a kind and size."""
    y = "highest score of the day (log10 of months)"
    figure, axes = _axes("Lasting changes, day by day", "day of the change", y, (11, 4.5))
    for i, (kind, size) in enumerate(dict.fromkeys((row[0], row[1]) for row in rows)):
        days = [(int(row[2]), float(row[3])) for row in rows if (row[0], row[1]) == (kind, size)]
        axes.plot(*zip(*days, strict=True), linewidth=1, marker="o", markersize=2, color=f"C{i}",
                  label=f"{kind} of {size}{_UNITS.get(kind, '')}")  # fmt: skip
    axes.axhline(threshold, color=GREY, linestyle="--", linewidth=1, label="threshold")
    figure.legend(frameon=False, ncols=4, loc="outside lower center")
    return figure


def anomalies(
    at: Ints, power: Floats, anomalous: NDArray[np.bool_], title: str, faults: Sequence[Label] = ()
) -> Figure:
    """The original's scatter, normal readings blue and anomalous ones red, with the known faults tinted behind."""
    figure, axes = _axes(title, "", "active power (kW)", (11, 4))
    times = at.astype("datetime64[s]")
    for i, fault in enumerate(faults):
        span = np.array([fault.start_at, fault.end_at]).astype("datetime64[s]")
        axes.axvspan(*span, color=AMBER, alpha=0.35, linewidth=0, label="injected fault" if i == 0 else None)
        axes.annotate(fault.kind.replace("_", " "), (span[0], 1), xycoords=("data", "axes fraction"), fontsize=8,
                      rotation=30, va="bottom")  # fmt: skip
    axes.scatter(times[~anomalous], power[~anomalous], s=1, color=BLUE, linewidths=0, label="normal")
    axes.scatter(times[anomalous], power[anomalous], s=6, color=RED, linewidths=0, label="anomalous")
    if faults:
        axes.set_title(title, loc="left", pad=40)  # the kinds stand between
    _dates(axes)
    figure.legend(frameon=False, markerscale=4, ncols=3, loc="outside lower center")
    return figure


def tail_calibration(promised: Floats, raised: Floats) -> Figure:
    """Alarms a month that thresholds promise against those that ordinary months raised; dashed: both agree."""
    title = "Alarms a meter and month, in ordinary months"
    figure, axes = _axes(title, "promised", "raised", (6, 5))
    axes.plot(promised, promised, color=GREY, linestyle="--", linewidth=1, label="as promised")
    seen = raised > 0
    axes.plot(promised[seen], raised[seen], color=BLUE, marker="o", markersize=4, label="raised")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.legend(frameon=False)
    return figure


def precision_recall(curves: Mapping[str, tuple[Floats, Floats]]) -> Figure:
    """Kind → (recall, precision) over thresholds, a line each."""
    figure, axes = _axes("Precision against recall by kind of fault", "share found", "precision", (8, 5))
    for i, (kind, (recall, precision)) in enumerate(curves.items()):
        axes.plot(recall, precision, color=f"C{i % 10}", linestyle="-" if i < 10 else "--", marker="o", markersize=3,  # noqa: PLR2004
                  label=kind.replace("_", " "))  # fmt: skip
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    figure.legend(frameon=False, ncols=4, loc="outside lower center")
    return figure


def episodes(found: Sequence[Episode], title: str) -> Figure:
    """Stretches with a day around each: power, what was expected, its band, and what was anomalous."""
    figure = Figure(figsize=(11, 2.2 * max(len(found), 1)), layout="constrained")
    figure.suptitle(title if found else f"{title}: none", x=0.01, ha="left")
    for axes, one in zip(np.atleast_1d(figure.subplots(max(len(found), 1))), found, strict=False):
        series, verdicts = one.judged.series, one.judged.verdicts
        part = slice(*np.searchsorted(series.at, [one.start_at - _DAY_S, one.end_at + _DAY_S]))
        times, power = series.at[part].astype("datetime64[s]"), series.channels[0][part]
        span = np.array([one.start_at, one.end_at]).astype("datetime64[s]")
        axes.axvspan(*span, color=AMBER, alpha=0.35, linewidth=0, label="fault or alarm")
        axes.fill_between(times, verdicts.lower_kw[part], verdicts.upper_kw[part], color=GREY, alpha=0.3, linewidth=0,
                          label="expected")  # fmt: skip
        axes.plot(times, power, color=BLUE, linewidth=0.6, label="power")
        odd = verdicts.anomalous[part]
        axes.scatter(times[odd], power[odd], s=6, color=RED, linewidths=0, label="anomalous")
        axes.set_title(one.title, loc="left", fontsize=9)
        axes.set_ylabel("kW")
        axes.spines[["top", "right"]].set_visible(False)
        _dates(axes)
    if found:
        figure.legend(*axes.get_legend_handles_labels(), frameon=False, ncols=4, loc="outside lower center")
    else:
        figure.axes[0].set_axis_off()
    return figure


def _means(key: Ints, values: Floats) -> tuple[Ints, Floats]:
    """The keys in order and the mean of the known values of each; NaN where none is known."""
    keys, group = np.unique(key, return_inverse=True)
    known = np.isfinite(values)
    total = np.bincount(group[known], values[known], len(keys))
    count = np.bincount(group[known], minlength=len(keys))
    return keys, np.divide(total, count, out=np.full(len(keys), np.nan), where=count > 0)


def _dates(axes: Any) -> None:  # noqa: ANN401 - matplotlib has no types
    where = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(where)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(where))  # type: ignore[no-untyped-call]


def _axes(title: str, x: str, y: str, size: tuple[float, float]) -> tuple[Figure, Any]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
