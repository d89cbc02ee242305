"""The real stream among parts at fault: it waits or stops with a clear line, and afterwards nothing is missing."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from meterwatch import processes
from meterwatch.detection.detector import Detector, seal
from meterwatch.settings import Settings
from meterwatch.storage import champions, models
from streaming.accounts import broken_identities
from streaming.replay import Replay
from tests.comparing import compare, differences
from tests.faulty import FAULTS, faulty
from tests.instances import PATIENCE, ROOT, Instance, answers, wait_for
from tests.mixtures import Mixture
from tests.small_disk import fill, small_disk

if TYPE_CHECKING:
    from collections import Counter
    from pathlib import Path

RECORDS = 4000
RATE = 50  # records a second of a load that goes on
NEWEST = "SELECT model_version FROM power_data JOIN verdicts USING (meter_id, at) ORDER BY record_offset DESC LIMIT 1"
LOCKED_SECONDS = 5.0  # longer than any batch takes, shorter than the stream waits for a lock
HOLD = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("BEGIN IMMEDIATE")
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def fed(instance: Instance) -> Instance:
    """An instance whose broker runs and has records of a bad day."""
    instance.run("broker", "start")
    settings = instance.settings
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    admin.create_partitions([NewPartitions("first", 3)])["first"].result()
    assert Replay(settings).run(itertools.islice(mixture(), RECORDS)).acknowledged == RECORDS
    return instance


def mixture() -> Mixture:
    """What is on the topic, and goes on for ever."""
    return Mixture(3, threading.Event())


def expected() -> Counter[str]:
    """What must become of it."""
    found = mixture()
    assert len(list(itertools.islice(found, RECORDS))) == RECORDS
    return found.expected


def calm(fed: Instance, directory: Path) -> Path:
    """A fresh database that reads the same topic from its start, in one batch, undisturbed."""
    found = Instance(directory, fed.env["METERWATCH_MLFLOW_TRACKING_URI"])
    found.env["METERWATCH_KAFKA_BOOTSTRAP_SERVERS"] = fed.env["METERWATCH_KAFKA_BOOTSTRAP_SERVERS"]
    found.spawn("serve")
    try:
        found.run("stream", "--once")
    finally:
        found.end()
    return directory / "meterwatch.db"


def done(instance: Instance) -> int:
    """Records accounted for."""
    try:
        return sum(count for (count,) in instance.rows("SELECT records FROM offsets"))
    except sqlite3.OperationalError:
        return 0


def two_versions(mlruns: Path, directory: Path) -> tuple[Settings, str, str]:
    """A registry of this test's own with the champion and a second version of the same bundle."""
    shutil.copy(mlruns / "mlflow.db", directory / "mlflow.db")
    (directory / "artifacts").symlink_to(mlruns / "artifacts")
    settings = Settings(mlflow_tracking_uri=f"sqlite:///{directory}/mlflow.db")
    champion = models.champion(settings)
    assert champion is not None
    newest = str(max(int(found.version) for found in models.versions(settings)) + 1)
    with closing(sqlite3.connect(directory / "mlflow.db")) as db, db:
        names = [row[1] for row in db.execute("PRAGMA table_info(model_versions)")]
        copied = ", ".join("?" if name == "version" else name for name in names)
        db.execute(
            f"INSERT INTO model_versions SELECT {copied} FROM model_versions WHERE name = ? AND version = ?",
            (newest, settings.model_name, champion.version),
        )
    return settings, champion.version, newest


