"""One reading of each of 100,000 half-hourly meters, eight weeks behind each: `python -m benchmarks.many_meters`.

Their states are made by the detector itself: made households, one or more for each slot at which a profile may change,
are read for eight weeks; each meter gets what such a household at its own slot has left, under its own name, through
the stream's own commit. Then a real broker, the service and the Spark stream take one reading of each meter, which
changes no profile, and one more, with which every meter's profile changes. The time runs from the first record sent
until the ledger has the last one; the start of service and Spark is not in it.

The figures and the machine go to benchmarks/results/many_meters.txt.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import psutil
import pyarrow as pa
from confluent_kafka import Producer

from benchmarks._report import RESULTS, keep, machine
from benchmarks.stream import stages
from meterwatch.detection import memory
from meterwatch.detection.detector import Detector
from meterwatch.detection.params import SLOT_S, SLOTS_A_DAY
from meterwatch.detection.readings import Readings
from meterwatch.kafka import PRODUCER
from meterwatch.settings import Settings
from meterwatch.storage import models, tables
from meterwatch.storage.meters import MeterStore
from meterwatch.storage.tables import Batch
from tests.households import START, household
from tests.instances import Instance, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from meterwatch.storage.models import ModelVersion

METERS, GOAL_S, GOAL_MB = 100_000, 30.0, 2000.0
DAYS, CADENCE, DAY = 57, 1800, 86_400
METRICS = "METERWATCH_STREAM_METRICS_PORT"
AT_ONCE = 5_000  # meters of a commit while the database is filled
HEAD = memory._HEAD  # noqa: SLF001


@dataclass
class Template:
    """What a household has left behind after eight weeks."""

    state: bytes
    profile: bytes
    at: int  # of its next reading; with the one after that its profile changes
    power: tuple[float, float]


def templates(detector: Detector, each: int) -> dict[int, list[Template]]:
    """`each` households for each slot of the day."""
    names: dict[int, str] = {}
    number = 0
    while len(names) < SLOTS_A_DAY:
        slot = turn_of(f"household {number}")
        names.setdefault(slot, f"household {number}")
        number += 1
    found: dict[int, list[Template]] = {}
    for slot, name in names.items():
        for seed in range(each):
            # The reading at `turn` is the first one of the meter's own day; the history ends two readings before.
            turn = START + DAYS * DAY + -(-slot * SLOT_S // CADENCE) * CADENCE
            at, channels = household(DAYS + 2, 100 * slot + seed, CADENCE, START)
            channels[1:] = np.nan
            end = int(np.searchsorted(at, turn)) - 1
            readings = Readings(np.zeros(end, np.int64), at[:end], channels[:, :end])
            seen = detector.observe([name], [None], [None], readings)
            profile = seen.profiles[0] or b""
            power = (float(channels[0, end]), float(channels[0, end + 1]))
            found.setdefault(slot, []).append(Template(seen.states[0], profile, int(at[end]), power))
    return found


def turn_of(meter_id: str) -> int:
    """The slot of the day at which a meter's profile may change."""
    return int.from_bytes(memory.meter_digest(meter_id), "little") % SLOTS_A_DAY


def renamed(raw: bytes, meter_id: str) -> bytes:
    """A state or profile under another meter's name."""
    magic, _, present, _, _ = HEAD.unpack_from(raw)
    return memory._seal(magic, present, memory.meter_digest(meter_id), raw[HEAD.size :])  # noqa: SLF001


def fill(file: Path, model: ModelVersion, owners: dict[str, Template]) -> None:
    """Write every meter's state and profile."""
    names = list(owners)
    nothing = {
        "readings": tables.READINGS, "verdicts": tables.VERDICTS, "events": tables.EVENTS,
        "snapshots": tables.SNAPSHOTS, "rejected": tables.REJECTED,
    }  # fmt: skip
    empty = {name: schema.empty_table() for name, schema in nothing.items()}
    with MeterStore(file) as store:
        for begin in range(0, len(names), AT_ONCE):
            some = names[begin : begin + AT_ONCE]
            states = [renamed(owners[name].state, name) for name in some]
            profiles = [renamed(owners[name].profile, name) for name in some]
            newest = [owners[name].at - CADENCE for name in some]
            version = [model.version] * len(some)
            store.commit(
                Batch(
                    "none",
                    "none",
                    **empty,
                    advances=[],
                    states=pa.table([some, states, newest, newest, version], schema=tables.STATES),
                    profiles=pa.table([some, profiles], schema=tables.PROFILES),
                )
            )


class Watch:
    """CPU seconds and peak resident memory of processes while it is open."""

    def __init__(self, parts: dict[str, int]) -> None:
        self._parts = {name: psutil.Process(pid) for name, pid in parts.items()}
        self._stop = threading.Event()
        self.peak = dict.fromkeys(parts, 0.0)
        self.cpu: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._before = self._seconds()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        after = self._seconds()
        self.cpu = {name: after[name] - self._before[name] for name in after}

    def _look(self) -> None:
        while not self._stop.wait(0.1):
            for name, process in self._parts.items():
                self.peak[name] = max(self.peak[name], process.memory_info().rss / 1e6)

    def _seconds(self) -> dict[str, float]:
        return {name: sum(process.cpu_times()[:2]) for name, process in self._parts.items()}


