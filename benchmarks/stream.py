"""From the first line sent to the last row stored: `python -m benchmarks.stream [FILE]`, after `dvc repro`.

FILE is UCI text, plain or .xz; the shipped year where none is named. `meterwatch replay --rate max` sends it through
the real broker, the Spark stream and the service with both models into SQLite. The clock runs from the time that Kafka
keeps of the first record to the commit of the last; Spark's session has been started before, by a small batch of
another meter. Then readings are sent at one a second, and it is measured how long each takes to be a row with a
verdict. Beside it, in the same run and over the same rows: raw insertion, and the original project's way.

The figures go to benchmarks/results/stream.txt, the picture of where the time went to docs/stream-speed.svg.
"""

from __future__ import annotations

import argparse
import lzma
import os
import sqlite3
import statistics
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx
import psutil
from confluent_kafka import Consumer, TopicPartition
from matplotlib.figure import Figure
from prometheus_client.parser import text_string_to_metric_families

from benchmarks._report import RESULTS, keep, machine
from meterwatch.storage.database import Database
from meterwatch.storage.migrate import migrate
from meterwatch.storage.tables import READINGS, VERDICTS
from tests.instances import Instance, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

YEAR = Path("data/raw/household_power_consumption_2007.txt.xz")
PICTURE = Path("docs/stream-speed.svg")
FIRST, LIVE = 2_000, 90  # readings of the batch that starts Spark; readings sent at one a second
A_TRANSACTION, ONE_BY_ONE = 50_000, 5_000
GOALS = {"seconds": 30.0, "latency": 1.0, "driver": 2000.0}
MB = 1e6


class Use(NamedTuple):
    """What a process has used."""

    cpu: float  # seconds
    peak: float  # MB resident


class Bulk(NamedTuple):
    """What the stream did with a file."""

    readings: int
    seconds: float
    used: dict[str, Use]
    stages: dict[str, float]  # of the stream's driver: stage to seconds


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path, nargs="?", default=YEAR)
    file = parser.parse_args().file
    where = machine()
    with tempfile.TemporaryDirectory(prefix="meterwatch-bench-") as directory:
        instance = Instance(Path(directory))
        try:
            bulk, latencies = streamed(instance, plain(file, instance.dir / "in.txt"))
        finally:
            instance.end()
        raw = inserted(instance.dir / "meterwatch.db", instance.dir)
    keep("\n".join(told(where, file, bulk, latencies, raw)), RESULTS / "stream.txt")
    picture(bulk)


def plain(file: Path, to: Path) -> Path:
    """The file unpacked, so that unpacking is not measured."""
    to.write_bytes(lzma.decompress(file.read_bytes()) if file.suffix == ".xz" else file.read_bytes())
    return to


def streamed(instance: Instance, file: Path) -> tuple[Bulk, list[float]]:
    """The file through everything at once; then a reading a second."""
    metrics = free_port()
    instance.env["METERWATCH_STREAM_METRICS_PORT"] = str(metrics)
    instance.run("broker", "start")
    instance.run("replay", file, "--meter", "first", "--limit", FIRST)
    service, stream = instance.spawn("serve"), instance.spawn("stream")
    wait_for("Spark and its first batch", lambda: instance.stored() == FIRST, seconds=300)
    (java,) = [child for child in psutil.Process(stream.pid).children(recursive=True) if child.name() == "java"]
    pids = {
        "service": service.pid,
        "stream: Python": stream.pid,
        "stream: Java": java.pid,
        "broker": next(part["id"] for part in instance.status()["processes"] if part["name"] == "broker"),
    }
    before = {name: use(pid) for name, pid in pids.items()}
    begun, at_first = stages(metrics), next_offset(instance)
    with file.open("rb") as lines:
        readings = sum(1 for line in lines if line.strip()) - 1
    replay = instance.spawn("replay", file, "--rate", "max")
    pids["replay"] = replay.pid
    used = dict.fromkeys(pids, Use(0.0, 0.0))
    while next_offset(instance) < at_first + readings:
        used |= {name: found for name, pid in pids.items() if (found := use(pid)).cpu}
        if stream.poll() is not None or replay.poll():
            raise SystemExit(f"the stream ended with {stream.poll()}, the replay with {replay.poll()}")
        time.sleep(0.02)
    ended = time.time()
    used |= {name: found for name, pid in pids.items() if (found := use(pid)).cpu}
    used = {name: Use(now.cpu - before.get(name, Use(0, 0)).cpu, now.peak) for name, now in used.items()}
    spent = {name: seconds - begun.get(name, 0.0) for name, seconds in stages(metrics).items()}
    bulk = Bulk(readings, ended - sent_at(instance, at_first, 1)[0], used, spent)
    return bulk, live(instance, file)


