"""From a file to the real topic: every line, byte for byte, once, in order, on Java's partition, whatever happens."""

from __future__ import annotations

import json
import lzma
import os
import random
import signal
import sqlite3
import struct
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from hypothesis import given
from hypothesis import settings as settings_of

from meterwatch import processes
from meterwatch.kafka import client_config
from meterwatch.settings import Settings
from meterwatch.storage import queries
from meterwatch.storage.migrate import database_path, migrate
from serving.dashboard.running import Watch
from streaming import replay
from streaming.errors import StreamError
from streaming.ledger import describe
from streaming.lines import Record, as_json, data_lines
from streaming.pipeline import _reader
from streaming.records import newest
from streaming.replay import Replay, check, records_of
from streaming.resending import resend
from tests.households import YEAR
from tests.instances import Instance, wait_for
from tests.unit.test_lines import UCI_LINES
from tests.unit.test_parse import twin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADER = b"Date;Time;Global_active_power;Global_reactive_power;Voltage;Global_intensity;Sub_1;Sub_2;Sub_3"


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A broker for all tests of this file; each sends to a topic of its own."""
    found = Instance(tmp_path_factory.mktemp("replay"))
    found.run("broker", "start")
    yield found
    found.run("broker", "stop")
    assert found.processes() == []


@pytest.fixture
def settings(instance: Instance, request: pytest.FixtureRequest) -> Settings:
    name = "".join(letter for letter in request.node.name if letter.isalnum())
    servers = instance.env["METERWATCH_KAFKA_BOOTSTRAP_SERVERS"]
    return Settings(run_dir=instance.dir, kafka_bootstrap_servers=servers, kafka_topic=name)


def stored(settings: Settings) -> list[tuple[bytes | None, bytes | None]]:
    """Keys and values on the topic, in its order."""
    return [(record.key, record.value) for record in newest(settings, settings.kafka_topic, 10**6)]


def values(settings: Settings) -> list[bytes | None]:
    return [value for _, value in stored(settings)]


def some_lines(count: int) -> list[bytes]:
    with lzma.open(YEAR) as text:
        next(text)
        return [line.rstrip(b"\r\n") for _, line in zip(range(count), text, strict=False)]


def with_garbage(lines: list[bytes]) -> list[bytes]:
    """A tenth is garbage of every kind, bytes that are no text among it."""
    rng = random.Random(3)
    makers = [
        lambda _: rng.randbytes(40).replace(b"\n", b" ").rstrip(b"\r") + b".",
        lambda line: line[: rng.randrange(1, len(line))],
        lambda line: line + b";7",
        lambda line: line.replace(b".", b"x", 1),
        lambda line: b" " + line + b"\t",
        lambda line: line + b"\r",  # before the line's own end
        lambda _: b'{"at": "2007-01-01T00:00:00Z", "active_power_kw": 1}',
    ]
    return [rng.choice(makers)(line) if rng.random() < 0.1 else line for line in lines]


def test_every_line_is_on_the_topic_byte_for_byte(settings: Settings, tmp_path: Path) -> None:
    lines = with_garbage(some_lines(20_000))
    file = tmp_path / "in.txt"
    file.write_bytes(b"\r\n".join([HEADER, *lines[:7000], b"", HEADER, *lines[7000:], b""]))
    result = Replay(settings).run(records_of(file, meter="m\u00e4"))
    assert (result.sent, result.acknowledged, result.failed) == (20_000, 20_000, 0)
    assert stored(settings) == [("m\u00e4".encode(), line) for line in lines]


def murmur2(data: bytes) -> int:
    """`org.apache.kafka.common.utils.Utils.murmur2`, as a signed 32-bit number."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for (k,) in struct.iter_unpack("<I", data[:whole]):
        mixed = k * m & mask
        mixed = (mixed ^ mixed >> 24) * m & mask
        h = h * m & mask ^ mixed
    if whole < len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    h ^= h >> 15
    return h - (1 << 32) if h >> 31 else h


def test_murmur2_is_java_s() -> None:
    """The values of Kafka's own test of it."""
    known = {
        b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536,
        b"a-little-bit-longer-string": -1486304829, b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
        b"abc": 479470107,
    }  # fmt: skip
    assert {text: murmur2(text) for text in known} == known