def send(instance: Instance, records: Iterator[tuple[str, bytes]]) -> None:
    """Put records on the topic and wait until the broker has them."""
    producer = Producer({"bootstrap.servers": f"127.0.0.1:{instance.kafka}", **PRODUCER})
    for key, value in records:
        while True:
            try:
                producer.produce("first", value, key.encode())
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)
    producer.flush()


def measured(name: str, instance: Instance, parts: dict[str, int], act: Callable[[], None], until: int) -> list[str]:
    """Lines on what it takes from the first record sent until the ledger has `until` readings."""
    port = int(instance.env[METRICS])
    before, at_first = count(instance, "verdicts"), stages(port)
    with Watch(parts) as watch:
        begun = time.perf_counter()
        act()
        sent = time.perf_counter() - begun
        wait_for("the ledger", lambda: instance.stored() >= until, seconds=900)
        seconds = time.perf_counter() - begun
    size = sum(file.stat().st_size for file in instance.dir.glob("meterwatch.db*")) / 1e6
    scored = instance.rows("SELECT count(*) FROM verdicts WHERE status = 'scored'")[0][0]
    lines = [f"{name}: {seconds:.1f} s (all sent after {sent:.1f} s){told(seconds, GOAL_S, 's')}"]
    for part in parts:
        goal = told(watch.peak[part], GOAL_MB, "MB") if part == "stream, Python" else ""
        lines.append(f"  {part:16} {watch.cpu[part]:7.1f} CPU s, at most {watch.peak[part]:6,.0f} MB resident{goal}")
    spent = {stage: all_of - at_first.get(stage, 0.0) for stage, all_of in stages(port).items()}
    lines.append("  stages (they overlap): " + ", ".join(f"{stage} {all_of:.1f} s" for stage, all_of in spent.items()))
    lines.append(
        f"  {count(instance, 'verdicts') - before:,} verdicts; so far {scored:,} scored, {count(instance, 'events'):,} "
        f"events; database {size:,.0f} MB"
    )
    return [*lines, ""]


def count(instance: Instance, table: str) -> int:
    """Rows of a table."""
    return int(instance.rows(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608


def told(figure: float, goal: float, unit: str) -> str:
    """The goal, and whether it is kept."""
    return f", goal <= {goal:g} {unit}{'' if figure <= goal else '  FALLS SHORT'}"


def record(at: int, power: float) -> bytes:
    """A meter's reading as it is sent."""
    return json.dumps({"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)), "active_power_kw": power}).encode()


def run(instance: Instance, number: int, each: int) -> list[str]:
    """Everything on a fresh instance."""
    model = models.champion(Settings())
    if model is None:
        raise SystemExit("there is no champion model yet; make one: .venv/bin/dvc repro")
    where, made = machine(), templates(Detector.load(model.bundle_dir), each)
    ids = [f"meter-{k:06}" for k in range(number)]
    owners = {name: made[turn_of(name)][k % each] for k, name in enumerate(ids)}
    file = instance.dir / "meterwatch.db"
    fill(file, model, owners)
    size = np.mean([len(renamed(one.profile, "m")) for some in made.values() for one in some])
    lines = [
        where,
        f"{number:,} half-hourly meters of {SLOTS_A_DAY * each} made households",
        f"state {len(made[0][0].state):,} bytes, profile {size:,.0f}, database {file.stat().st_size / 1e6:,.0f} MB",
        "",
    ]
    instance.env[METRICS] = str(free_port())
    instance.run("broker", "start")
    service, stream = instance.spawn("serve"), instance.spawn("stream")
    send(instance, iter([("first", record(START, 1.0))]))
    wait_for("the stream", lambda: instance.stored() == 1, seconds=240)
    java = next(one for one in psutil.Process(stream.pid).children(recursive=True) if "java" in one.name())
    parts = {"stream, Python": stream.pid, "stream, Java": java.pid, "service": service.pid}
    for turn, name in enumerate(("one reading each, no profile changes", "one reading each, every profile changes")):
        readings = ((meter_id, record(one.at + turn * CADENCE, one.power[turn])) for meter_id, one in owners.items())
        lines += measured(name, instance, parts, lambda some=readings: send(instance, some), 1 + number * (turn + 1))
    return lines


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--meters", type=int, default=METERS)
    parser.add_argument("--each", type=int, default=1, help="households for each slot of the day")
    parser.add_argument("--out", type=Path, default=RESULTS / "many_meters.txt")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="meterwatch-bench-") as directory:
        instance = Instance(Path(directory))
        try:
            lines = run(instance, chosen.meters, chosen.each)
        finally:
            instance.end()
    keep("\n".join(lines), chosen.out)


if __name__ == "__main__":
    main()
