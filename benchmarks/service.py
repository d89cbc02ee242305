"""The scoring service under load, beside MLflow's own server of the same model.

    python -m benchmarks.service [--bundle DIR] [--minutes 10] [--out benchmarks/results/service.txt]

One reading a request with its meter's state, many clients, Arrow in bulk, start and memory; each on a free port.
Without `--bundle` it serves the registry's champion; only then is `mlflow models serve` measured, with the same reading
and no state, since it has no place for one. `--minutes` holds mixed load for so long and tells what memory does.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pyarrow as pa

from benchmarks._report import RESULTS, keep, machine

if TYPE_CHECKING:
    from collections.abc import Callable, MutableSequence
    from threading import Barrier

START = 1_260_921_600  # 2009-12-16 00:00 UTC
HISTORY = 21 * 1440  # readings behind the state that is sent: past the warming up, with a full profile
SINGLES, PEER_SINGLES = 3000, 200
CLIENTS, SECONDS = 16, 8.0
METERS, EACH, ROUNDS = 200, 1000, 5
JSON, ARROW = "application/json", "application/vnd.apache.arrow.stream"


@dataclass(frozen=True)
class Found:
    """What a registry says of its champion."""

    version: str
    bundle_dir: Path
    bundle_sha256: str | None = None


def power(n: int, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A plausible load in kW (n,)."""
    rng = np.random.default_rng(seed)
    hour = np.arange(n) / 60 % 24
    return np.round(0.3 + 1.2 * np.exp(-((hour - 19) ** 2) / 5) + rng.gamma(2, 0.1, n), 3)


def reading(k: int, kw: float) -> dict[str, Any]:
    """One reading, `k` minutes after the start."""
    return {"at": str(np.datetime64(START + 60 * k, "s")) + "Z", "active_power_kw": kw}


def ask(connection: http.client.HTTPConnection, body: bytes, kind: str = JSON, path: str = "/v1/score") -> bytes:
    """One answered request."""
    connection.request("POST", path, body, {"Content-Type": kind})
    response = connection.getresponse()
    content = response.read()
    if response.status != 200:
        raise SystemExit(f"the service answered {response.status}: {content[:300]!r}")
    return content


def prepared(port: int, meter_id: str) -> dict[str, Any]:
    """A meter with its state after `HISTORY` readings."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    past = [reading(k, kw) for k, kw in enumerate(power(HISTORY, 1).tolist())]
    body = json.dumps({"meters": [{"meter_id": meter_id, "readings": past}]}).encode()
    meter: dict[str, Any] = json.loads(ask(connection, body))["meters"][0]
    return {"meter_id": meter_id, "state": meter["state"], "profile": meter["profile"]}


def singles(port: int, count: int = SINGLES) -> dict[str, float]:
    """One client, one reading with state a request, each with the state that the last one answered."""
    meter = prepared(port, "single")
    connection = http.client.HTTPConnection("127.0.0.1", port)
    took = []
    for k, kw in enumerate(power(count, 2).tolist()):
        body = json.dumps({"meters": [{**meter, "readings": [reading(HISTORY + k, kw)]}]}).encode()
        begun = time.perf_counter()
        content = ask(connection, body)
        took.append(time.perf_counter() - begun)
        answer = json.loads(content)["meters"][0]
        meter |= {"state": answer["state"], "profile": answer["profile"] or meter["profile"]}
    found = np.array(took[count // 10 :]) * 1e3
    return percentiles(found)


def percentiles(found: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    """Of milliseconds (n,)."""
    return {f"p{q}_ms": round(float(np.percentile(found, q)), 3) for q in (50, 95, 99)}


def client(port: int, number: int, together: Barrier, counts: MutableSequence[int]) -> None:
    """One of many clients; they begin once all have their state."""
    meter = prepared(port, f"client-{number}")
    body = json.dumps({"meters": [{**meter, "readings": [reading(HISTORY, 1.0)]}]}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    ask(connection, body)
    together.wait()
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        ask(connection, body)
        counts[number] += 1


def many(port: int) -> dict[str, float]:
    """Requests a second with many clients."""
    counts, together = multiprocessing.Array("l", CLIENTS), multiprocessing.Barrier(CLIENTS)
    clients = [multiprocessing.Process(target=client, args=(port, k, together, counts)) for k in range(CLIENTS)]
    for process in clients:
        process.start()
    for process in clients:
        process.join()
    return {"clients": CLIENTS, "requests_per_s": round(sum(counts) / SECONDS)}


def bulk(port: int) -> dict[str, float]:
    """Readings a second in Arrow, states going back and forth."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    names = [f"bulk-{k}" for k in range(METERS)]
    states = profiles = pa.nulls(METERS, pa.binary())
    rates = []
    for turn in range(ROUNDS):
        at = np.tile(START + 60 * (turn * EACH + np.arange(EACH)), METERS) * 1_000_000
        fields = [pa.array(at).cast(pa.timestamp("us", tz="UTC")), pa.array(power(METERS * EACH, turn))]
        structs = pa.StructArray.from_arrays(fields, names=["at", "active_power_kw"])
        lists = pa.ListArray.from_arrays(pa.array(np.arange(METERS + 1, dtype=np.int32) * EACH), structs)
        table = pa.table({"meter_id": names, "state": states, "profile": profiles, "readings": lists})
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        begun = time.perf_counter()
        answer = pa.ipc.open_stream(ask(connection, sink.getvalue(), ARROW)).read_all()
        rates.append(METERS * EACH / (time.perf_counter() - begun))
        states, new = answer["state"].combine_chunks(), answer["profile"].combine_chunks()
        profiles = pa.array(
            [one or old for one, old in zip(new.to_pylist(), profiles.to_pylist(), strict=True)], pa.binary()
        )
    return {"readings_per_request": METERS * EACH, "readings_per_s": round(float(np.median(rates)))}


