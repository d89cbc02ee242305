"""`up` on real parts: what keeps it from running is one line, and at the end nothing is left over."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from tests.instances import BIN, PATIENCE, ROOT, Instance, free_port, wait_for

if TYPE_CHECKING:
    from pathlib import Path


def test_an_instance_that_runs_is_one_on_loopback_and_ctrl_c_ends_it(instance: Instance, tmp_path: Path) -> None:
    port = free_port()
    instance.env["METERWATCH_STREAM_METRICS_PORT"] = str(port)
    up = instance.spawn("up")
    wait_for("all to run", lambda: instance.pids().keys() == {"up", "broker", "service", "stream", "spark"})

    def known() -> dict[str, int]:
        return {part["name"]: part["id"] for part in instance.status()["processes"]}

    # Spark's launcher may have been taken for its Java, which takes over within seconds.
    wait_for("the same to be told", lambda: len(now := known()) == 5 and now == instance.pids())
    open_to_others = [
        connection.laddr
        for pid in instance.pids().values()
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.ip.removeprefix("::ffff:") != "127.0.0.1"
    ]
    assert open_to_others == []
    for words in (("up",), ("serve",), ("stream",)):
        instance.refused(*words, says=f"the {'service' if words == ('serve',) else words[0]} of {instance.dir} runs")
    file = tmp_path / "in.txt"
    file.write_bytes(b"".join(b"1/1/2008;00:%02d:00;1;0;240;4;0;0;0\n" % minute for minute in range(60)))
    instance.run("replay", file)
    told = {'meterwatch_readings_total{outcome="warming_up"} 60.0', 'meterwatch_consumer_lag{partition="0"} 0.0'}
    wait_for("all in its metrics", lambda: told <= set(httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines()))
    assert instance.status()["lag"] == 0
    up.send_signal(signal.SIGINT)
    assert up.wait(PATIENCE) == 0
    assert instance.processes() == []


@pytest.mark.parametrize("moment", ["broker", "spark"])
def test_told_to_end_while_it_starts_it_ends(instance: Instance, moment: str) -> None:
    """While the broker comes up, and while Spark does."""
    up = instance.spawn("up")
    wait_for(f"the {moment}", lambda: _starts(instance, moment))
    up.terminate()
    assert up.wait(PATIENCE) == 0
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
    wait_for("the stream", lambda: "stream" in instance.pids())
    os.close(ours)
    up.wait(PATIENCE)
    wait_for("all to be gone", lambda: instance.processes() == [])


def test_what_is_in_its_way_is_one_line(instance: Instance, tmp_path: Path) -> None:
    for name, port in (("METERWATCH_PORT", instance.http), ("METERWATCH_KAFKA_BOOTSTRAP_SERVERS", instance.kafka)):
        with socket.create_server(("127.0.0.1", port)):
            instance.refused("up", says=f"port {port} for the ")
            instance.refused("up", says=f"is in use; end what listens there, or set {name}")
    instance.env["METERWATCH_API_KEYS_FILE"] = str(tmp_path / "keys.json")
    instance.refused("up", says="and set METERWATCH_API_KEY to it")
    del instance.env["METERWATCH_API_KEYS_FILE"]
    instance.env["METERWATCH_MLFLOW_TRACKING_URI"] = f"sqlite:///{tmp_path}/none.db"
    instance.refused("up", says="there is no champion model yet; make one: .venv/bin/dvc repro")
    assert instance.processes() == []


def test_what_was_started_by_hand_is_not_killed(instance: Instance) -> None:
    serve = instance.spawn("serve")
    wait_for("the service", lambda: "service" in instance.pids())
    instance.refused("up", says=f"(process {serve.pid}); stop it first: kill {serve.pid}")
    assert serve.poll() is None
    serve.terminate()
    serve.wait(PATIENCE)