def patient(mlruns: Path, directory: Path, lateness_s: int) -> str:
    """The URL of a registry whose champion has readings wait so long, and is else the same."""
    shutil.copytree(mlruns, directory)
    settings = Settings(mlflow_tracking_uri=f"sqlite:///{directory}/mlflow.db")
    champion = models.champion(settings)
    assert champion is not None
    path = champion.bundle_dir / "params.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"allowed_lateness_s": lateness_s}))
    seal(champion.bundle_dir)
    with closing(sqlite3.connect(directory / "mlflow.db")) as db, db:
        db.execute(
            "UPDATE model_version_tags SET value = ? WHERE key = ? AND version = ?",
            (Detector.load(champion.bundle_dir).bundle_hash, models.BUNDLE_SHA256, champion.version),
        )
    return settings.mlflow_tracking_uri


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_readings_wait_to_be_put_in_order_though_the_stream_is_killed(
    fed: Instance, project: Path, tmp_path: Path
) -> None:
    """With a lateness none of a late reading's kind is left, and what waits outlives the stream."""
    fed.env["METERWATCH_MLFLOW_TRACKING_URI"] = patient(project / "mlruns", tmp_path / "mlruns", 14 * 86_400)
    fed.env["METERWATCH_MAX_OFFSETS_PER_TRIGGER"] = "300"
    fed.spawn("serve")
    stream = fed.spawn("stream")
    wait_for("readings that wait", lambda: done(fed) and fed.rows("SELECT 1 FROM held_readings LIMIT 1"))
    stream.kill()
    stream.wait()
    fed.run("stream", "--once")
    ((records, late, held),) = fed.rows("SELECT sum(records), sum(late), sum(held) FROM offsets")
    assert (records, late) == (RECORDS, 0)
    assert fed.rows("SELECT count(*) FROM held_readings") == [(held,)]
    assert held > 0
    assert broken_identities(fed.settings) == []
    assert differences(compare(fed.dir / "meterwatch.db", calm(fed, tmp_path / "calm"))) == 0


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_faulty_service_a_locked_database_and_a_promotion_lose_nothing(
    fed: Instance, project: Path, tmp_path: Path
) -> None:
    """All of them while one stream reads; what becomes of each record stays the same, every verdict says its model."""
    registry, first, second = two_versions(project / "mlruns", tmp_path)
    fed.env |= {
        "METERWATCH_MLFLOW_TRACKING_URI": registry.mlflow_tracking_uri,
        "METERWATCH_MAX_OFFSETS_PER_TRIGGER": "300",
        "METERWATCH_TRIGGER_SECONDS": "0.1",
    }
    service = fed.spawn("serve")
    with faulty(fed.url, FAULTS) as between:
        fed.env["METERWATCH_SERVICE_URL"] = between.url
        stream = fed.spawn("stream")
        wait_for("a batch in spite of all faults", lambda: done(fed), seconds=2 * PATIENCE)
        assert between.asked > len(FAULTS)
        with subprocess.Popen(
            [sys.executable, "-c", HOLD, fed.dir / "meterwatch.db"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other:
            assert other.stdout is not None
            other.stdout.readline()
            asked, until = between.asked, time.monotonic() + LOCKED_SECONDS
            # Where the next one is judged already, nothing is asked until a batch is written: then time tells.
            wait_for("a batch that would be written", lambda: between.asked > asked or time.monotonic() > until)
            stands = done(fed)
            other.communicate()
        wait_for("it to be written", lambda: done(fed) > stands)
        between.faults += FAULTS
        champions.promote(registry, second)
        wait_for("all to be done", lambda: done(fed) == RECORDS, seconds=2 * PATIENCE)
        stream.terminate()
        assert stream.wait(PATIENCE) == 0
    service.terminate()
    said = (fed.dir / "test-stream.log").read_text()
    assert "Traceback" not in said
    assert said.count("service away, nothing is committed until it is back") == 2
    assert broken_identities(fed.settings) == []
    judged = dict(fed.rows("SELECT model_version, count(*) FROM verdicts GROUP BY model_version"))
    assert judged.keys() == {first, second}
    ((stored, duplicates),) = fed.rows("SELECT sum(stored), sum(duplicates) FROM offsets")
    refused = dict(fed.rows("SELECT reason, count(*) FROM rejected GROUP BY reason"))
    assert {"stored": stored, "duplicates": duplicates, **refused} == dict(expected())


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_promotion_and_a_rollback_under_load_change_nothing_but_the_name(
    instance: Instance, project: Path, tmp_path: Path
) -> None:
    """By their commands, while readings keep coming and a client scores: rows and states of one model all the time."""
    registry, first, second = two_versions(project / "mlruns", tmp_path)
    instance.env |= {
        "METERWATCH_MLFLOW_TRACKING_URI": registry.mlflow_tracking_uri,
        "METERWATCH_TRIGGER_SECONDS": "0.1",
    }
    instance.run("broker", "start")
    instance.spawn("serve")
    over, answers = threading.Event(), list[dict[str, Any]]()
    with ThreadPoolExecutor() as pool:
        try:
            sending = pool.submit(Replay(instance.settings, RATE).run, Mixture(3, over))
            asking = pool.submit(ask_one_by_one, instance.url, over, answers)
            stream = instance.spawn("stream")
            until_it_judges(instance, first, answers)
            instance.run("models", "promote", second)
            until_it_judges(instance, second, answers)
            instance.run("models", "rollback")
            until_it_judges(instance, first, answers)
        finally:
            over.set()
        sent = sending.result().acknowledged
        asking.result()
    wait_for("all to be done", lambda: done(instance) == sent)
    stream.terminate()
    assert stream.wait(PATIENCE) == 0

    assert broken_identities(instance.settings) == []
    by_meter = instance.rows(
        "SELECT meter_id, model_version FROM power_data JOIN verdicts USING (meter_id, at) ORDER BY 1, record_offset"
    )
    judges = [*(list(rows) for _, rows in itertools.groupby(by_meter, key=lambda row: row[0]))]
    turns = [[version for version, _ in itertools.groupby(row[1] for row in rows)] for rows in judges]
    assert turns == [[first, second, first]] * len(turns)
    assert [version for version, _ in itertools.groupby(answer["model_version"] for answer in answers)] == turns[0]
    assert all(len(answer["meters"][0]["verdicts"]) == 1 for answer in answers)
    undisturbed = calm(instance, tmp_path / "calm")
    for path in (instance.dir / "meterwatch.db", undisturbed):
        without_names(path)
    assert differences(compare(instance.dir / "meterwatch.db", undisturbed)) == 0


def until_it_judges(instance: Instance, version: str, answers: list[dict[str, Any]]) -> None:
    """Wait until what the stream read last, and what a client asked last, were judged by that version."""
    wait_for(f"{version} in the stream", lambda: done(instance) and instance.rows(NEWEST) == [(version,)])
    wait_for(f"{version} for the client", lambda: answers and answers[-1]["model_version"] == version)


def ask_one_by_one(url: str, over: threading.Event, told: list[dict[str, Any]]) -> None:
    """A client of the service with a meter of its own: a minute a question, with the state that it was answered."""
    meter: dict[str, Any] = {"meter_id": "a client's"}
    with httpx.Client(base_url=url, timeout=60) as client:
        wait_for("the service", lambda: answers(f"{url}/readyz"))
        for minute in itertools.count():
            if over.is_set():
                return
            at = f"{np.datetime64('2008-01-01T00:00:00') + np.timedelta64(minute, 'm')}Z"
            answer = client.post(
                "/v1/score", json={"meters": [{**meter, "readings": [{"at": at, "active_power_kw": 1.0}]}]}
            )
            told.append(answer.raise_for_status().json())
            new = told[-1]["meters"][0]
            meter |= {"state": new["state"], "profile": new["profile"] or meter.get("profile")}


def without_names(path: Path) -> None:
    """Take out of a database's rows which version of a model they are of."""
    with closing(sqlite3.connect(path)) as db, db:
        for (table,) in db.execute("SELECT m.name FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS c "
                                   "WHERE m.type = 'table' AND c.name = 'model_version'").fetchall():  # fmt: skip
            db.execute(f"UPDATE {table} SET model_version = ''")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_stream_on_a_full_disk_stops_with_a_clear_line_and_goes_on(fed: Instance, tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    fed.spawn("serve")
    fed.env |= {"METERWATCH_DATABASE_URL": f"sqlite:///{place}/m.db", "METERWATCH_MAX_OFFSETS_PER_TRIGGER": "500"}
    with small_disk(place, "32m") as disk:

        def stream() -> subprocess.CompletedProcess[str]:
            words = disk.inside(sys.executable, "-m", "meterwatch.cli", "stream", "--once")
            return subprocess.run(words, env=fed.env, cwd=ROOT, capture_output=True, text=True, check=False)

        filler = fill(disk.outside, 800_000)
        failed = stream()
        assert failed.returncode == 1
        assert "make space and start again, nothing was half written" in failed.stderr.splitlines()[-1]
        assert "Traceback" not in failed.stderr
        filler.unlink()
        went_on = stream()
        assert went_on.returncode == 0, went_on.stderr
        for file in disk.outside.glob("m.db*"):
            shutil.copy(file, tmp_path)
    assert differences(compare(tmp_path / "m.db", calm(fed, tmp_path / "calm"))) == 0


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [processes.SERVICE, processes.SPARK, processes.STREAM, processes.BROKER])
def test_what_hangs_is_started_again(instance: Instance, name: str, tmp_path: Path) -> None:
    """A part that is stopped by a signal answers nobody, and does not die of itself."""
    file = tmp_path / "in.txt"
    file.write_bytes(b"\n".join(record.value for record in itertools.islice(Mixture(1, threading.Event()), 40_000)
                                if record.key == b"default"))  # fmt: skip
    up = instance.spawn("up", "--replay", file, "--rate", "50/s")
    settings = instance.settings

    def pids() -> dict[str, int]:
        return {part.name: part.pid for part in processes.processes(settings)}

    wait_for("batches to be committed", lambda: done(instance), seconds=300)
    os.kill(pids()[name], signal.SIGSTOP)
    stands = done(instance)
    wait_for("more to be committed", lambda: done(instance) > stands + 500, seconds=600)
    said = (instance.dir / "test-up.log").read_text()
    assert f"the {'stream' if name == processes.SPARK else name} has " in said
    assert said.count("; it is killed") == 1
    up.terminate()
    assert up.wait(PATIENCE) == 0
