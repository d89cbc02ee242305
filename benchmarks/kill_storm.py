"""Exactly once, proven: `python -m benchmarks.kill_storm`, after `dvc repro`; some twenty minutes.

While records with garbage, doubles, contradictions and late readings are sent, broker, service, stream (the Python
process or its Java) and supervisor are killed with SIGKILL at random moments, two hundred times. Afterwards every table
is held against a fresh database that read the same topic from its start, in one go and undisturbed. The outcome goes to
benchmarks/results/kill_storm.txt.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from confluent_kafka.admin import AdminClient, NewPartitions

from benchmarks._report import RESULTS, keep, machine
from meterwatch import processes
from meterwatch.kafka import client_config
from meterwatch.processes import BROKER, SERVICE, SPARK, STREAM, UP
from meterwatch.settings import Settings
from meterwatch.storage.tables import EVENTS
from streaming.accounts import broken_identities
from streaming.event_topic import as_json
from streaming.event_topic import told as as_told
from streaming.records import newest
from streaming.replay import Replay
from tests.comparing import compare, differences
from tests.instances import Instance, wait_for
from tests.mixtures import Mixture

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping

    from streaming.replay import Result
    from tests.comparing import Compared

SEED = 7
KILLS = {BROKER: 75, SERVICE: 85, STREAM: 14, SPARK: 14, UP: 12}
RATE = 30.0  # records a second
PARTITIONS = 3
LEAST, MOST = 20, 200  # records in a batch; each start of the supervisor draws its own limit
ALL = 200_000  # for what is left at the end
SOON = 2.0  # seconds: a kill comes at a random moment within
# So often not before batches were committed since the last kill; Spark needs longest until it works.
AFTER_WORK = {BROKER: 0.1, SERVICE: 0.1, STREAM: 0.6, SPARK: 0.6, UP: 0.6}
PATIENCE = 600.0  # seconds, for anything
AGAIN = re.compile(r"the (\w+) (?:was killed|has ended|ended).* it is started again")


@dataclass(frozen=True)
class Outcome:
    """What a storm left."""

    killed: Counter[str]
    restarted: Counter[str]  # parts, as the supervisors said
    result: Result
    expected: Counter[str]  # what must become of the records
    accounts: Counter[str]  # what became of them
    on_topic: bool  # each record is, once, in its meter's order
    broken: list[str]  # identities
    tables: dict[str, Compared]  # against the undisturbed database
    events: int
    told: bool  # the newest that the topic of events has of each is its row
    stacks: int  # call stacks in the logs: what is foreseeable is told in a line

    @property
    def faults(self) -> list[str]:
        """What is wrong, in words; nothing where exactly once was kept."""
        found = list(self.broken)
        if not self.on_topic or self.result.failed:
            found.append("the topic does not hold what was sent")
        if not self.told:
            found.append("the topic of events tells others than the table has")
        if self.stacks:
            found.append(f"{self.stacks} call stacks in the logs")
        if self.accounts != self.expected:
            found.append(f"became {dict(self.accounts)}, expected {dict(self.expected)}")
        found += [f"{name}: {table}" for name, table in self.tables.items() if differences({name: table})]
        return found

    def __str__(self) -> str:
        lines = [f"{'killed':12}{sum(self.killed.values()):>10,}  {_told(self.killed)}"]
        lines += [f"{'started again':12}{sum(self.restarted.values()):>9,}  {_told(self.restarted)}"]
        lines += [f"{'sent':12}{self.result.sent:>10,}  on the topic once and in order: {self.on_topic}"]
        lines += [f"{name:12}{count:>10,}" for name, count in sorted(self.accounts.items())]
        lines += [
            f"{'events':12}{self.events:>10,}  told on their topic as they are: {self.told}",
            "",
            "table               rows   lost  doubled or different",
        ]
        lines += [
            f"{name:16}{table.rows:>8,}{table.only_second:>7,}{table.only_first:>7,}"
            for name, table in self.tables.items()
        ]
        return "\n".join([*lines, "", *(self.faults or ["0 lost, 0 doubled, 0 different"])])


class Storm:
    """One storm on a fresh instance.

    Args:
        directory: of the instance, and of the undisturbed one.
        seed: of records, victims and moments.
        kills: how often each part is killed, the supervisor at least once.
        rate: of the replay, records a second.
        registry: as `Instance` takes it.
    """

    def __init__(
        self, directory: Path, seed: int, kills: Mapping[str, int], rate: float, registry: str | None = None
    ) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._instance = Instance(directory / "storm", registry)
        self._calm = Instance(directory / "calm", registry)
        servers = self._instance.env["METERWATCH_KAFKA_BOOTSTRAP_SERVERS"]
        self._calm.env |= {"METERWATCH_KAFKA_BOOTSTRAP_SERVERS": servers, "METERWATCH_KAFKA_EVENTS_TOPIC": ""}
        self._instance.env["METERWATCH_TRIGGER_SECONDS"] = "0.2"
        self._settings = Settings(run_dir=self._instance.dir, kafka_bootstrap_servers=servers)
        self._over = threading.Event()
        self._mixture = Mixture(seed, self._over)
        self._results: list[Result] = []
        self._order = [name for name, count in kills.items() for _ in range(count - (name == UP))]
        self._rng.shuffle(self._order)
        self._order += [UP]  # the last one: whoever comes then drains what is left
        self._rate = rate

    def run(self) -> Outcome:
        """Let it pass, and look at what is left."""
        try:
            self._instance.run("broker", "start")
            admin = AdminClient(client_config(self._settings))
            admin.create_partitions([NewPartitions("first", PARTITIONS)])["first"].result()
            replay = Replay(self._settings, self._rate)
            sending = threading.Thread(target=lambda: self._results.append(replay.run(self._mixture)), daemon=True)
            sending.start()
            self._kill_all()
            self._over.set()
            sending.join(PATIENCE)
            return self._outcome()
        finally:
            self._over.set()
            self._calm.end()
            self._instance.end()

    def left(self) -> list[str]:
        """Processes that are still there."""
        return [*self._instance.processes(), *self._calm.processes()]

    def _kill_all(self) -> None:
        up, seen = self._up(self._limit()), 0

        def lives() -> None:
            if up.poll() is not None:
                raise SystemExit(f"the supervisor has ended; see {self._instance.dir}/test-up.log")

        def works() -> bool:
            lives()
            return self._done() > seen

        def kills(victim: str) -> bool:
            lives()
            return self._kill(victim)

        for number, victim in enumerate(self._order, 1):
            if number == 1 or self._rng.random() < AFTER_WORK[victim]:
                wait_for("batches to be committed", works, seconds=PATIENCE)
            time.sleep(self._rng.uniform(0, SOON))
            seen = self._done()
            wait_for(f"the {victim}", lambda victim=victim: kills(victim), seconds=PATIENCE)
            if victim == UP:
                up.wait()
                up = self._up(ALL if number == len(self._order) else self._limit())
            told = f"{victim:8}{seen:>9,} of {len(self._mixture.taken):,} records done"
            print(f"{time.strftime('%H:%M:%S')} {number:4}/{len(self._order)}  {told}", flush=True)
        self._over.set()
        wait_for("all to be done", lambda: self._results and self._done() == len(self._mixture.taken), seconds=PATIENCE)
        wait_for("events to be told", lambda: not self._instance.rows("SELECT 1 FROM outbox LIMIT 1"), seconds=PATIENCE)
        up.send_signal(signal.SIGTERM)
        if up.wait(PATIENCE):
            raise SystemExit(f"the supervisor ended with {up.returncode}")

    def _kill(self, victim: str) -> bool:
        """Whether it ran, and was killed. A broker that is being started still has the number of its supervisor."""
        parts = list(processes.processes(self._settings))
        starters = {part.pid for part in parts if part.name == UP and victim != UP}
        for part in parts:
            if part.name == victim and part.pid not in starters:
                with suppress(ProcessLookupError):
                    os.kill(part.pid, signal.SIGKILL)
                    return True
        return False

    def _limit(self) -> int:
        return self._rng.randint(LEAST, MOST)

    def _up(self, limit: int) -> subprocess.Popen[str]:
        self._instance.env["METERWATCH_MAX_OFFSETS_PER_TRIGGER"] = str(limit)
        return self._instance.spawn("up")

    def _done(self) -> int:
        """Records accounted for; 0 before there is a database."""
        try:
            return sum(count for (count,) in self._instance.rows("SELECT records FROM offsets"))
        except sqlite3.OperationalError:
            return 0

    def _outcome(self) -> Outcome:
        self._instance.run("broker", "start")
        service = self._calm.spawn("serve")
        self._calm.run("stream", "--once")
        service.terminate()
        log = (self._instance.dir / "test-up.log").read_text()
        return Outcome(
            Counter(self._order),
            Counter(AGAIN.findall(log)),
            self._results[0],
            self._mixture.expected,
            self._accounts(),
            self._is_on_topic(),
            broken_identities(self._settings),
            compare(self._instance.dir / "meterwatch.db", self._calm.dir / "meterwatch.db"),
            self._instance.rows("SELECT count(*) FROM events")[0][0],
            self._is_told(),
            sum(log.read_text(errors="replace").count("Traceback") for log in self._instance.dir.glob("**/*.log")),
        )

    def _accounts(self) -> Counter[str]:
        ((stored, duplicates),) = self._instance.rows("SELECT sum(stored), sum(duplicates) FROM offsets")
        refused = self._instance.rows("SELECT reason, count(*) FROM rejected GROUP BY reason")
        return Counter({"stored": stored, "duplicates": duplicates, **dict(refused)})

    def _is_told(self) -> bool:
        found = newest(self._settings, self._settings.kafka_events_topic, 10**9)
        changes = [json.loads(record.value or b"") for record in found]
        changes.sort(key=lambda one: one["sequence"])
        told = {one["event_id"]: [one[name] for name in EVENTS.names] for one in changes}
        rows = self._instance.rows(f"SELECT {', '.join(EVENTS.names)} FROM events")  # noqa: S608
        events = [as_told(dict(zip(EVENTS.names, row, strict=True))) for row in rows]
        return told == {one["event_id"]: list(json.loads(as_json(one)).values()) for one in events}

    def _is_on_topic(self) -> bool:
        sent: dict[bytes, list[bytes]] = {}
        for record in self._mixture.taken:
            sent.setdefault(record.key, []).append(record.value)
        found: dict[bytes, list[bytes]] = {}
        for held in newest(self._settings, "first", len(self._mixture.taken) + 1):
            found.setdefault(held.key or b"", []).append(held.value or b"")
        return sent == found


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def main() -> None:
    """Storm, print, keep."""
    directory = Path(tempfile.mkdtemp(prefix="meterwatch-storm-"))
    where, begun = machine(), time.monotonic()
    outcome = Storm(directory, SEED, KILLS, RATE).run()
    text = f"{where}; {(time.monotonic() - begun) / 60:.0f} minutes\n\n{outcome}"
    if outcome.faults:
        print(text)
        sys.exit(f"not exactly once; what is left lies in {directory}")
    keep(text, RESULTS / "kill_storm.txt")
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
