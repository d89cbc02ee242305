"""The meter's page beside its power: channels, marks and the explanation of a reading."""

from __future__ import annotations

import base64
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest

from meterwatch.settings import Settings
from meterwatch.storage import queries, tables
from meterwatch.storage.marks import EXACT_SECONDS, HOURLY_SECONDS, Marks, marks
from meterwatch.storage.meters import MeterStore
from meterwatch.storage.tables import Advance, Batch
from serving.dashboard import address
from serving.dashboard.channel_panels import with_channels, with_marks
from serving.dashboard.explanation_card import explanation
from serving.dashboard.live_figures import live_figure
from serving.dashboard.reads import Pages
from tests.alternately import stop_reading
from tests.households import START, household
from tests.stored import store

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

UTC_ZONE = ZoneInfo("UTC")
HOUR, DAY = 3600, 86_400
CHANNELS = tuple(queries.CHANNEL_COLUMNS)


def commit(
    run_dir: Path,
    at: NDArray[np.int64],
    *,
    status: str = "warming_up",
    model: str = "1",
    refused: tuple[tuple[bytes, str], ...] = (),
) -> None:
    """Commit readings of one status with refused records after them, as (key, reason)."""
    stop_reading()
    with MeterStore(run_dir / "meterwatch.db") as db:
        ledger = db.known.ledger("first")
        begin = ledger["next_offset"][0].as_py() if ledger.num_rows else None
        first, n, k = begin or 0, len(at), len(refused)
        keys = {"meter_id": ["m"] * n, "at": at}
        nothing = pa.nulls(n, pa.float64())
        readings = keys | {name: np.ones(n) for name in tables.CHANNEL_COLUMNS}
        readings |= {"partition": np.zeros(n, np.int32), "record_offset": first + np.arange(n)}
        verdicts = keys | {"status": [status] * n} | dict.fromkeys(tables.VERDICTS.names[3:], nothing)
        verdicts |= {
            "anomalous": pa.nulls(n, pa.bool_()),
            "reason": pa.nulls(n, pa.string()),
            "model_version": [model] * n,
        }
        rejected = {
            "partition": [0] * k,
            "record_offset": [first + n + i for i in range(k)],
            "record_key": [key for key, _ in refused],
            "raw": [b"?"] * k,
            "reason": [reason for _, reason in refused],
        }
        db.commit(
            Batch(
                "id", "first", pa.table(readings, schema=tables.READINGS), pa.table(verdicts, schema=tables.VERDICTS),
                tables.EVENTS.empty_table(), tables.STATES.empty_table(), tables.PROFILES.empty_table(),
                tables.SNAPSHOTS.empty_table(),
                pa.table(rejected, schema=tables.REJECTED),
                [Advance(0, begin, first + n + k, records=n + k, stored=n, duplicates=0, rejected=k, held=0)],
            )
        )  # fmt: skip


def found(run_dir: Path, start: int, end: int) -> Marks:
    """The marks of the meter."""
    with queries.reading(Settings(run_dir=run_dir)) as db:
        return marks(db, "m", start, end)


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    """A day: ten hours by model 1 with one gap, an hour of late ones, the rest by model 2; refused records between."""
    at = START + 60 * np.arange(1440)
    commit(tmp_path, at[:600])
    commit(
        tmp_path, at[600:603], status="gap", refused=((b"m", "conflict"), (b"other", "conflict"), (b"m", "bad_time"))
    )
    commit(tmp_path, at[603:1000])
    commit(tmp_path, at[-60:], model="2")
    commit(tmp_path, at[1000:1003], status="late", model="2")
    return tmp_path


def test_marks_are_where_things_happened(marked: Path) -> None:
    shown = found(marked, START, START + DAY)
    assert shown.gap == [START + 60 * k for k in (600, 601, 602)]
    assert shown.late == [START + 60 * k for k in (1000, 1001, 1002)]
    assert shown.rejected == [(START + 602 * 60, "conflict"), (START + 602 * 60, "bad_time")]
    assert shown.models == [(START + 1000 * 60, "2")]
    assert found(marked, START, START + 600 * 60 - 1) == Marks([], [], [], [])


