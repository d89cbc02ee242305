"""The door for evaluation: train on what is before a moment, judge what follows with the code that runs live."""

# ruff: noqa: PD008 - `at` is a series' times, not the accessor of pandas

from __future__ import annotations

import datetime as dt
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from meterwatch.detection.detector import Detector
from meterwatch.detection.errors import DataError
from meterwatch.detection.readings import REJECTED, STATUSES
from meterwatch.settings import load
from training.fit import FitParams, fit
from training.meter_files import MeterData, instants, meters, read_frame
from training.params import load as load_params
from training.series import together

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from meterwatch.detection.params import DetectorParams
    from meterwatch.detection.readings import Event, Readings, Verdicts
    from training.series import Series

    Progress = Callable[[str], None]

CHUNK = 250_000  # readings judged at once: bounds the memory
TIME = pa.timestamp("s", tz="UTC")


@dataclass(frozen=True, slots=True)
class Backtest:
    """What a backtest answers: tables with the contract's columns, and what was left out of them."""

    verdicts: pa.Table
    events: pa.Table
    meters: int
    trained_on: int  # readings before the moment
    doubles: int
    no_such_time: int
    rejected: int  # from the moment on: out of range or a jump of the clock
    ignored: tuple[str, ...]  # columns


def backtest(
    frame: pd.DataFrame,
    *,
    train_end: str | dt.datetime,
    meter: str | None = None,
    params: FitParams | None = None,
    detector: DetectorParams | None = None,
    timezone: str | None = None,
    progress: Progress | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train on rows before `train_end` and judge those from it on.

    Args:
        frame: columns as `training.meter_files.meters` says; not changed.
        train_end: ISO-8601 text or a time; without an offset it is of `timezone`.
        meter: selects a meter; names the only one where there is no `meter_id`.
        params: sizes of what is learned.
        detector: what the detector is told.
        timezone: of times without an offset; the setting TIMEZONE where left out.
        progress: told each step.

    Returns:
        Verdicts, one for each distinct accepted reading from `train_end` on, and events.

    Raises:
        DataError: the frame or `train_end` cannot be used; the message says why.
    """
    local = timezone or load().timezone
    result = run(
        meters(frame, local, meter), moment(train_end, local), params=params, detector=detector, progress=progress
    )
    return result.verdicts.to_pandas(), result.events.to_pandas()


def backtest_file(
    file: Path,
    *,
    train_end: str,
    out: Path,
    events: Path,
    meter: str | None = None,
    params: FitParams | None = None,
    detector: DetectorParams | None = None,
    timezone: str | None = None,
    progress: Progress | None = None,
) -> Backtest:
    """As `backtest`, from a file into two Parquet files."""
    local = timezone or load().timezone
    end = moment(train_end, local)
    for path in (out, events):
        if not path.parent.is_dir():
            raise DataError(f"cannot write {path}: there is no directory {path.parent}; make it first")
    if progress:
        progress(f"reading {file}")
    result = run(meters(read_frame(file), local, meter), end, params=params, detector=detector, progress=progress)
    pq.write_table(result.verdicts, out)
    pq.write_table(result.events, events)
    return result


def params_from(path: Path) -> tuple[FitParams, DetectorParams]:
    """What a `params.yaml` says of the models, as a backtest takes it.

    Raises:
        DataError: it cannot be read, or a parameter is unknown, missing or of the wrong type.
    """
    told = load_params(path)
    return FitParams(
        trees=told.forest.trees, sample=told.forest.sample, filters=told.sequence.filters, epochs=told.sequence.epochs,
        segments=told.sequence.segments, faults=told.calibrate.faults, iterations=told.calibrate.iterations,
        faults_per_month=told.calibrate.faults_per_month, folds=told.calibrate.folds, seed=told.forest.seed,
    ), told.detector  # fmt: skip


def moment(text: str | dt.datetime, timezone: str) -> int:
    """A time as unix seconds; without an offset it is of `timezone`."""
    try:
        at, exists = instants(pd.Series([text]), timezone)
    except (DataError, ValueError, TypeError) as error:
        raise DataError(f"{text!r} is no time to train until; give one such as 2007-05-01T00:00:00Z") from error
    if not exists[0]:
        raise DataError(f"{text!r} does not exist in {timezone}: daylight saving skips it; choose another time")
    return int(at[0])


def run(
    data: MeterData,
    since: int,
    *,
    params: FitParams | None = None,
    detector: DetectorParams | None = None,
    progress: Progress | None = None,
) -> Backtest:
    """Train and judge.

    Args:
        data: the meters.
        since: unix seconds; models see what is before, verdicts are given from it on.
        params: sizes of what is learned.
        detector: what the detector is told.
        progress: told each step.

    Raises:
        DataError: nothing on one side of `since`, or too little to learn from.
    """
    say = progress or (lambda _: None)
    if not data.series or not len(data.series[0].at):
        raise DataError("there is not one reading; give at least two weeks before the moment and one after it")
    before = [one.between(int(one.at[0]), since) for one in data.series if one.at[0] < since]
    if not before:
        raise DataError(f"no readings before {_text(since)} to train on; the data hold {_range(data.series)}")
    if not any(one.at[-1] >= since for one in data.series):
        raise DataError(f"no readings from {_text(since)} on to judge; the data hold {_range(data.series)}")
    with tempfile.TemporaryDirectory(prefix="meterwatch-") as scratch:
        bundle = fit(
            before,
            params or FitParams(),
            Path(scratch),
            detector=detector,
            progress=lambda step: say(f"training: {step}"),
        )
        verdicts, events, rejected = judge(Detector.load(bundle), data.series, since, say)
    return Backtest(
        verdicts, events, len(data.series), sum(len(one.at) for one in before), data.doubles, data.no_such_time,
        rejected, data.ignored,
    )  # fmt: skip


def judge(detector: Detector, series: Sequence[Series], since: int, say: Progress) -> tuple[pa.Table, pa.Table, int]:
    """Run series through a detector from new states on.

    Args:
        detector: a fitted one.
        series: one entry a meter, sorted by time, with readings on both sides of `since`.
        since: unix seconds; what is before only moves the states.
        say: told each step.

    Returns:
        Verdicts and events from `since` on, and how many readings were rejected.
    """
    ids = [one.meter_id for one in series]
    states: list[bytes | None] = [None] * len(ids)
    profiles: list[bytes | None] = [None] * len(ids)
    judged: list[pa.Table] = []
    events: dict[str, Event] = {}
    rejected = 0
    steps = _steps(series, since)
    for number, (start, end) in enumerate(steps, 1):
        say(f"judging {number} of {len(steps)}")
        readings = together([one.between(start, end) for one in series])
        seen = detector.observe(ids, states, profiles, readings)
        states = list(seen.states)
        profiles = [new or old for new, old in zip(seen.profiles, profiles, strict=True)]
        events |= {event.event_id: event for event in seen.events}
        if start >= since:
            table = _verdicts(readings, seen.verdicts)
            judged.append(table.filter(pc.field("status") != STATUSES[REJECTED]))
            rejected += len(table) - len(judged[-1])
    verdicts = pa.concat_tables(judged).sort_by([("meter", "ascending"), ("at", "ascending")])
    names = pa.DictionaryArray.from_arrays(verdicts["meter"].combine_chunks(), pa.array(ids)).cast(pa.string())
    verdicts = verdicts.set_column(0, "meter_id", names)
    return verdicts, _events(ids, [e for e in events.values() if e.end_at is None or e.end_at >= since]), rejected


def _steps(series: Sequence[Series], since: int) -> list[tuple[int, int]]:
    """Spans of time with about CHUNK readings of all meters together; one of them begins at `since` or after it."""
    at = np.sort(np.concatenate([one.at for one in series]))
    steps = []
    for part in (at[at < since], at[at >= since]):
        edges = np.unique(part[::CHUNK]).tolist()
        steps += list(zip(edges, [*edges[1:], int(part[-1]) + 1], strict=True))
    return steps


def _verdicts(readings: Readings, verdicts: Verdicts) -> pa.Table:
    def text(code: NDArray[np.int32], words: Sequence[str]) -> pa.Array:
        return pa.DictionaryArray.from_arrays(code, pa.array(words, pa.string())).cast(pa.string())

    numbers = ("score", "threshold", "anomalous", "expected_kw", "lower_kw", "upper_kw")
    return pa.table(
        {
            "meter": readings.meter.astype(np.int32),
            "at": pa.array(readings.at).cast(TIME),
            "status": text(verdicts.status.astype(np.int32), STATUSES),
            **{name: pa.array(getattr(verdicts, name), from_pandas=True) for name in numbers},
            "reason": text(verdicts.reason, verdicts.reasons),
        }
    )


def _events(ids: Sequence[str], events: Sequence[Event]) -> pa.Table:
    events = sorted(events, key=lambda event: (event.meter, event.start_at))
    kinds = {"event_id": pa.string(), "severity": pa.float64(), "kind": pa.string(), "energy_kwh": pa.float64()}
    times = {name: pa.array([getattr(e, name) for e in events], TIME) for name in ("start_at", "end_at", "peak_at")}
    rest = {name: pa.array([getattr(e, name) for e in events], form) for name, form in kinds.items()}
    return pa.table({"meter_id": pa.array([ids[e.meter] for e in events], pa.string()), **times, **rest})


def _range(series: Sequence[Series]) -> str:
    return f"{_text(min(int(one.at[0]) for one in series))} to {_text(max(int(one.at[-1]) for one in series))}"


def _text(at: int) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