def test_a_key_is_on_java_s_partition(settings: Settings) -> None:
    admin = AdminClient(client_config(settings))
    admin.create_topics([NewTopic(settings.kafka_topic, 8, 1)])[settings.kafka_topic].result()
    keys = [b"default", b"\xc3\xa9", *(f"meter {k}".encode() for k in range(200))]
    assert Replay(settings).run([Record(key, key) for key in keys]).acknowledged == len(keys)
    found = {record.key: record.partition for record in newest(settings, settings.kafka_topic, 1000)}
    assert found == {key: (murmur2(key) & 0x7FFFFFFF) % 8 for key in keys}
    assert len(set(found.values())) == 8


def test_a_long_line_is_sent_and_one_that_is_too_long_is_counted(settings: Settings) -> None:
    rng = random.Random(1)
    lines = [b"a", rng.randbytes(10**6), rng.randbytes(20 * 10**6), rng.randbytes(16 * 10**6), b"b"]
    result = Replay(settings).run(Record(b"default", line) for line in lines)
    assert (result.sent, result.acknowledged, result.failed) == (5, 4, 1)
    assert values(settings) == [line for line in lines if len(line) < 20 * 10**6]
    with pytest.raises(StreamError, match=r"1 of 5 records were not acknowledged by the broker \(.*too large"):
        check(result)


def test_a_broker_killed_in_the_middle_loses_and_doubles_nothing(settings: Settings, instance: Instance) -> None:
    lines = [f"{k};{'x' * 50}".encode() for k in range(60_000)]
    sender = Replay(settings, rate=20_000)
    results = []
    thread = threading.Thread(
        target=lambda: results.append(sender.run(Record(b"default", line) for line in lines)), daemon=True
    )
    thread.start()
    for least in (5_000, 25_000):
        wait_for("some to be sent", lambda least=least: sender.sent > least)
        broker = processes.running(settings, processes.BROKER)
        assert broker is not None
        os.kill(broker.pid, signal.SIGKILL)
        wait_for("it to be gone", lambda: processes.running(settings, processes.BROKER) is None)
        instance.run("broker", "start")
    thread.join(120)
    assert not thread.is_alive()
    (result,) = results
    assert (result.sent, result.acknowledged, result.failed) == (len(lines), len(lines), 0)
    assert values(settings) == lines