def next_offset(instance: Instance) -> int:
    """How far the ledger has come."""
    return int(instance.rows("SELECT next_offset FROM offsets")[0][0])


def use(pid: int) -> Use:
    """What a process has used so far; nothing where it has ended."""
    try:
        times = psutil.Process(pid).cpu_times()
        status = Path(f"/proc/{pid}/status").read_text()
    except (psutil.Error, OSError):
        return Use(0.0, 0.0)
    peak = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")]
    return Use(times.user + times.system, peak[0] * 1024 / MB) if peak else Use(0.0, 0.0)


def stages(port: int) -> dict[str, float]:
    """What the stream's driver says of its time."""
    told = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    return {
        sample.labels["stage"]: sample.value
        for family in text_string_to_metric_families(told)
        for sample in family.samples
        if sample.name == "meterwatch_stage_seconds_total"
    }


def sent_at(instance: Instance, begin: int, count: int) -> list[float]:
    """When records were sent, as their producer wrote on them: unix seconds, to the millisecond."""
    consumer = Consumer({"bootstrap.servers": f"127.0.0.1:{instance.kafka}", "group.id": "bench"})
    consumer.assign([TopicPartition("first", 0, begin)])
    found: list[float] = []
    while len(found) < count:
        found += [message.timestamp()[1] / 1e3 for message in consumer.consume(count - len(found), 1.0)]
    consumer.close()
    return found


def live(instance: Instance, file: Path) -> list[float]:
    """Seconds from each reading's send to its row with a verdict: the file's first lines, after its last in time."""
    with file.open() as all_lines:
        lines = [line.rstrip().split(";") for line in all_lines]
    last = datetime.strptime(" ".join(lines[-1][:2]), "%d/%m/%Y %H:%M:%S")  # noqa: DTZ007 - local, as they are written
    more = instance.dir / "live.txt"
    with more.open("w") as out:
        for k, fields in enumerate(lines[1 : LIVE + 1], 1):
            clock = (last + timedelta(minutes=k)).strftime("%d/%m/%Y;%H:%M:%S")
            out.write(";".join([clock, *fields[2:]]) + "\n")
    begin = next_offset(instance)
    replay = instance.spawn("replay", more, "--rate", "1/s")
    seen: list[float] = []
    sql = (
        "SELECT count(*) FROM power_data JOIN verdicts USING (meter_id, at) WHERE meter_id = 'default' AND at > ?"
        " AND record_offset >= ?"
    )
    (newest,) = instance.rows("SELECT max(at) FROM power_data WHERE meter_id = 'default'")[0]
    db = sqlite3.connect(f"file:{instance.dir}/meterwatch.db?mode=ro", uri=True)
    while len(seen) < LIVE:
        (count,) = db.execute(sql, (newest, begin)).fetchone()
        seen += [time.time()] * (count - len(seen))
        time.sleep(0.005)
    db.close()
    replay.wait(30)
    return sorted(then - sent for then, sent in zip(seen, sent_at(instance, begin, LIVE), strict=True))


def inserted(file: Path, directory: Path) -> dict[str, float]:
    """Rows a second of readings with their verdicts, put into an empty database in other ways."""
    source = Database(file, busy_seconds=30)
    tables = {}
    for name, schema in (("power_data", READINGS), ("verdicts", VERDICTS)):
        columns = ", ".join(schema.names)
        sql = f"SELECT {columns} FROM {name} WHERE meter_id = 'default' ORDER BY at"  # noqa: S608
        tables[name] = source.query(sql, schema)
    source.close()
    readings = tables["power_data"].num_rows
    found = {"raw ADBC, Arrow tables": readings / adbc(directory / "adbc.db", tables)}
    found["raw executemany"] = readings / executemany(directory / "many.db", tables)
    found["the original's way"] = ONE_BY_ONE / one_by_one(directory / "one.db", tables["power_data"])
    return found


def pieces(tables: dict[str, pa.Table]) -> Iterator[dict[str, pa.Table]]:
    """A transaction's rows each."""
    for begin in range(0, tables["power_data"].num_rows, A_TRANSACTION):
        yield {name: table.slice(begin, A_TRANSACTION) for name, table in tables.items()}


def adbc(file: Path, tables: dict[str, pa.Table]) -> float:
    """Seconds to insert Arrow tables."""
    migrate(file)
    database = Database(file, busy_seconds=30)
    begun = time.perf_counter()
    for piece in pieces(tables):
        with database.transaction():
            for name, rows in piece.items():
                database.insert(name, rows)
    took = time.perf_counter() - begun
    database.close()
    return took


