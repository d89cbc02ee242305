"""`up` on real parts: what keeps it from running is one line, and at the end nothing is left over."""

from __future__ import annotations

import os
import pty
import random
import signal
import socket
import sqlite3
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import psutil
import pytest
from confluent_kafka.admin import AdminClient

from meterwatch import processes
from meterwatch.settings import Settings
from tests.e2e.test_loop import GARBAGE, good
from tests.instances import BIN, ROOT, Instance, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["good"]
# Every column but those that hold the time of writing.
TABLES = {
    "power_data": "*", "verdicts": "*", "events": "*", "rollups": "*", "meter_states": "meter_id, at, state, profile",
    "rejected": "topic, partition, record_offset, raw, reason",
    "offsets": "topic, partition, next_offset, records, stored, duplicates, rejected, held, pruned",
}  # fmt: skip


def dump(instance: Instance) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table; floats come out as they are, so that equality is equality to the last bit."""
    return {table: sorted(instance.rows(f"SELECT {columns} FROM {table}")) for table, columns in TABLES.items()}


def pids(instance: Instance) -> dict[str, int]:
    return {part.name: part.pid for part in processes.processes(Settings(run_dir=instance.dir))}


@pytest.fixture(scope="module")
def file(good: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day and more of real lines, with garbage, doubles and contradictions among them."""
    rng = random.Random(11)
    lines = list(good)
    for k in sorted(rng.sample(range(len(lines)), 150), reverse=True):
        lines.insert(k + 1, rng.choice([*list(GARBAGE)[:8], good[k], good[max(k - 90, 0)] + b"7"]))
    path = tmp_path_factory.mktemp("lines") / "in.txt"
    path.write_bytes(b"\n".join(lines))
    return path


@pytest.fixture(scope="module")
def calm(champion: str, file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:  # noqa: ARG001
    """An instance that took the file undisturbed; its broker was started by hand and runs."""
    found = Instance(tmp_path_factory.mktemp("calm"))
    try:
        found.run("broker", "start")
        broker = pids(found)
        found.run("up", "--replay", file, "--exit-when-done")
        assert pids(found) == broker  # it was not ours to end
        yield found
    finally:
        found.end()
    assert found.processes() == []


def test_an_instance_that_runs_is_one_on_loopback_and_ctrl_c_ends_it(instance: Instance) -> None:
    up = instance.spawn("up")
    wait_for("all to run", lambda: pids(instance).keys() == {"up", "broker", "service", "stream", "spark"}, seconds=120)

    def known() -> dict[str, int]:
        return {part["name"]: part["id"] for part in instance.status()["processes"]}

    # Spark's launcher may have been taken for its Java, which takes over within seconds.
    wait_for("the same to be told", lambda: len(now := known()) == 5 and now == pids(instance), seconds=60)
    open_to_others = [
        connection.laddr
        for pid in pids(instance).values()
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.ip.removeprefix("::ffff:") != "127.0.0.1"
    ]
    assert open_to_others == []
    for words in (("up",), ("serve",), ("stream",)):
        refused(instance, *words, says=f"the {'service' if words == ('serve',) else words[0]} of {instance.dir} runs")
    up.send_signal(signal.SIGINT)
    assert up.wait(60) == 0
    assert instance.processes() == []


def refused(instance: Instance, *words: object, says: str) -> None:
    """A command ends with 1 and one line."""
    done = instance.run(*words, seconds=60, check=False)
    assert done.returncode == 1, done.stdout
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("moment", ["broker", "spark"])
def test_told_to_end_while_it_starts_it_ends(instance: Instance, moment: str) -> None:
    """While the broker comes up, and while Spark does."""
    up = instance.spawn("up")
    wait_for(f"the {moment}", lambda: _starts(instance, moment), seconds=60)
    up.terminate()
    assert up.wait(60) == 0
    assert instance.processes() == []
    said = (instance.dir / "test-up.log").read_text()
    assert "Traceback" not in said


def _starts(instance: Instance, name: str) -> bool:
    program = {"broker": "kafka.Kafka", "spark": "org.apache.spark.deploy.SparkSubmit"}[name]
    return any(program in line for line in instance.processes())


def test_a_terminal_that_is_closed_ends_it(instance: Instance) -> None:
    """It can neither write nor read there any more; its parts end all the same."""
    ours, theirs = pty.openpty()
    up = subprocess.Popen(
        ["setsid", "--ctty", "--wait", BIN / "meterwatch", "up"],
        env=instance.env, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    wait_for("the stream", lambda: "stream" in pids(instance), seconds=60)
    os.close(ours)
    up.wait(60)
    wait_for("all to be gone", lambda: instance.processes() == [], seconds=60)


def test_what_is_in_its_way_is_one_line(instance: Instance, tmp_path: Path) -> None:
    for name, port in (("METERWATCH_PORT", instance.http), ("METERWATCH_KAFKA_BOOTSTRAP_SERVERS", instance.kafka)):
        with socket.create_server(("127.0.0.1", port)):
            refused(instance, "up", says=f"port {port} for the ")
            refused(instance, "up", says=f"is in use; end what listens there, or set {name}")
    instance.env["METERWATCH_API_KEYS_FILE"] = str(tmp_path / "keys.json")
    refused(instance, "up", says="and set METERWATCH_API_KEY to it")
    del instance.env["METERWATCH_API_KEYS_FILE"]
    instance.env["METERWATCH_MLFLOW_TRACKING_URI"] = f"sqlite:///{tmp_path}/none.db"
    refused(instance, "up", says="there is no champion model yet; make one: .venv/bin/dvc repro")
    assert instance.processes() == []


def test_what_was_started_by_hand_is_not_killed(instance: Instance) -> None:
    serve = instance.spawn("serve")
    wait_for("the service", lambda: "service" in pids(instance), seconds=60)
    refused(instance, "up", says=f"(process {serve.pid}); stop it first: kill {serve.pid}")
    assert serve.poll() is None
    serve.terminate()
    serve.wait(30)


def test_a_topic_made_anew_is_a_question_and_its_answer_keeps_what_is_stored(calm: Instance, file: Path) -> None:
    admin = AdminClient({"bootstrap.servers": calm.env["METERWATCH_KAFKA_BOOTSTRAP_SERVERS"]})
    admin.delete_topics(["first"])["first"].result()
    before = dump(calm)
    refused(calm, "up", says="is not the one that was read so far")
    for words in (("up",), ("stream", "--once")):
        refused(calm, *words, says="--accept-new-topic")
        refused(calm, *words, says="or stop and bring back the old broker's data")
    calm.run("up", "--replay", file, "--exit-when-done", "--accept-new-topic")
    after = dump(calm)
    for table in ("power_data", "verdicts", "events", "rollups", "meter_states"):
        assert after[table] == before[table]
    old, new = calm.rows("SELECT records, stored, duplicates + rejected FROM offsets ORDER BY stored DESC")
    assert new == (old[0], 0, old[0])


def test_what_does_not_add_up_is_exit_1(calm: Instance) -> None:
    """The last test of this instance: a row of it is lost."""
    with closing(sqlite3.connect(calm.dir / "meterwatch.db")) as db, db:
        db.execute("DELETE FROM verdicts WHERE at = (SELECT max(at) FROM verdicts)")
    done = calm.run("up", "--exit-when-done", check=False)
    assert done.returncode == 1
    assert "DOES NOT ADD UP  one verdict for each row of power_data" in done.stdout
    assert list(pids(calm)) == ["broker"]