def test_what_the_broker_never_acknowledged_is_counted(
    settings: Settings, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And who is told to stop meanwhile does so, whatever waits to be sent."""
    monkeypatch.setattr(replay, "BUFFERED", 50)
    stuck = Replay(settings)
    monkeypatch.setattr(replay, "DELIVERY_SECONDS", 1.0)
    lost = Replay(settings)
    assert lost.run([Record(b"default", b"first")]).acknowledged == 1
    instance.run("broker", "stop")
    try:
        results = []
        records = [Record(b"default", b"x")] * 10_000
        thread = threading.Thread(target=lambda: results.append(stuck.run(records)), daemon=True)
        thread.start()  # its buffer is full at once
        result = lost.run([Record(b"default", b"x")] * 20)
        assert (result.sent, result.acknowledged, result.failed) == (21, 1, 20)
        assert result.first_failure is not None
        with pytest.raises(StreamError, match="20 of 21 records"):
            check(result)
        assert thread.is_alive()
        stuck.stop.set()
        thread.join(10)
        assert not thread.is_alive()
        (result,) = results
        assert (result.sent, result.acknowledged, result.failed) == (50, 0, 50)
        with pytest.raises(StreamError, match=r"50 of 50 records .*stopped before it answered"):
            check(result)
        with pytest.raises(StreamError, match="meterwatch broker start"):
            Replay(settings)
    finally:
        instance.run("broker", "start")


def test_the_command_says_what_it_sent(instance: Instance, tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_bytes(b"\n".join([HEADER, *some_lines(1000)]))
    told = json.loads(instance.run("replay", file, "--limit", 3, "--format", "json", "--meter", "m", "--json").stdout)
    assert {name: told[name] for name in ("sent", "acknowledged", "failed")} == {
        "sent": 3,
        "acknowledged": 3,
        "failed": 0,
    }
    settings = Settings(
        run_dir=instance.dir, kafka_bootstrap_servers=instance.env["METERWATCH_KAFKA_BOOTSTRAP_SERVERS"]
    )
    assert [(key, json.loads(value or b"")["at"]) for key, value in stored(settings)] == [
        (b"m", f"2007-01-01T00:0{k}:00") for k in range(3)
    ]
    told = instance.run("replay", file, "--inject", "left_on").stdout
    assert told.startswith("Not real: a fault 'left_on'")
    assert "sent 1,000, acknowledged 1,000, failed 0" in told
    changed = [line for line, value in zip(data_lines(file), values(settings)[3:], strict=True) if line != value]
    assert changed
    refused = instance.run("replay", file, "--inject", "nonsense", check=False)
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1


@settings_of(deadline=None)
@given(line=UCI_LINES)
def test_both_forms_of_a_line_are_the_same_reading_or_refused(
    tmp_path_factory: pytest.TempPathFactory, line: bytes
) -> None:
    """Told by the twin of the stream's parse: nothing is repaired on the way to JSON, and nothing is spoilt."""
    file = tmp_path_factory.getbasetemp() / "uci.txt"
    file.write_bytes(HEADER)
    (record,) = as_json(file, [line], None)
    as_line, as_object = twin((record.key, line), "UTC", 1), twin(record, "UTC", 1)
    assert as_object == as_line or (isinstance(as_object, str) and isinstance(as_line, str))


def test_a_topic_that_is_there_is_left_as_it_is(settings: Settings) -> None:
    admin = AdminClient(client_config(settings))
    admin.create_topics([NewTopic(settings.kafka_topic, 3, 1)])[settings.kafka_topic].result()
    topic = describe(client_config(settings), settings.kafka_topic)
    Replay(settings)
    assert describe(client_config(settings), settings.kafka_topic) == topic


def test_what_was_read_of_a_topic_made_anew_is_left_alone(settings: Settings) -> None:
    """Spark, which knows its name only, would go on in the new one at the old one's offset."""
    config, name = client_config(settings), settings.kafka_topic
    Replay(settings)
    read = _reader(settings, describe(config, name), lambda: describe(config, name))
    row = {"partition": 0, "offset": 0, "key": b"m", "value": some_lines(1)[0], "size": 60}
    assert read(pa.Table.from_pylist([row]))["reason"].to_pylist() == [None]
    admin = AdminClient(config)
    admin.delete_topics([name])[name].result()

    def is_there() -> bool:
        try:
            Replay(settings)
        except StreamError:  # Kafka deletes by and by
            return False
        return True

    wait_for("the new topic", is_there)
    with pytest.raises(StreamError, match="made anew while it was read"):
        read(pa.Table.from_pylist([row]))


def test_rejected_records_reach_the_topic_as_they_came(settings: Settings) -> None:
    """Any bytes, with and without a key, once; the broker has them before they are remembered as sent."""
    refused = [(b"m", b"x;y"), (None, b"\xff\x00"), (b"m", b"z" * 1_000_000), (b"", None)]
    file = database_path(settings.database_url)
    migrate(file)
    name = settings.kafka_topic
    with closing(sqlite3.connect(file)) as db, db:
        db.executemany(
            "INSERT INTO rejected (topic_id, topic, partition, record_offset, record_key, raw, reason) "
            "VALUES ('id', ?, 0, ?, ?, ?, 'any')",
            [(name, k, *record) for k, record in enumerate(refused)],
        )
        db.execute(
            "INSERT INTO offsets (topic_id, topic, partition, next_offset, records, stored, duplicates, rejected, "
            "held, pruned) VALUES ('id', ?, 0, 4, 4, 0, 0, 4, 0, 0)",
            (name,),
        )
    assert resend(settings) == (4, 4, 0)
    assert stored(settings) == refused
    assert resend(settings) == (0, 0, 4)
    assert stored(settings) == refused


def test_the_page_of_health_tells_what_waits_on_this_very_topic(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_bytes(b"\n".join([HEADER, *some_lines(30)]))
    Replay(settings).run(records_of(file, meter="m"))
    watch, topic = Watch(settings), describe(client_config(settings), settings.kafka_topic)
    read = {"partition": 0, "next_offset": 10, "records": 10, "topic_id": topic.topic_id}
    with queries.reading(settings) as db:
        told = [watch.look(db, ledger).lag for ledger in ([], [read], [read | {"topic_id": "an older one"}])]
    assert told == [30, 20, 30]