def started(bundle: Path | None, run_dir: str, port: int) -> tuple[subprocess.Popen[bytes], float]:
    """A service and the seconds until it was ready."""
    settings = {"METERWATCH_RUN_DIR": run_dir, "METERWATCH_PORT": str(port)}
    command = [sys.executable, "-m", "benchmarks.service", "--serve", *([str(bundle)] if bundle else [])]
    begun = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, **settings}, cwd=Path(__file__).parents[1])
    while True:
        if answers(port, "/readyz"):
            return process, time.perf_counter() - begun
        if process.poll() is not None or time.perf_counter() - begun > 60:
            process.kill()
            raise SystemExit("the service did not become ready: is there a champion? (`dvc repro` makes one)")
        time.sleep(0.01)


def serve(bundle: str | None) -> None:
    """The service's own process."""
    from meterwatch.settings import load
    from meterwatch.storage import models
    from serving import app

    if bundle is not None:
        models.champion = lambda _: Found("0", Path(bundle))  # type: ignore[assignment, return-value]
    app.serve(load())


def peer() -> dict[str, float]:
    """MLflow's server of the champion: time to its first answer, memory of all its processes, one reading a request."""
    from meterwatch.settings import load
    from meterwatch.storage import models

    champion = models.champion(load())
    if champion is None:
        raise SystemExit("there is no champion; `dvc repro` makes one")
    port, model = free_port(), champion.bundle_dir.parents[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(model), "--port", str(port),
               "--env-manager", "local", "--host", "127.0.0.1"]  # fmt: skip
    one = reading(HISTORY, 1.0)
    one["at"] = one["at"].removesuffix("Z")  # its schemas know no zones
    body = json.dumps({"dataframe_records": [one]}).encode()
    begun = time.perf_counter()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # on which it looks for uvicorn
    server = subprocess.Popen(
        command, env={**os.environ, "PATH": path}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    root = psutil.Process(server.pid)
    try:
        while not answers(port, "/ping"):
            if server.poll() is not None or time.perf_counter() - begun > 600:
                raise SystemExit("MLflow's server did not start")
            time.sleep(0.05)
        ready = time.perf_counter() - begun
        connection = http.client.HTTPConnection("127.0.0.1", port)
        took, before = [], cpu_seconds(root)
        for _ in range(PEER_SINGLES):
            start = time.perf_counter()
            ask(connection, body, path="/invocations")
            took.append((time.perf_counter() - start) * 1e3)
        used = (cpu_seconds(root) - before) / PEER_SINGLES * 1e3
        memory = sum(one.memory_info().rss for one in [root, *root.children(recursive=True)])
        figures = percentiles(np.array(took[PEER_SINGLES // 10 :]))
        return {"ready_s": round(ready, 2), "resident_mb": round(memory / 1e6), "cpu_ms": round(used, 3), **figures}
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def cpu_seconds(root: psutil.Process) -> float:
    """Of a process and those below it."""
    return float(sum(sum(one.cpu_times()[:2]) for one in [root, *root.children(recursive=True)]))


def held(port: int, service: psutil.Process, minutes: float) -> dict[str, Any]:
    """Singles and bulk in turn; resident memory at each tenth of the time, after a tenth to settle."""
    memory, until = [], time.monotonic() + 60 * minutes
    while time.monotonic() < until:
        part = time.monotonic() + 6 * minutes
        while time.monotonic() < part:
            singles(port, 300)
            bulk(port)
        memory.append(round(service.memory_info().rss / 1e6))
    return {"minutes": minutes, "resident_mb": memory, "grown_mb": memory[-1] - memory[0]}


def answers(port: int, path: str) -> bool:
    """Whether an address answers with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="serve this bundle rather than the registry's champion")
    parser.add_argument("--minutes", type=float, default=0.0, help="also hold mixed load for so long")
    parser.add_argument("--out", type=Path, default=RESULTS / "service.txt", help="write the figures here")
    parser.add_argument("--serve", nargs="?", const="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve is not None:
        serve(asked.serve or None)
        return
    port = free_port()
    with tempfile.TemporaryDirectory() as run_dir:
        process, ready = started(asked.bundle, run_dir, port)
        resident = psutil.Process(process.pid)
        figures: dict[str, Any] = {
            "machine": machine(),
            "ready_s": round(ready, 2),
            "resident_mb_at_start": round(resident.memory_info().rss / 1e6),
        }
        measured: dict[str, Callable[[int], dict[str, float]]] = {"singles": singles, "many": many, "bulk": bulk}
        try:
            for name, measure in measured.items():
                before = cpu_seconds(resident)
                figures[name] = measure(port)
                figures[name]["cpu_s"] = round(cpu_seconds(resident) - before, 2)
                figures[name]["resident_mb"] = round(resident.memory_info().rss / 1e6)
                print(name, figures[name], flush=True)
            if asked.minutes:
                figures["held"] = held(port, resident, asked.minutes)
        finally:
            process.terminate()
            process.wait()
    if asked.bundle is None:
        figures["mlflow_models_serve"] = peer()
        figures["times_mlflow_p50"] = round(figures["mlflow_models_serve"]["p50_ms"] / figures["singles"]["p50_ms"], 1)
    keep(json.dumps(figures, indent=1), asked.out)


if __name__ == "__main__":
    main()
