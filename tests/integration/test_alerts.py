"""Events told to others for real: a broker, an HTTP receiver, a process that is killed between commit and telling."""

from __future__ import annotations

import base64
import functools
import itertools
import json
import random
import re
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from meterwatch.settings import Settings
from meterwatch.storage.meters import MeterStore
from meterwatch.storage.migrate import database_path, migrate
from streaming import alerts
from streaming.alerts import Alerts
from streaming.errors import StreamError
from streaming.metrics import StreamMetrics
from streaming.records import newest
from streaming.webhook import Webhook
from tests.faulty import listening
from tests.instances import BIN, PATIENCE, ROOT, Instance, free_port, wait_for
from tests.unit.test_outbox import commit, event, folded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = (ROOT / "docs/integrate.md").read_text()
CODE = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SHELL = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
VERIFIED: dict[str, Any] = {}
exec(CODE[2], VERIFIED)  # noqa: S102 - as the page tells a receiver to
SECRET = b"whsec_" + base64.b64encode(bytes(range(32)))
COMMITS, KILLS = 1000, 3
HISTORY = """
CREATE TABLE history (number INTEGER PRIMARY KEY, change, event_id, start_at, end_at, severity);
CREATE TRIGGER begun AFTER INSERT ON events BEGIN INSERT INTO history (change, event_id, start_at, end_at, severity)
VALUES ('opened', NEW.event_id, NEW.start_at, NEW.end_at, NEW.severity); END;
CREATE TRIGGER gone_on AFTER UPDATE ON events BEGIN INSERT INTO history (change, event_id, start_at, end_at, severity)
VALUES (iif(NEW.end_at IS NULL, 'updated', 'closed'), NEW.event_id, NEW.start_at, NEW.end_at, NEW.severity); END;
"""
# The end of a stream without its beginning: commits from where the table stands, each of which changes one event.
STREAM = f"""
import sys
from meterwatch.settings import Settings
from meterwatch.storage.meters import MeterStore
from meterwatch.storage.migrate import database_path
from streaming import alerts, webhook
from streaming.metrics import StreamMetrics
from tests.unit.test_outbox import commit, event
alerts.FIRST_WAIT = webhook.Webhook.spacing = 0.02
webhook.Webhook.most = 40
settings = Settings()
with MeterStore(database_path(settings.database_url)) as store:
    telling = alerts.Alerts(settings)
    telling.start(StreamMetrics())
    for number in range(int(sys.argv[1]), {COMMITS}):
        commit(store, [event(number // 4, (1, 11 if number % 4 == 3 else None, number / 7))])
        telling.wake()
    telling.close({PATIENCE})
"""


class Receiver(ThreadingHTTPServer):
    """Takes deliveries that are signed well; `faults` says how it answers the next ones."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/hooks/of-a-test"
        self.deliveries: list[tuple[str, bytes]] = []
        self.asked = 0
        self.faults: list[str] = []
        self.over = threading.Event()

    @property
    def changes(self) -> list[dict[str, Any]]:
        """In the order in which they came, with those that came again."""
        return [change for _, body in self.deliveries for change in json.loads(body)["changes"]]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1
        fault = self.server.faults.pop(0) if self.server.faults else "204"
        if fault == "hangs":
            self.server.over.wait(PATIENCE)
        if fault in {"204", "lost", "endless"} and VERIFIED["verified"](SECRET.decode(), self.headers, body):
            assert not VERIFIED["verified"](SECRET.decode(), self.headers, body + b" ")
            self.server.deliveries.append((self.headers["webhook-id"], body))
        if fault == "endless":
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(b"is no gzip")
            self.server.over.wait(PATIENCE)
        elif fault != "lost":  # else it was taken, and the answer never comes
            self.send_response(204 if fault == "hangs" else int(fault))
            self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Not a word."""


@contextmanager
def receiving() -> Iterator[Receiver]:
    server = Receiver()
    with listening(server, server.over):
        yield server


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(SECRET + b"\n")
    return tmp_path / "secret"


