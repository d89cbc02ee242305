"""Told to end while nothing that it waits for answers."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from meterwatch import processes
from meterwatch.settings import Settings
from streaming.pipeline import END_SECONDS
from tests.faulty import faulty
from tests.instances import PATIENCE, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.instances import Instance

PROMISED_SECONDS = 10  # that a stream takes to end at most (docs/reliability.md)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_stream_ends_though_service_and_broker_do_not_answer(instance: Instance, tmp_path: Path) -> None:
    """The service took a batch and says nothing, the broker is dead: neither keeps it, nor its Java, from ending."""
    instance.run("broker", "start")
    file = tmp_path / "in.txt"
    file.write_bytes(b"".join(b"1/1/2008;00:%02d:00;1;0;240;4;0;0;0\n" % minute for minute in range(60)))
    instance.run("replay", file)
    with faulty(instance.url, ["hangs"] * 9) as between:
        instance.env["METERWATCH_SERVICE_URL"] = between.url
        stream = instance.spawn("stream")
        wait_for("a batch to be with the service", lambda: between.asked, seconds=240)
        settings = Settings(run_dir=instance.dir)
        broker = processes.running(settings, processes.BROKER)
        assert broker is not None
        os.kill(broker.pid, signal.SIGKILL)
        stream.terminate()
        assert stream.wait(PATIENCE) == 0  # the service goes on being silent
        between.over.set()
    assert processes.processes(settings) == []
    assert instance.rows("SELECT count(*) FROM power_data") == [(0,)]
    said = (instance.dir / "test-stream.log").read_text()
    assert f"ended in the middle of a batch, {END_SECONDS:.0f} s after being told to" in said
    assert END_SECONDS < PROMISED_SECONDS
    assert "Traceback" not in said