def executemany(file: Path, tables: dict[str, pa.Table]) -> float:
    """Seconds to insert tuples with the standard library; making the tuples is not counted."""
    migrate(file)
    took = 0.0
    db = sqlite3.connect(file, isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "cache_size = -65536"):
        db.execute(f"PRAGMA {pragma}")
    for piece in pieces(tables):
        ready = {name: list(zip(*table.to_pydict().values(), strict=True)) for name, table in piece.items()}
        begun = time.perf_counter()
        db.execute("BEGIN")
        for name, rows in ready.items():
            places = ", ".join("?" * piece[name].num_columns)
            names = ", ".join(piece[name].column_names)
            db.executemany(f"INSERT INTO {name} ({names}) VALUES ({places})", rows)  # noqa: S608
        db.execute("COMMIT")
        took += time.perf_counter() - begun
    db.close()
    return took


def one_by_one(file: Path, readings: pa.Table) -> float:
    """Seconds for a sample as the original did it: one reading an insert, each its own transaction, no verdict."""
    db = sqlite3.connect(file, isolation_level=None)
    names = readings.column_names[1:9]
    db.execute(f"CREATE TABLE power_data ({', '.join(names)})")
    rows = list(zip(*readings.select(names).slice(0, ONE_BY_ONE).to_pydict().values(), strict=True))
    begun = time.perf_counter()
    for row in rows:
        db.execute("INSERT INTO power_data VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    took = time.perf_counter() - begun
    db.close()
    return took


def told(where: str, file: Path, bulk: Bulk, latencies: list[float], raw: dict[str, float]) -> Iterator[str]:
    """The lines that are kept."""
    p50, p95 = statistics.median(latencies), latencies[int(len(latencies) * 0.95)]
    yield where
    yield f"{file.name}: {bulk.readings:,} readings of one meter, both models, every table; Spark's start excluded"
    yield ""
    goal = GOALS["seconds"] * bulk.readings / 2_075_259
    yield f"first send to lag zero   {bulk.seconds:8.1f} s  {_goal(bulk.seconds, goal, 's')}"
    yield f"readings a second        {bulk.readings / bulk.seconds:8,.0f}"
    yield f"live at 1/s, to the row with its verdict, {len(latencies)} readings: p50 {p50:.2f} s, p95 {p95:.2f} s  " + (
        _goal(p95, GOALS["latency"], "s")
    )
    yield ""
    yield "process            CPU s   peak MB resident"
    for name, found in bulk.used.items():
        yield f"{name:16s} {found.cpu:7.1f}   {found.peak:7.0f}"
    cpu = sum(found.cpu for found in bulk.used.values())
    yield f"{'together':16s} {cpu:7.1f}   of {bulk.seconds * (os.cpu_count() or 1):.1f} there were"
    yield f"driver's memory: {_goal(bulk.used['stream: Python'].peak, GOALS['driver'], 'MB')}"
    yield ""
    yield "stage of the stream's driver (stages overlap)   s"
    for name, seconds in bulk.stages.items():
        yield f"{name:44s} {seconds:5.1f} {'#' * round(40 * seconds / bulk.seconds)}"
    yield ""
    yield f"readings a second beside it, readings and verdicts, {A_TRANSACTION:,} a transaction, nothing else running:"
    yield f"{'meterwatch, all of the above':30s} {bulk.readings / bulk.seconds:10,.0f}"
    for name, rate in raw.items():
        yield f"{name:30s} {rate:10,.0f}"
    whole = bulk.readings / raw["the original's way"]
    yield f"(the original's way: {ONE_BY_ONE:,} readings without verdicts, each a transaction of its own; "
    yield f"extrapolated, all of them would take {whole:,.0f} s)"


def _goal(found: float, goal: float, unit: str) -> str:
    return f"goal <= {goal:.4g} {unit}" + ("" if found <= goal else "  FALLS SHORT")


def picture(bulk: Bulk) -> None:
    """Draw where the time went."""
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for axes, bars, title in (
        (above, {name: found.cpu for name, found in bulk.used.items()}, "CPU seconds of each process"),
        (below, bulk.stages, "seconds in each stage of the stream's driver (they overlap)"),
    ):
        names = list(bars)[::-1]
        axes.barh(names, [bars[name] for name in names], color="#4878a8")
        axes.axvline(bulk.seconds, color="#a03030", linewidth=1)
        axes.set_title(title, fontsize=9, loc="left")
        axes.tick_params(labelsize=8)
    below.set_xlabel(f"seconds; line: {bulk.readings:,} readings stored after {bulk.seconds:.1f} s", fontsize=8)
    figure.savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    main()