@pytest.fixture
def instance(tmp_path: Path, secret_file: Path) -> Iterator[Instance]:
    """One whose broker runs."""
    found = Instance(tmp_path / "run")
    found.env["METERWATCH_WEBHOOK_SECRET_FILE"] = str(secret_file)
    found.run("broker", "start")
    yield found
    found.end()
    assert found.processes() == []


def test_who_is_killed_between_commit_and_telling_loses_and_invents_nothing(instance: Instance) -> None:
    database = database_path(instance.settings.database_url)
    migrate(database)
    with closing(sqlite3.connect(database)) as db:
        db.executescript(HISTORY)
    rng = random.Random(5)

    def done() -> int:
        return int(instance.rows("SELECT count(*) FROM history")[0][0])

    with receiving() as receiver:
        instance.env["METERWATCH_WEBHOOK_URL"] = receiver.url
        for kill in range(KILLS + 1):
            receiver.faults = rng.choices(["204", "500", "lost", "429"], [5, 1, 1, 1], k=20)
            begun = done()
            words = [sys.executable, "-c", STREAM, str(begun)]
            process = subprocess.Popen(words, env=instance.env, cwd=ROOT, stderr=subprocess.PIPE)
            if kill < KILLS:
                soon = begun + rng.randint(1, COMMITS // (2 * KILLS))
                wait_for("commits", lambda soon=soon, one=process: done() >= soon or one.poll() is not None)
                process.kill()
                process.communicate()
            else:
                _, said = process.communicate(timeout=PATIENCE)
                assert process.returncode == 0, said
                assert b"Traceback" not in said
        asked = receiver.asked
        deliveries, posted = receiver.deliveries, receiver.changes
    records = newest(instance.settings, "meterwatch.events", 100 * COMMITS)
    on_topic = [(record.key, json.loads(record.value or b"")) for record in records]
    assert {key for key, _ in on_topic} == {b"m"}
    history = instance.rows("SELECT change, event_id, severity, end_at IS NULL FROM history ORDER BY number")
    assert len(history) == COMMITS
    for heard in ([change for _, change in on_topic], posted):
        once = list({change["sequence"]: change for change in heard}.values())
        assert [change["sequence"] for change in once] == sorted(change["sequence"] for change in once)
        told = [(one["change"], one["event_id"], one["severity"], int(one["end_at"] is None)) for one in once]
        assert told == history
        newest_ones = {event_id: one["severity"] for event_id, one in folded(heard).items()}
        assert newest_ones == dict(instance.rows("SELECT event_id, severity FROM events"))
    assert len(posted) > COMMITS  # some came more than once,
    assert len(dict(deliveries)) == len(set(deliveries))  # under the same id with the same bytes
    assert len(deliveries) < asked
    assert posted[0]["start_at"] == "1970-01-01T00:00:00Z"
    assert instance.rows("SELECT count(*) FROM outbox") == [(0,)]
    the_page_is_true(instance)


def the_page_is_true(instance: Instance) -> None:
    """What docs/integrate.md says does what it says, beside a broker that has events."""
    here = {"127.0.0.1:9092": f"127.0.0.1:{instance.kafka}", ".venv/bin/": f"{BIN}/"}
    blocks = [
        functools.reduce(lambda text, pair: text.replace(*pair), here.items(), block) for block in (*CODE, *SHELL)
    ]
    exec(blocks[0], {})  # noqa: S102
    exec(blocks[1], found := {})  # type: ignore[var-annotated]  # noqa: S102
    told = {event_id: one["severity"] for event_id, one in found["events"].items()}
    assert told == dict(instance.rows("SELECT event_id, severity FROM events"))
    (sent,) = newest(instance.settings, "first", 10)
    assert (sent.key, json.loads(sent.value or b"")["active_power_kw"]) == (b"meter-7", 1.3)
    for command in itertools.chain.from_iterable(map(str.splitlines, blocks[len(CODE) :])):
        done = subprocess.run(
            ["bash", "-eu", "-c", command], cwd=ROOT, env=instance.env, capture_output=True, check=False
        )
        assert done.returncode == 0, (command, done.stderr)


def test_a_receiver_that_hangs_holds_nobody_up(
    tmp_path: Path, secret_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream commits, and ends, while a delivery is unanswered; the next start gathers what waits."""
    monkeypatch.setattr(Webhook, "spacing", 0.0)
    monkeypatch.setattr(alerts, "FIRST_WAIT", 0.01)
    with receiving() as receiver:
        receiver.faults = ["hangs"]
        settings = Settings(run_dir=tmp_path, webhook_url=receiver.url, webhook_secret_file=secret_file,
                            kafka_events_topic="")  # fmt: skip
        metrics = [StreamMetrics(), StreamMetrics()]
        with MeterStore(database_path(settings.database_url)) as store:
            telling = Alerts(settings)
            telling.start(metrics[0])
            commit(store, [event(0, (1, None, 0.0))])
            telling.wake()
            wait_for("a delivery", lambda: receiver.asked)
            for number in range(1, 151):
                commit(store, [event(number, (1, None, 1.0))])
                telling.wake()
            telling.close(0.1)
            assert not receiver.deliveries
        look = Instance(tmp_path).status
        assert look()["alerts"] == {"webhook": {"waiting": 151, "fault": None}}
        receiver.faults = ["503", "503"]
        again = Alerts(settings)
        again.start(metrics[1])
        wait_for("all to be told", lambda: len(receiver.changes) == 151)
        again.close(PATIENCE)
        sizes = [len(json.loads(body)["changes"]) for _, body in receiver.deliveries]
        assert (receiver.asked, sizes) == (1 + 2 + 3, [1, 100, 50])
        assert look()["alerts"] == {"webhook": {"waiting": 0, "fault": None}}
    value = metrics[1].registry.get_sample_value
    assert value("meterwatch_alerts_total", {"receiver": "webhook", "outcome": "told"}) == 151
    assert value("meterwatch_alerts_total", {"receiver": "webhook", "outcome": "failed"}) == 2


def test_an_answers_head_says_it_all(tmp_path: Path, secret_file: Path) -> None:
    """What follows may be damaged and without end: it is not waited for, and ends no thread."""
    with receiving() as receiver:
        receiver.faults = ["endless", "endless"]
        settings = Settings(run_dir=tmp_path, webhook_url=receiver.url, webhook_secret_file=secret_file)
        webhook = Webhook(settings)
        for number in range(2):
            times = dict.fromkeys(("start_at", "end_at", "peak_at"), number)
            webhook.tell([{"sequence": number, **times}])
        assert [delivery for delivery, _ in receiver.deliveries] == ["0-0", "1-1"]


def test_without_a_broker_they_are_kept(tmp_path: Path) -> None:
    settings = Settings(run_dir=tmp_path, kafka_bootstrap_servers=f"127.0.0.1:{free_port()}")
    with MeterStore(database_path(settings.database_url)) as store:
        telling = Alerts(settings)
        telling.start(StreamMetrics())
        commit(store, [event(0, (1, None, 0.0))])
        telling.wake()
        fault = pa.schema([("fault", pa.string())])

        def kept() -> str | None:
            told: str | None = store._db.query("SELECT fault FROM outbox_readers", fault)["fault"][0].as_py()
            return told

        found = wait_for("a try in vain", kept)
        assert "topic 'meterwatch.events'" in found
        assert "nobody answers" in found
        telling.close(0.1)
        assert store._db.query("SELECT change FROM outbox", fault)["fault"].to_pylist() == ["opened"]


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "No such file"), (b"c2hvcnQ=", "not base64 of 24 to 64"), (b"\xff", "not base64"), (b"?" * 40, "openssl")],
)
def test_a_secret_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None, says: str) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    settings = Settings(run_dir=tmp_path, webhook_url="https://x", webhook_secret_file=file)
    with pytest.raises(StreamError, match=says):
        Alerts(settings)