def test_a_long_range_marks_the_hours_and_a_longer_one_the_days(marked: Path) -> None:
    shown = found(marked, START - EXACT_SECONDS, START + DAY)
    assert shown.gap == [START + 10 * HOUR]
    assert shown.late == [START + 16 * HOUR]
    assert shown.models == [(START + 1000 * 60, "2")]
    longer = found(marked, START - HOURLY_SECONDS, START + DAY)
    assert (longer.gap, longer.late) == ([START], [START])


def test_refused_records_are_not_placed_on_a_topic_made_anew(marked: Path) -> None:
    stop_reading()
    with MeterStore(marked / "meterwatch.db") as db:
        names = ("READINGS", "VERDICTS", "EVENTS", "STATES", "PROFILES", "SNAPSHOTS", "REJECTED")
        nothing = [getattr(tables, name).empty_table() for name in names]
        db.commit(Batch("other", "first", *nothing, [Advance(0, None, 1, 1, 0, 1, 0, 0)]))
    assert found(marked, START, START + DAY).rejected == []


def test_the_picture_names_each_kind_of_mark_and_the_models(marked: Path) -> None:
    moved = Pages(Settings(run_dir=marked), UTC_ZONE, lambda: "2", lambda: None).live("?range=1d", "m", 0)
    assert moved is not None
    assert moved.figure is not None
    names = [trace["name"] for trace in moved.figure["data"] if trace.get("yaxis") == "y9"]
    assert names == ["Not judged: gap", "Not judged: late", "Refused record"]
    assert "model 2" in [text["text"] for text in moved.figure["layout"]["annotations"]]
    (line,) = [shape for shape in moved.figure["layout"]["shapes"] if shape["type"] == "line"]
    assert line["x0"] == (START + 1000 * 60) * 1000


def drawn(channels: NDArray[np.float64], at: NDArray[np.int64]) -> tuple[dict[str, Any], int]:
    """A picture of channels (7, n) with its panels, and how many those are."""
    columns: dict[str, NDArray[Any]] = {"at": at, "active_power_kw": channels[0], "anomalous": np.zeros(len(at), bool)}
    columns["stands_for"] = np.zeros(len(at), int)
    columns |= dict.fromkeys(("expected_kw", "lower_kw", "upper_kw", "score", "threshold"), channels[0])
    figure = live_figure(columns, [], window=(int(at[0]), int(at[-1])), zone=UTC_ZONE, view="?")
    named = dict(zip(CHANNELS, channels, strict=True))
    return figure, with_channels(figure, at, named, resolution=60, zone=UTC_ZONE)


def test_every_channel_has_its_values_on_one_time_axis() -> None:
    at, channels = household(days=1, seed=1, cadence=600)
    figure, panels = drawn(channels, at)
    assert panels == 4
    units = {trace["name"]: trace for trace in figure["data"] if "yaxis" in trace}
    values = np.frombuffer(base64.b64decode(units["Voltage"]["y"]["bdata"]), "<f4")
    np.testing.assert_allclose(values, channels[2], rtol=1e-6)
    assert {trace.get("xaxis", "x") for trace in figure["data"]} == {"x"}
    layout = figure["layout"]
    domains = sorted(layout[name]["domain"] for name in layout if name.startswith("yaxis"))
    assert all(below[1] < above[0] for below, above in pairwise(domains))
    assert (domains[0][0] >= 0, domains[-1][1]) == (True, 1)


def test_a_channel_that_a_meter_lacks_takes_no_room() -> None:
    at, channels = household(days=1, seed=1, cadence=600)
    channels[1:] = np.nan
    figure, panels = drawn(channels, at)
    assert panels == 0
    assert "domain" not in figure["layout"]["yaxis"]
    channels[2] = 230.0
    assert drawn(channels, at)[1] == 1


