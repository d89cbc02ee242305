"""The figures: columns in, plotly's dictionaries out, checked without a browser."""

from __future__ import annotations

import base64
import itertools
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plotly import graph_objects

from serving.dashboard import overview_figures, pattern_figures, theme
from serving.dashboard.columns import local_seconds, times, with_breaks
from serving.dashboard.live_figures import Span, live_figure

if TYPE_CHECKING:
    from numpy.typing import NDArray

UTC_ZONE = ZoneInfo("UTC")
PARIS = ZoneInfo("Europe/Paris")
START = int(datetime(2007, 11, 1, tzinfo=UTC).timestamp())


def unpacked(values: dict[str, str]) -> NDArray[Any]:
    """A plotly typed array as numbers."""
    return np.frombuffer(base64.b64decode(values["bdata"]), f"<{values['dtype']}")


def trace(figure: theme.Figure, name: str) -> dict[str, Any]:
    """The one trace of a name."""
    found: dict[str, Any]
    (found,) = [one for one in figure["data"] if one.get("name") == name]
    return found


def readings(n: int, *, anomalous: tuple[int, ...] = (), step: int = 60) -> dict[str, NDArray[Any]]:
    """Columns of `n` readings whose power is their number."""
    power = np.arange(n, dtype=float)
    found = np.zeros(n, bool)
    found[list(anomalous)] = True
    return {
        "at": START + step * np.arange(n),
        "active_power_kw": power,
        "expected_kw": power - 0.5,
        "lower_kw": power - 1,
        "upper_kw": power + 1,
        "score": np.where(found, 1.5, -2.0),
        "threshold": np.zeros(n),
        "anomalous": found,
        "stands_for": found.astype(int),
    }


def drawn(columns: dict[str, NDArray[Any]], spans: tuple[Span, ...] = ()) -> theme.Figure:
    """The live figure of columns, over just their time."""
    at = columns["at"]
    window = (int(at[0]), int(at[-1])) if len(at) else (START, START + 3600)
    return live_figure(columns, spans, window=window, zone=UTC_ZONE, view="?")


def test_live_figure_draws_each_line_with_its_values() -> None:
    figure = drawn(readings(5))
    assert unpacked(trace(figure, "Actual")["y"]).tolist() == [0, 1, 2, 3, 4]
    assert unpacked(trace(figure, "Expected")["y"]).tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]
    band = trace(figure, "95 % band")
    assert unpacked(band["y"]).tolist() == [1, 2, 3, 4, 5]
    assert unpacked(figure["data"][0]["y"]).tolist() == [-1, 0, 1, 2, 3]
    assert band["fill"] == "tonexty"


def test_anomalous_readings_differ_in_shape_as_well_as_in_colour() -> None:
    figure = drawn(readings(8, anomalous=(2, 6)))
    normal, anomalous = trace(figure, "Actual")["marker"], trace(figure, "Anomalous")["marker"]
    assert normal["symbol"] != anomalous["symbol"]
    assert normal["color"] != anomalous["color"]
    assert unpacked(trace(figure, "Anomalous")["y"]).tolist() == [2, 6]
    assert unpacked(trace(figure, "Anomalous")["x"]).tolist() == [(START + 120) * 1000, (START + 360) * 1000]


def test_a_mark_for_several_readings_is_a_bar_that_the_legend_explains() -> None:
    columns = readings(12, anomalous=(2, 4, 5, 9, 11))
    columns["stands_for"] = np.array([0, 0, 40, 0, 0, 3, 0, 0, 0, 7, 0, 0])
    bars = trace(drawn(columns), "Anomalous (a bar: all within 2 min)")
    assert bars["mode"] == "lines+markers"
    power = unpacked(bars["y"])
    assert np.nan_to_num(power, nan=-1).tolist() == [2, 4, -1, 5, -1, 9, 11]
    assert len(unpacked(bars["x"])) == len(unpacked(bars["customdata"])) == len(power)


def test_the_legend_names_anomalies_before_there_is_one() -> None:
    nowhere = trace(drawn(readings(4)), "Anomalous")
    assert np.isnan(unpacked(nowhere["y"])).tolist() == [True]


def test_a_hole_in_the_readings_breaks_the_line() -> None:
    columns = readings(20)
    columns["at"][10:] += 7200
    power = unpacked(trace(drawn(columns), "Actual")["y"])
    assert np.flatnonzero(np.isnan(power)).tolist() == [10]
    assert np.nanmax(power) == 19


