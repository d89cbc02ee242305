"""A running system in a file, and another machine that goes on from it."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

import pytest

from meterwatch.settings import Settings
from meterwatch.storage.models import champion as registered
from streaming.accounts import broken_identities
from streaming.replay import Replay
from tests.comparing import compare, differences
from tests.instances import Instance, wait_for
from tests.mixtures import Mixture

if TYPE_CHECKING:
    from pathlib import Path

AT_LEAST, AGAIN = 1500, 3000


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_restored_machine_goes_on_with_nothing_lost_or_doubled(instance: Instance, tmp_path: Path) -> None:
    """The backup is taken while records are sent, judged and written; the first machine is never seen again."""
    restored = f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    other, calm = Instance(tmp_path / "other", restored), Instance(tmp_path / "calm", restored)
    calm.env["METERWATCH_KAFKA_BOOTSTRAP_SERVERS"] = other.env["METERWATCH_KAFKA_BOOTSTRAP_SERVERS"]
    instance.env["METERWATCH_MAX_OFFSETS_PER_TRIGGER"] = "200"
    instance.run("broker", "start")
    instance.spawn("serve")
    instance.spawn("stream")
    sending = Replay(instance.settings, rate=100.0)
    over = threading.Event()
    thread = threading.Thread(target=sending.run, args=(Mixture(5, over),), daemon=True)
    thread.start()
    wait_for("a part of it to be stored", lambda: instance.stored() > AT_LEAST, seconds=300)
    instance.run("backup", tmp_path / "b.tar")
    over.set()
    thread.join()
    instance.end()

    said = other.run("restore", tmp_path / "b.tar").stdout
    assert "`meterwatch up` goes on from its ledger" in said
    assert registered(Settings(mlflow_tracking_uri=restored)) is not None
    before = other.stored()
    assert before > AT_LEAST
    try:
        other.run("broker", "start")
        Replay(other.settings).run(
            itertools.islice(Mixture(5, threading.Event()), AGAIN)
        )  # whoever sent goes on sending: doubles are counted as such
        other.spawn("serve")
        other.run("stream", "--once")
        assert other.stored() > before
        assert broken_identities(other.settings) == []
        calm.spawn("serve")
        calm.run("stream", "--once")
        assert differences(compare(other.dir / "meterwatch.db", calm.dir / "meterwatch.db")) == 0
    finally:
        calm.end()
        other.end()
