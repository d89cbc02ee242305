"""The real broker of an instance: started once, its data kept however it ends, what is in its way said in a line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING

import psutil
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka.admin import AdminClient

from meterwatch import processes
from meterwatch.processes import running
from meterwatch.settings import Settings
from streaming import broker
from streaming.broker import Broker, check_free
from streaming.errors import StreamError
from streaming.group import GROUP, Group
from streaming.ledger import describe
from streaming.lines import Record
from streaming.records import newest
from streaming.replay import Replay
from tests.instances import PATIENCE, ROOT, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECORDS = [Record(b"default", f"1/1/2007;00:{k:02}:00;1;0;240;4;0;0;0".encode()) for k in range(60)]


def settings_at(directory: Path) -> Settings:
    return Settings(run_dir=directory, kafka_bootstrap_servers=f"127.0.0.1:{free_port()}", port=free_port())


def command(settings: Settings, *words: str) -> subprocess.Popen[str]:
    """`meterwatch broker …` for an instance."""
    env = {
        **os.environ,
        "METERWATCH_RUN_DIR": str(settings.run_dir),
        "METERWATCH_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
    }
    line = [sys.executable, "-m", "meterwatch.cli", "broker", *words]
    return subprocess.Popen(line, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def values(settings: Settings) -> list[bytes | None]:
    return [record.value for record in newest(settings, settings.kafka_topic, 10_000)]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """One instance for the tests of this file, in a directory as people name them."""
    found = settings_at(tmp_path_factory.mktemp("m\u00e4 \u00e9"))
    yield found
    Broker(found).stop()
    assert left(found) == {}


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Settings]:
    """An instance of the test's own."""
    found = settings_at(tmp_path / "run")
    yield found
    Broker(found).stop()
    assert left(found) == {}


def left(settings: Settings) -> dict[int, list[str]]:
    """Processes whose command line names the instance's directory, with its words."""
    found = {process.pid: process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])}
    return {pid: words for pid, words in found.items() if any(str(settings.run_dir) in word for word in words)}


def runs(settings: Settings, program: str) -> bool:
    """Whether a program of Kafka's runs."""
    return any(program in words for words in left(settings).values())


def test_a_second_start_is_the_first_one(settings: Settings) -> None:
    first = Broker(settings).start()
    assert first.address == settings.kafka_bootstrap_servers
    assert Broker(settings).start() == first == Broker(settings).status()
    assert list(left(settings)) == [first.pid]


def test_one_that_another_process_starts_at_the_same_moment_is_waited_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Broker(settings).start()
    looks = iter([None])  # there was none when it looked, the port was free, and then the other had the lock
    monkeypatch.setattr(broker, "check_free", lambda *_: None)
    monkeypatch.setattr(processes, "running", lambda *what: next(looks, running(*what)))
    assert Broker(settings).start() == first


def test_data_and_identity_survive_every_end(settings: Settings) -> None:
    ours = Broker(settings)
    ours.start()
    assert Replay(settings).run(RECORDS).acknowledged == len(RECORDS)
    topic, identity = describe(config(settings), "first"), meta(settings)
    for number in (signal.SIGTERM, signal.SIGKILL):
        os.kill(ours.status().pid, number)
        wait_for("the broker to be gone", lambda: not processes.processes(settings))
        with pytest.raises(StreamError, match="meterwatch broker start"):
            ours.status()
        ours.start()
        assert describe(config(settings), "first") == topic
        assert values(settings) == [value for _, value in RECORDS]
        assert meta(settings) == identity


def test_it_listens_on_loopback_alone(settings: Settings) -> None:
    pid = Broker(settings).start().pid
    listening = [
        connection.laddr
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert int(settings.kafka_bootstrap_servers.rpartition(":")[2]) in [address.port for address in listening]
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_topic_tools_see_how_far_the_ledger_is(settings: Settings) -> None:
    Broker(settings).start()
    admin = AdminClient(config(settings))
    group = Group(admin, "first")

    def offset() -> int | None:
        group.tell({0: 3})  # again where it failed, as while the coordinator is being loaded
        with suppress(KafkaException):
            return found()
        return None

    def found() -> int:
        told = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(GROUP)])[GROUP].result()
        return next((place.offset for place in told.topic_partitions), -1)

    wait_for("the group to be there", lambda: offset() == 3)
    group.close({0: 5})
    wait_for("the group to follow", lambda: found() == 5)