def test_close_anomalies_in_a_thinned_series_do_not_break_the_line_elsewhere() -> None:
    thin = START + 86_400 * np.arange(60)
    close = int(thin[30]) + 60 * np.arange(1, 100)
    at = np.sort(np.concatenate([thin, close]))
    found = np.isin(at, close)
    columns = readings(len(at)) | {"at": at, "anomalous": found, "stands_for": found.astype(int)}
    assert not np.isnan(unpacked(trace(drawn(columns), "Actual")["y"])).any()


def test_events_are_tinted_behind_the_readings() -> None:
    (shape,) = drawn(readings(30), (Span(START + 300, START + 600, "sag"),))["layout"]["shapes"]
    assert (shape["x0"], shape["x1"]) == ((START + 300) * 1000, (START + 600) * 1000)
    assert shape["layer"] == "below"


HOURS = 100  # of a picture
EVENT = st.tuples(
    st.integers(-5, HOURS + 5), st.integers(0, 20), st.sampled_from(["sag", "unusually high consumption"])
)


@given(events=st.lists(EVENT, max_size=12))
def test_what_events_were_is_written_inside_the_picture_and_never_over_each_other(
    events: list[tuple[int, int, str]],
) -> None:
    end = START + HOURS * 3600
    columns = readings(HOURS + 1, step=3600)
    spans = tuple(Span(START + begin * 3600, START + (begin + long) * 3600, kind) for begin, long, kind in events)
    words = drawn(columns, spans)["layout"]["annotations"]
    middles = [word["x"] / 1000 for word in words]
    half = 0.125 * HOURS * 3600
    assert all(START + half - 1 <= middle <= end - half + 1 for middle in middles)
    assert all(newer - older >= 2 * half - 1 for newer, older in itertools.pairwise(middles))
    assert {word["text"].replace("<br>", " ") for word in words} <= {span.kind for span in spans}
    seen = [span for span in spans if span.start <= end and span.end >= START]
    assert bool(words) == bool(seen)
    if words:
        assert words[0]["text"].replace("<br>", " ") == max(seen).kind


def test_words_have_room_above_the_readings() -> None:
    plain, told = (drawn(readings(30), spans) for spans in ((), (Span(START, START + 600, "sag"),)))
    assert told["layout"]["yaxis"]["range"][1] > plain["layout"]["yaxis"]["range"][1] > 30


def test_export_is_below_zero_and_zero_is_always_seen() -> None:
    columns = readings(30)
    moved = {name: columns[name] - 50 for name in ("active_power_kw", "expected_kw", "lower_kw", "upper_kw")}
    low, high = drawn(columns | moved)["layout"]["yaxis"]["range"]
    assert low < -51
    assert high >= 0
    assert drawn(readings(30))["layout"]["yaxis"]["range"][0] < 0  # the band's lower end
    nothing = readings(3) | dict.fromkeys(
        ("active_power_kw", "expected_kw", "lower_kw", "upper_kw"), np.full(3, np.nan)
    )
    assert "range" not in drawn(nothing)["layout"]["yaxis"]


def test_no_readings_say_so() -> None:
    figure = drawn(readings(0))
    assert figure["data"] == []
    assert "No readings" in figure["layout"]["annotations"][0]["text"]


@pytest.mark.parametrize(("step", "seconds"), [(60, False), (1, True)])
def test_seconds_are_told_where_there_are_any(step: int, *, seconds: bool) -> None:
    assert drawn(readings(9, step=step))["layout"]["xaxis"]["hoverformat"].endswith(":%S") == seconds


def test_times_are_the_zones_and_the_axis_says_which() -> None:
    figure = live_figure(readings(3), (), window=(START, START + 120), zone=PARIS, view="?")
    assert figure["layout"]["xaxis"]["title"]["text"] == "Time (Europe/Paris)"
    assert unpacked(trace(figure, "Actual")["x"])[0] == (START + 3600) * 1000


@given(at=st.lists(st.integers(0, 4_000_000_000), max_size=40))
def test_local_seconds_equal_the_standard_librarys(at: list[int]) -> None:
    expected = []
    for one in at:
        offset = datetime.fromtimestamp(one, UTC).astimezone(PARIS).utcoffset()
        assert offset is not None
        expected.append(one + int(offset.total_seconds()))
    assert expected == local_seconds(np.asarray(at, np.int64), PARIS).tolist()


@given(
    steps=st.lists(st.sampled_from([60, 60, 60, 61, 5000]), min_size=1, max_size=60), resolution=st.floats(1.0, 1000.0)
)
def test_breaks_keep_every_reading_in_order(steps: list[int], resolution: float) -> None:
    at = START + np.cumsum(steps)
    power = np.arange(len(at), dtype=float)
    broken_at, broken = with_breaks(at, {"power": power}, resolution=resolution)
    kept = ~np.isnan(broken["power"])
    assert power.tolist() == broken["power"][kept].tolist()
    assert at.tolist() == broken_at[kept].tolist()
    assert (np.diff(broken_at) > 0).all()


