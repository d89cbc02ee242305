"""The backtest: causal, one verdict a reading, the same however the rows come, clear about what it cannot use."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import meterwatch
from meterwatch import backtesting
from meterwatch.backtesting import backtest_file, judge, moment, run
from meterwatch.detection.detector import Detector
from meterwatch.detection.errors import DataError
from meterwatch.detection.faults import inject_one
from meterwatch.detection.params import DetectorParams
from meterwatch.detection.readings import CHANNELS
from tests.households import START, household
from training.fit import FitParams
from training.meter_files import meters
from training.series import Series

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400
SMALL = FitParams(
    trees=10, sample=128, filters=4, epochs=1, segments=60, faults=1, faults_per_month=10.0, iterations=8, folds=2
)
VERDICTS = ["meter_id", "at", "status", "score", "threshold", "anomalous", "expected_kw", "lower_kw", "upper_kw"]
EVENTS = ["meter_id", "start_at", "end_at", "peak_at", "severity", "kind"]


def half_hours(days: int, meter_id: str, seed: int) -> pd.DataFrame:
    at, channels = household(days, seed, cadence=1800)
    return pd.DataFrame({"meter_id": meter_id, "at": pd.to_datetime(at, unit="s", utc=True), CHANNELS[0]: channels[0]})


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Two half-hourly meters of 70 days, one silent after 30, one without any value, one constant."""
    parts = [
        half_hours(70, "a", 1),
        half_hours(70, "b", 2),
        half_hours(30, "early", 3),
        half_hours(70, "blind", 4).assign(active_power_kw=np.nan),
        half_hours(70, "flat", 5).assign(active_power_kw=0.5),
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def end() -> pd.Timestamp:
    """Sixty days are for training."""
    return pd.Timestamp(START + 60 * DAY, unit="s", tz="UTC")


@pytest.fixture(scope="module")
def whole(frame: pd.DataFrame, end: pd.Timestamp) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The backtest of all of it, through the package's door."""
    verdicts, events = meterwatch.backtest(frame, train_end=end, params=SMALL, timezone="UTC")
    return verdicts, events


def test_one_verdict_for_each_reading_from_the_end_of_training(
    frame: pd.DataFrame, end: pd.Timestamp, whole: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    """The contract's columns; scores just where scored; anomalous is score >= threshold and nothing else."""
    verdicts, events = whole
    assert set(VERDICTS) <= set(verdicts)
    assert set(EVENTS) <= set(events)
    later = frame[frame["at"] >= end].sort_values(["meter_id", "at"])
    assert verdicts["meter_id"].tolist() == later["meter_id"].tolist()
    assert (verdicts["at"].to_numpy() == later["at"].dt.as_unit("s").to_numpy()).all()
    scored = verdicts["status"] == "scored"
    for name in ("score", "threshold", "expected_kw", "lower_kw", "upper_kw"):
        assert verdicts[name].notna().equals(scored), name
    assert np.isfinite(verdicts.loc[scored, "score"]).all()
    assert verdicts["anomalous"].equals(verdicts["score"] >= verdicts["threshold"])
    assert scored[verdicts["meter_id"] == "a"].all()
    assert not scored[verdicts["meter_id"] == "blind"].any()


def test_training_never_sees_what_comes_after(
    frame: pd.DataFrame, end: pd.Timestamp, whole: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    """Another future, mixed order and doubled rows: the verdicts up to the change stay the same, training included."""
    turn = end + pd.Timedelta(days=3)
    other = frame.copy()
    other.loc[other["at"] >= turn, "active_power_kw"] = 7.0
    other = pd.concat([other, other[100:160]]).sample(frac=1, random_state=3)
    verdicts, _ = meterwatch.backtest(other, train_end=end, params=SMALL, timezone="UTC")
    first = whole[0][whole[0]["at"] < turn].reset_index(drop=True)
    pd.testing.assert_frame_equal(verdicts[verdicts["at"] < turn].reset_index(drop=True), first, check_exact=True)
    assert verdicts["anomalous"].sum() > whole[0]["anomalous"].sum()


def test_cutting_the_input_changes_no_earlier_verdict(bundle: Path, rng: np.random.Generator) -> None:
    """For any moment after the training: the whole run's verdicts up to it are those of the cut run, bit for bit."""
    at, channels = household(16, seed=31)
    channels, _ = inject_one(at, channels, "stuck", START + 13 * DAY, 3, 1.0, duration_s=10 * 3600)
    loaded, since = Detector.load(bundle), START + 12 * DAY
    # So small a bundle is cautious: a threshold under which something is found.
    detector = Detector(replace(loaded.params, threshold=-1.0), loaded.models)
    full, events, _ = judge(detector, [Series("m", at, channels)], since, lambda _: None)
    assert full["anomalous"].to_numpy().any()
    for stop in (since + rng.integers(1, 4 * DAY, 4)).tolist():
        cut, cut_events, _ = judge(detector, [Series("m", at, channels).between(START, stop)], since, lambda _: None)
        assert cut.equals(full.slice(0, len(cut)))
        begun = [e for e in events.to_pylist() if e["start_at"].timestamp() < stop]
        assert [e["event_id"] for e in cut_events.to_pylist()] == [e["event_id"] for e in begun]


def test_steps_only_bound_the_memory(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Judged in many steps or in one: the same tables."""
    series = [Series(name, *household(5, seed)) for name, seed in (("a", 1), ("b", 2))]
    detector = Detector.load(bundle)
    told: list[str] = []
    once = judge(detector, series, START + 3 * DAY + 7, told.append)
    monkeypatch.setattr(backtesting, "CHUNK", 1111)
    often = judge(detector, series, START + 3 * DAY + 7, told.append)
    assert once == often
    assert len(told) > 10


def test_a_file_gives_what_the_frame_gives(
    frame: pd.DataFrame, end: pd.Timestamp, whole: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path
) -> None:
    """CSV in, two Parquet files out, with progress told and counts kept."""
    frame.to_csv(tmp_path / "in.csv", index=False)
    told: list[str] = []
    result = backtest_file(
        tmp_path / "in.csv",
        train_end=end.isoformat(),
        out=tmp_path / "v.parquet",
        events=tmp_path / "e.parquet",
        params=SMALL,
        timezone="UTC",
        progress=told.append,
    )
    pd.testing.assert_frame_equal(
        pq.read_table(tmp_path / "v.parquet").to_pandas()[VERDICTS[2:]], whole[0][VERDICTS[2:]]
    )
    assert len(pq.read_table(tmp_path / "e.parquet")) == len(whole[1])
    assert result.meters == 5
    assert result.trained_on == int((frame["at"] < end).sum())
    assert (result.doubles, result.rejected) == (0, 0)
    assert told[0].startswith("reading")
    assert told[-1].startswith("judging")


def test_what_cannot_be_used_is_said(frame: pd.DataFrame, end: pd.Timestamp, tmp_path: Path) -> None:
    """Nothing before or after the end of training, too little, nothing with power, no place to write to."""
    data = meters(frame, "UTC")
    last = int(frame["at"].max().timestamp())
    with pytest.raises(DataError, match=r"no readings before 2000-01-01T00:00:00Z.*2009-01-01T00:00:00Z to 2009-03"):
        run(data, moment("2000-01-01", "UTC"), params=SMALL)
    with pytest.raises(DataError, match=r"no readings from .* on to judge"):
        run(data, last + 1, params=SMALL)
    with pytest.raises(DataError, match="day"):
        run(data, START + 3 * 3600, params=SMALL)
    with pytest.raises(DataError, match="no meter has readings with power"):
        run(meters(frame, "UTC", "blind"), int(end.timestamp()), params=SMALL)
    with pytest.raises(DataError, match="not one reading"):
        run(meters(frame[:0], "UTC"), int(end.timestamp()), params=SMALL)
    for text in ("soon", "", "2009-13-01"):
        with pytest.raises(DataError, match="no time to train until"):
            moment(text, "UTC")
    with pytest.raises(DataError, match="no directory"):
        backtest_file(tmp_path / "x", train_end="2009-02-01", out=tmp_path / "no" / "v", events=tmp_path / "e")


@pytest.mark.parametrize("level", [0.5, -1.0, 400_000.0, 1e308])
def test_a_constant_meter_alone_never_crashes(level: float, end: pd.Timestamp, frame: pd.DataFrame) -> None:
    """Any constant, mistaken units included: finite scores, or an error that says what is missing."""
    flat = frame[frame["meter_id"] == "flat"].assign(active_power_kw=level)
    data = meters(flat, "UTC")
    if abs(level) > DetectorParams().limit_power:
        with pytest.raises(DataError, match="could be judged"):
            run(data, int(end.timestamp()), params=SMALL)
        return
    table = run(data, int(end.timestamp()), params=SMALL).verdicts.to_pandas()
    assert len(table) == 480
    assert np.isfinite(table.loc[table["status"] == "scored", "score"]).all()
