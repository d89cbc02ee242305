"""Several replicas of the service, real processes: one that dies, hangs or has an older model harms nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import mlflow
import numpy as np
import pyarrow as pa
import pytest

from meterwatch.detection.detector import seal
from meterwatch.kafka import Topic
from meterwatch.settings import Settings
from meterwatch.status import status
from meterwatch.storage import champions
from meterwatch.storage.meters import MeterStore
from serving import replicas
from serving.client import Client
from streaming import scoring
from streaming.batches import Batches
from streaming.parse import RECORDS
from streaming.pipeline import _patient
from tests.comparing import compare, differences
from tests.households import household
from tests.instances import Instance, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

METERS, DAYS, EVERY, BATCHES = ("a", "b", "c"), 10, 5, 8
OLDER, NEWER = "1", "2"
LOWER = 1e-9  # is the threshold of the older model; no score lies between, so that both say the same of each reading


def records() -> list[pa.Table]:
    """Readings of three meters, which use far too much in the end, cut into batches."""
    rows = []
    for number, meter in enumerate(METERS):
        at, channels = household(days=DAYS, seed=number)
        channels[0, -400 * (number + 1) : -100] += 6.0
        rows += [(int(at[k]), meter, [float(value) for value in channels[:, k]]) for k in range(0, len(at), EVERY)]
    rows.sort(key=lambda row: row[:2])
    every = pa.Table.from_pylist(
        [
            {"partition": 0, "offset": offset, "key": meter.encode(), "value": b"", "meter_id": meter, "at": at,
             "channels": [None if np.isnan(value) else value for value in channels]}
            for offset, (at, meter, channels) in enumerate(rows)
        ],
        schema=RECORDS,
    )  # fmt: skip
    return [every.slice(begin, len(rows) // BATCHES) for begin in range(0, len(rows), len(rows) // BATCHES)]


def registry(directory: Path, bundles: Sequence[Path]) -> str:
    """The URL of a registry with these versions, of which the last is champion."""
    directory.mkdir()
    settings = Settings(mlflow_tracking_uri=f"sqlite:///{directory}/mlflow.db")
    client = mlflow.MlflowClient(settings.mlflow_tracking_uri)
    client.create_registered_model(settings.model_name)
    for bundle in bundles:
        client.create_model_version(settings.model_name, str(bundle))
    champions.promote(settings, str(len(bundles)))
    return settings.mlflow_tracking_uri


@pytest.fixture(scope="module")
def three(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Instance]]:
    """Two replicas with the newer model, and one whose registry has not heard of it."""
    place = tmp_path_factory.mktemp("replicas")
    older = shutil.copytree(bundle, place / "older")
    path = older / "params.json"
    params = json.loads(path.read_text())
    path.write_text(json.dumps(params | {"threshold": params["threshold"] - LOWER}))
    seal(older)
    new, old = registry(place / "new", [older, bundle]), registry(place / "old", [older])
    found = [Instance(place / name, url) for name, url in (("one", new), ("two", new), ("three", old))]
    for one in found:
        one.spawn("serve")
    try:
        with Client([one.url for one in found]) as client:
            wait_for("all to be ready", lambda: all(client.models().values()))
        yield found
    finally:
        for one in found:
            one.spawned[0].kill()


def stream(file: Path, urls: Sequence[str], between: Callable[[int], None] = lambda _: None) -> Path:
    """Have all readings judged and stored as the stream does; `between` is told how many batches are done."""
    ask = _patient(Settings(run_dir=file.parent, service_url=",".join(urls)), threading.Event(), once=False)
    with MeterStore(file) as store:
        batches = Batches(store, ask, Topic("first", "id", {0: (0, 0)}), {}, at_once=2 * len(urls))
        for number, batch in enumerate(records()):
            between(number)
            batches.take(batch)
            batches.finish()
        batches.close()
    return file


@pytest.fixture
def calm(three: list[Instance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The rows that one replica alone leads to."""
    monkeypatch.setattr(scoring, "MAX_METERS", 1)  # several requests a batch
    monkeypatch.setattr(replicas, "HANGS", 2.0)
    monkeypatch.setattr(replicas, "FIRST_REST", 0.2)
    return stream(tmp_path / "calm.db", [three[0].url])


def test_one_that_hangs_and_comes_back_changes_no_bit(calm: Path, three: list[Instance]) -> None:
    pid = three[0].spawned[0].pid
    steps = {2: signal.SIGSTOP, 6: signal.SIGCONT}
    try:
        found = stream(
            calm.with_name("hangs.db"),
            [one.url for one in three[:2]],
            lambda done: os.kill(pid, steps[done]) if done in steps else None,
        )
    finally:
        os.kill(pid, signal.SIGCONT)
    assert compare(found, calm)["events"].rows
    assert differences(compare(found, calm)) == 0


def test_one_that_dies_and_one_with_an_older_model_leave_no_reading_unjudged(
    calm: Path, three: list[Instance], tmp_path: Path
) -> None:
    """Whoever judged which reading, each score is that of one model alone, to the last bit."""
    urls = [one.url for one in three]

    def dies(done: int) -> None:
        if done == BATCHES // 2:
            assert [one["model_version"] for one in told()] == [NEWER, NEWER, OLDER]
            three[1].spawned[0].kill()
            three[1].spawned[0].wait()
            assert [one["model_version"] for one in told()] == [NEWER, None, OLDER]

    def told() -> list[dict[str, str | None]]:
        settings = Settings(run_dir=tmp_path, service_url=",".join(urls), mlflow_tracking_uri=f"sqlite:///{tmp_path}/x")
        found: list[dict[str, str | None]] = status(settings)["replicas"]
        return found

    found = stream(tmp_path / "dies.db", urls, dies)
    with closing(sqlite3.connect(found)) as db:
        judged = db.execute(
            "SELECT model_version, threshold, count(*) FROM verdicts WHERE status = 'scored' GROUP BY 1, 2"
        )
        limits = {version: threshold for version, threshold, _ in judged}
        db.execute("ATTACH ? AS calm", (str(calm),))
        columns = "meter_id, at, status, score, expected_kw, lower_kw, upper_kw, reason"
        for one, other in (("main", "calm"), ("calm", "main")):
            differ = f"SELECT {columns} FROM {one}.verdicts EXCEPT SELECT {columns} FROM {other}.verdicts"
            assert db.execute(f"SELECT count(*) FROM ({differ})").fetchone() == (0,)
    assert limits[NEWER] - limits[OLDER] == pytest.approx(LOWER, rel=1e-3)