def overview() -> dict[str, theme.Figure]:
    """One of each overview figure, of small made-up values."""
    months, days = ["2007-10", "2007-11", "2007-12"], ["2007-12-01", "2007-12-02"]
    return {
        "scatter": overview_figures.scatter_figure(readings(9, anomalous=(3,)), zone=UTC_ZONE, view="?"),
        "monthly": overview_figures.monthly_figure(
            months, np.array([1.0, 2.0, 4.0]), np.array([np.nan, 1.5, 3.0]), view="?"
        ),
        "daily": overview_figures.daily_figure(
            days, np.array([20.0, 30.0]), np.array([np.nan, 25.0]), window=2, zone=UTC_ZONE, view="?"
        ),
        "week": pattern_figures.week_figure(np.arange(168.0).reshape(7, 24), zone=UTC_ZONE, view="?"),
        "voltage": pattern_figures.voltage_figure(np.array([230.0, 235.0, 240.0]), np.array([7, 9]), view="?"),
        "correlation": pattern_figures.correlation_figure(
            ["active_power_kw", "voltage_v"], np.array([[1.0, -0.4], [-0.4, np.nan]]), view="?"
        ),
    }


@pytest.mark.parametrize("name", ["scatter", "monthly", "daily", "week", "voltage", "correlation"])
def test_every_figure_is_plain_json_that_plotly_accepts(name: str) -> None:
    figure = overview()[name]
    json.dumps(figure, allow_nan=False)
    graph_objects.Figure(figure)  # refuses what plotly's schema does not know


def test_the_live_figure_is_plain_json_that_plotly_accepts() -> None:
    figure = drawn(readings(12, anomalous=(4,)), (Span(START, START + 60, "sag"),))
    json.dumps(figure, allow_nan=False)
    graph_objects.Figure(figure)


@pytest.mark.parametrize(
    ("name", "axis", "unit"),
    [
        ("scatter", "xaxis", "(UTC)"),
        ("scatter", "yaxis", "(kW)"),
        ("monthly", "yaxis", "(kW)"),
        ("daily", "xaxis", "(UTC)"),
        ("daily", "yaxis", "(kWh)"),
        ("week", "xaxis", "(UTC)"),
        ("voltage", "xaxis", "(V)"),
    ],
)
def test_axes_say_their_unit_or_zone(name: str, axis: str, unit: str) -> None:
    assert overview()[name]["layout"][axis]["title"]["text"].endswith(unit)


def test_the_scatter_parts_normal_from_anomalous() -> None:
    figure = overview()["scatter"]
    assert unpacked(trace(figure, "Normal")["y"]).tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
    assert unpacked(trace(figure, "Anomalous")["y"]).tolist() == [3]
    assert trace(figure, "Normal")["marker"]["color"] == theme.NORMAL
    assert trace(figure, "Anomalous")["marker"]["color"] == theme.ANOMALOUS
    assert trace(figure, "Normal")["marker"]["symbol"] != trace(figure, "Anomalous")["marker"]["symbol"]


def test_the_scatters_legend_names_anomalies_before_there_is_one() -> None:
    nowhere = trace(overview_figures.scatter_figure(readings(4), zone=UTC_ZONE, view="?"), "Anomalous")
    assert np.isnan(unpacked(nowhere["y"])).tolist() == [True]
    assert nowhere["showlegend"]


def test_one_reading_has_an_axis_of_minutes() -> None:
    axis = overview_figures.scatter_figure(readings(1), zone=UTC_ZONE, view="?")["layout"]["xaxis"]
    assert axis["range"] == [START * 1000, (START + 600) * 1000]


def test_the_monthly_average_starts_in_the_second_month() -> None:
    average = unpacked(trace(overview()["monthly"], "Two-month moving average")["y"])
    assert np.isnan(average[0])
    assert average[1:].tolist() == [1.5, 3.0]


def test_voltage_bars_stand_in_the_middle_of_their_bins() -> None:
    (bars,) = overview()["voltage"]["data"]
    assert unpacked(bars["x"]).tolist() == [232.5, 237.5]
    assert unpacked(bars["y"]).tolist() == [7, 9]