def test_marks_without_any_change_nothing() -> None:
    at, channels = household(days=1, seed=1, cadence=600)
    figure, _ = drawn(channels, at)
    before = len(figure["data"]), str(figure["layout"])
    with_marks(figure, Marks([], [], [], []), zone=UTC_ZONE)
    assert (len(figure["data"]), str(figure["layout"])) == before


ANSWER: dict[str, Any] = {
    "ok": True,
    "at": "2009-01-01T12:00:00Z",
    "reading": {"active_power_kw": 2.5},
    "verdict": {
        "status": "scored", "anomalous": True, "score": 1.2, "threshold": 0.0, "expected_kw": 0.5, "lower_kw": 0.1,
        "upper_kw": 0.9, "reason": "mean of 3 hours far above the usual",
    },
    "contributions": [
        {"amount": 2.0, "words": "mean", "window_min": 180, "value": 2.2, "unit": "kW",
         "usual": 0.4, "usual_low": 0.3, "usual_high": 0.6},
        {"amount": -0.8, "words": "an ordinary quarter hour"},
    ],
    "by_channel": {"active power": 2.0, "other": -0.8},
    "by_window_min": {"180": 2.0, "other": -0.8},
    "same_hour_earlier_weeks": [{"at": "2008-12-25T12:00:00Z", "mean_kw": 0.4, "least_kw": 0.3, "greatest_kw": 0.6}],
    "lineage": {"model_version": "4", "git_revision": "f" * 40},
}  # fmt: skip


def test_an_explanation_is_told_in_words_and_amounts() -> None:
    told = str(explanation(ANSWER, zone=ZoneInfo("Europe/Paris"), close="/meter"))
    for said in ("2009-01-01 13:00", "2.500 kW: anomalous", "mean, 3 hours", "2.20 kW, usually 0.40 (0.30 to 0.60)",
                 "+2.00", "\u22120.80", "sum to the score, 1.20", "2008-12-25 13:00", "once in 1.3 years"):  # fmt: skip
        assert said in told


@pytest.mark.parametrize("part", [name for name in ANSWER if name not in ("ok", "at")])
def test_an_explanation_without_a_part_tells_the_others(part: str) -> None:
    told = str(explanation({name: value for name, value in ANSWER.items() if name != part}, zone=UTC_ZONE, close="/"))
    assert "2009-01-01 12:00" in told


def test_what_cannot_be_explained_says_why() -> None:
    assert "No reading" in str(explanation({"ok": False, "detail": "No reading of 'm'"}, zone=UTC_ZONE, close="/"))
    missing = {"contributions": None, "contributions_missing": "the state is pruned"}
    assert "the state is pruned" in str(explanation(ANSWER | missing, zone=UTC_ZONE, close="/"))
    assert "Click a reading" in str(explanation(None, zone=UTC_ZONE, close="/"))


def test_a_page_is_another_one_where_more_than_the_explained_reading_differs() -> None:
    first, second = "?meter=m&range=1d", "?range=1d&meter=m&at=2009-01-01"
    assert address.steady(address.METER, first) == address.steady(address.METER, second)
    assert address.steady(address.METER, first) != address.steady(address.METER, "?meter=m&range=6h")
    assert address.steady(address.NOW, "?q=a") == address.steady(address.NOW, "")
    assert address.steady(address.EVENTS, "") == ""


def test_a_hostile_meter_is_only_a_name(tmp_path: Path) -> None:
    hostile = "</script><script>alert(1)</script>"
    at, channels = household(days=1, seed=1, cadence=600)
    store(tmp_path / "meterwatch.db", hostile, at, channels)
    shown = Pages(Settings(run_dir=tmp_path), UTC_ZONE, lambda: "1", lambda: None).page(address.METER, "")
    assert shown.meter_id == hostile
