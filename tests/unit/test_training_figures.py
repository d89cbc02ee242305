"""The figures of the MLflow runs: what is drawn is what was given, with units, and nothing falls over an odd meter."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.colors import to_hex

from meterwatch.detection.faults import Label
from tests.households import household
from training import figures
from training.series import Series

if TYPE_CHECKING:
    from matplotlib.figure import Figure

JANUARY = int(np.datetime64("2007-01-01", "s").astype(np.int64))
DAY_S = 86_400


def series(days: int, **changes: float) -> Series:
    at, channels = household(days=days, seed=4, cadence=3_600, start=JANUARY)
    for channel, value in changes.items():
        channels[int(channel[1:])] = value
    return Series("m", at, channels)


def drawn(figure: Figure) -> Any:
    """The axes, after the figure was really drawn."""
    figure.savefig(io.BytesIO(), format="png")
    return figure.axes[0]


def test_monthly_means_and_their_average_equal_those_taken_by_hand() -> None:
    whole = series(90)
    gap = (whole.at >= JANUARY + 31 * DAY_S) & (whole.at < JANUARY + 40 * DAY_S)
    whole.channels[0, gap] = np.nan

    axes = drawn(figures.monthly_mean(whole))

    month = whole.at.astype("datetime64[s]").astype("datetime64[M]").astype(str)
    means = [np.nanmean(whole.channels[0, month == one]) for one in ("2007-01", "2007-02", "2007-03")]
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], means)
    (line,) = axes.lines
    np.testing.assert_allclose(line.get_ydata(), [np.nan, (means[0] + means[1]) / 2, (means[1] + means[2]) / 2])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["2007-01", "2007-02", "2007-03"]


def test_a_month_without_readings_is_a_gap_and_not_a_value() -> None:
    whole = series(90)
    kept = (whole.at < JANUARY + 31 * DAY_S) | (whole.at >= JANUARY + 59 * DAY_S)

    axes = drawn(figures.monthly_mean(Series("m", whole.at[kept], whole.channels[:, kept])))

    assert np.isnan([bar.get_height() for bar in axes.patches]).tolist() == [False, True, False]
    assert np.isnan(axes.lines[0].get_ydata()).all()


def test_readings_without_power_leave_the_line_open() -> None:
    whole = series(10)
    whole.channels[0, 24:48] = np.nan

    (line,) = drawn(figures.power_over_time(whole)).lines

    assert np.flatnonzero(np.isnan(line.get_ydata())).tolist() == list(range(24, 48))


def test_the_histogram_counts_every_known_voltage() -> None:
    whole = series(10)
    whole.channels[2, :5] = np.nan

    axes = drawn(figures.voltage_histogram(whole))

    assert sum(bar.get_height() for bar in axes.patches) == len(whole.at) - 5
    assert axes.get_xlabel() == "voltage (V)"


def test_a_meter_with_power_alone_has_all_exploration_figures() -> None:
    nothing = {f"c{channel}": np.nan for channel in range(1, 7)}

    for figure in (figures.correlation, figures.voltage_histogram, figures.monthly_mean, figures.power_over_time):
        drawn(figure(series(40, **nothing)))


def test_a_constant_channel_has_no_correlation() -> None:
    matrix = np.asarray(drawn(figures.correlation(series(20, c4=0.0))).images[0].get_array(), np.float64)

    assert np.isnan(matrix[4]).all()
    np.testing.assert_allclose(np.diag(matrix)[[0, 1, 2, 3, 5, 6]], 1)


def test_the_scatter_has_normal_readings_blue_anomalous_ones_red_and_faults_behind() -> None:
    at = JANUARY + 60 * np.arange(500)
    anomalous = np.zeros(500, bool)
    anomalous[100:130] = True
    fault = Label("left_on", int(at[90]), int(at[140]), 0.5, 1.0)

    axes = drawn(figures.anomalies(at, np.ones(500), anomalous, "title", [fault, fault]))

    blue, red = axes.collections
    assert (len(blue.get_offsets()), len(red.get_offsets())) == (470, 30)
    assert (to_hex(blue.get_facecolor()[0]), to_hex(red.get_facecolor()[0])) == (figures.BLUE, figures.RED)
    assert [text.get_text() for text in axes.texts] == ["left on", "left on"]
    legend = axes.figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["injected fault", "normal", "anomalous"]


def test_bars_stand_by_kind_with_how_many_there_were() -> None:
    recalls = {"one": {"surge": 0.5, "drop": 1.0}, "two": {"surge": 0.25}}

    axes = drawn(figures.recall_by_kind(recalls, {"surge": 4, "drop": 2, "base_load": 1}, "title"))

    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["base load (1)", "drop (2)", "surge (4)"]
    np.testing.assert_array_equal([bar.get_height() for bar in axes.patches], [np.nan, 1, 0.5, np.nan, np.nan, 0.25])


def test_budgets_are_written_as_numbers() -> None:
    curves = {"one": (np.array([0.25, 1.0, 16.0]), np.array([0.1, 0.2, 0.3]))}

    axes = drawn(figures.recall_against_alarms(curves))

    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.25", "1", "16"]


@pytest.mark.parametrize(
    ("figure", "label"),
    [
        (figures.power_over_time, "active power, hourly mean (kW)"),
        (figures.monthly_mean, "active power (kW)"),
        (figures.voltage_histogram, "readings"),
    ],
)
def test_axes_say_their_unit(figure: Any, label: str) -> None:
    assert drawn(figure(series(3))).get_ylabel() == label