@given(
    zeros=st.integers(0, 40),
    volts=st.lists(st.floats(225, 250), min_size=1, max_size=300),
    bins=st.sampled_from([10, 60, 1000]),
)
def test_every_voltage_is_in_a_bar_and_an_outage_does_not_squash_them(
    zeros: int, volts: list[float], bins: int
) -> None:
    counts, edges = np.histogram([0.0] * zeros + volts * 40, bins)
    figure = pattern_figures.voltage_figure(edges, counts, view="?")
    (bars,) = figure["data"]
    heights, middles, widths = (unpacked(bars[name]) for name in ("y", "x", "width"))
    assert heights.sum() == counts.sum()
    assert np.allclose(middles[1:] - middles[:-1], (widths[1:] + widths[:-1]) / 2, atol=1e-3)
    low, high = figure["layout"]["xaxis"]["range"]
    seen = (middles >= low) & (middles <= high)
    assert heights[seen].sum() >= 0.98 * counts.sum()
    assert seen.sum() <= 2 * pattern_figures.BARS
    if zeros * 200 < counts.sum():
        assert low > 224 - (edges[1] - edges[0])


NOTHING = np.full((7, 24), np.nan)


@pytest.mark.parametrize(
    "figure",
    [
        overview_figures.scatter_figure(readings(0), zone=UTC_ZONE, view="?"),
        overview_figures.monthly_figure(["2007-11"], np.full(1, np.nan), np.full(1, np.nan), view="?"),
        overview_figures.daily_figure(
            ["2007-11-01"], np.full(1, np.nan), np.full(1, np.nan), window=7, zone=UTC_ZONE, view="?"
        ),
        pattern_figures.voltage_figure(np.array([0.0, 1.0]), np.zeros(1, np.int64), view="?"),
        pattern_figures.correlation_figure(["voltage_v"], np.full((1, 1), np.nan), view="?"),
    ],
    ids=["scatter", "monthly", "daily", "voltage", "correlation"],
)
def test_what_is_not_known_is_said_in_words(figure: theme.Figure) -> None:
    assert figure["data"] == []
    assert len(figure["layout"]["annotations"]) == 1


def test_a_week_without_readings_is_empty_and_one_hour_has_a_scale_from_zero() -> None:
    (heat,) = pattern_figures.week_figure(NOTHING, zone=UTC_ZONE, view="?")["data"]
    assert (heat["zmin"], heat["zmax"]) == (0, 1)
    one = NOTHING.copy()
    one[3, 5] = 0.3
    (heat,) = pattern_figures.week_figure(one, zone=UTC_ZONE, view="?")["data"]
    assert (heat["zmin"], heat["zmax"], heat["z"][3][5]) == (0, 0.3, 0.3)


@pytest.mark.parametrize(("value", "text"), [(1.0, "1.00"), (-0.654, "\u2212.65"), (0.0, ".00"), (-0.001, ".00")])
def test_a_correlation_fits_into_its_cell(value: float, text: str) -> None:
    figure = pattern_figures.correlation_figure(["voltage_v"], np.array([[value]]), view="?")
    assert figure["data"][0]["text"] == [[text]]


def test_a_new_picture_keeps_the_readers_zoom() -> None:
    figure = overview()["scatter"]
    before = list(figure["layout"]["xaxis"]["range"])
    theme.keep_zoom(figure, {"autosize": True, "xaxis.autorange": True})
    assert figure["layout"]["xaxis"]["range"] == before
    theme.keep_zoom(figure, {"xaxis.range[0]": "2007-11-01", "xaxis.range[1]": "2007-11-02", "dragmode": "pan"})
    assert figure["layout"]["xaxis"]["range"] == ["2007-11-01", "2007-11-02"]
    assert "range" not in figure["layout"]["yaxis"]


def test_an_unknown_correlation_stays_empty() -> None:
    (heat,) = overview()["correlation"]["data"]
    assert heat["z"] == [[1.0, -0.4], [-0.4, None]]


def contrast(colour: str, ground: str) -> float:
    """The contrast of two colours as WCAG counts it."""

    def luminance(text: str) -> float:
        parts = [int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(colour), luminance(ground)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("ground", ["#ffffff", "#191f26"])
@pytest.mark.parametrize("colour", [theme.NORMAL, theme.ANOMALOUS, theme.EXPECTED, theme.AVERAGE])
def test_every_line_can_be_seen_on_the_light_and_on_the_dark_page(colour: str, ground: str) -> None:
    assert contrast(colour, ground) >= 3


def test_packed_times_are_an_eighth_of_a_list() -> None:
    at = START + 60 * np.arange(1000)
    assert len(times(at, UTC_ZONE)["bdata"]) < 11 * 1000