def test_who_tells_a_broker_that_is_away_does_not_wait(tmp_path: Path) -> None:
    group = Group(AdminClient(config(settings_at(tmp_path))), "first")
    group.tell({0: 3})
    group.close({0: 5})


def test_a_misspelt_topic_is_not_made(settings: Settings) -> None:
    Broker(settings).start()
    with pytest.raises(StreamError, match="Unknown topic"):
        describe(config(settings), "frist")


def test_two_at_once_start_one(alone: Settings) -> None:
    both = [command(alone, "start") for _ in range(2)]
    told = [one.communicate(timeout=PATIENCE) for one in both]
    assert [one.returncode for one in both] == [0, 0], told
    (pid,) = left(alone)
    assert all(f"(process {pid})" in out for out, _ in told)
    stop = command(alone, "stop")
    assert stop.communicate(timeout=PATIENCE)[0] == "the broker has ended; its data stay\n"
    assert left(alone) == {}


def test_whoever_starts_it_may_be_killed_at_any_moment(alone: Settings) -> None:
    """As soon as it has the lock; while the data directory is formatted; before the broker answers."""
    for reached in (
        lambda: processes.running(alone, processes.BROKER),
        lambda: runs(alone, "kafka.tools.StorageTool"),
        lambda: runs(alone, "kafka.Kafka"),
    ):
        start = command(alone, "start")
        wait_for("the moment", reached)
        start.kill()
        start.communicate()
    ours = Broker(alone)
    assert list(left(alone)) == [ours.start().pid]
    assert Replay(alone).run(RECORDS).acknowledged == len(RECORDS)
    assert ours.stop()
    assert not ours.stop()


def test_a_broker_that_cannot_run_says_why(alone: Settings) -> None:
    (alone.run_dir / "kafka" / "data").mkdir(parents=True)
    (alone.run_dir / "kafka" / "data" / "meta.properties").write_text("version=1\ncluster.id=x\nnode.id=7\n")
    with pytest.raises(StreamError, match=r"Kafka ended at once: .*node.*see .*broker\.log"):
        Broker(alone).start()
    assert processes.running(alone, processes.BROKER) is None


def test_a_full_disk_is_said(alone: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=3_000_000))
    with pytest.raises(StreamError, match=r"3 MB of disk are free at .*, 50 are needed; make space"):
        Broker(alone).start()
    assert processes.running(alone, processes.BROKER) is None


def test_a_port_in_use_is_one_line(alone: Settings) -> None:
    port = int(alone.kafka_bootstrap_servers.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        start = command(alone, "start")
        _, told = start.communicate(timeout=PATIENCE)
        assert start.returncode == 1
        assert told == (
            f"meterwatch: port {port} for the broker is in use; end what listens there, "
            "or set METERWATCH_KAFKA_BOOTSTRAP_SERVERS\n"
        )
    assert processes.running(alone, processes.BROKER) is None
    check_free("127.0.0.1", port, "the broker", "X")


@pytest.mark.parametrize("servers", ["kafka.example:9092", "192.0.2.7:9092", "127.0.0.1:9092,127.0.0.1:9093"])
def test_a_broker_elsewhere_is_not_ours_to_start(tmp_path: Path, servers: str) -> None:
    settings = Settings(run_dir=tmp_path, kafka_bootstrap_servers=servers)
    with pytest.raises(StreamError, match="not ours to start"):
        Broker(settings).start()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["192.0.2.7", "no.such.host.invalid"])
def test_an_address_that_is_not_this_machine_s_is_said(host: str) -> None:
    with pytest.raises(StreamError, match=f"cannot listen on {host}:1234"):
        check_free(host, 1234, "the service", "METERWATCH_PORT")


def config(settings: Settings) -> dict[str, str | int | float | bool]:
    return {"bootstrap.servers": settings.kafka_bootstrap_servers, "log_level": 0}


def meta(settings: Settings) -> dict[str, str]:
    """What the data directory says of itself, but for the time of writing."""
    lines = (settings.run_dir / "kafka" / "data" / "meta.properties").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))
