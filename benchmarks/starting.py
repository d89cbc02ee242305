"""How soon each part is ready and what all of them weigh: `python -m benchmarks.starting`, after `dvc repro`.

The figures and the machine go to benchmarks/results/starting.txt.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from benchmarks._report import RESULTS, keep, machine
from tests.instances import Instance, answers, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

RUNS = 3
READINGS = 100_000
YEAR = Path("data/raw/household_power_consumption_2007.txt.xz")
GOALS = {
    "broker ready, first start (formats its storage)": (5.0, "s"),
    "broker ready, second start": (5.0, "s"),
    "service ready": (2.0, "s"),
    "service, resident": (300.0, "MB"),
    "stream, first batch stored": (15.0, "s"),
    "all processes of `up` during a replay, resident": (3000.0, "MB"),
}


def main() -> None:
    """Measure, print, keep."""
    lines = [machine(), f"each figure: median of {RUNS} runs (least to most), goal", ""]
    found: dict[str, list[float]] = {name: [] for name in GOALS}
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory(prefix="meterwatch-bench-") as directory:
            for name, figure in measure(Instance(Path(directory))).items():
                found[name].append(figure)
    for name, figures in found.items():
        goal, unit = GOALS[name]
        told = (
            f"{statistics.median(figures):8.2f} {unit} ({min(figures):.2f} to {max(figures):.2f}), <= {goal:g} {unit}"
        )
        lines.append(f"{name:50s} {told}{'' if statistics.median(figures) <= goal else '  FALLS SHORT'}")
    keep("\n".join(lines), RESULTS / "starting.txt")


def measure(instance: Instance) -> dict[str, float]:
    """One run of everything on a fresh instance."""
    figures = {"broker ready, first start (formats its storage)": timed(lambda: instance.run("broker", "start"))}
    instance.run("broker", "stop")
    figures["broker ready, second start"] = timed(lambda: instance.run("broker", "start"))

    instance.run("replay", YEAR, "--limit", 1000)
    begun = time.perf_counter()
    service = instance.spawn("serve")
    wait_for("the service", lambda: answers(f"{instance.url}/readyz"), seconds=60)
    figures["service ready"] = time.perf_counter() - begun
    figures["service, resident"] = psutil.Process(service.pid).memory_info().rss / 1e6

    begun = time.perf_counter()
    stream = instance.spawn("stream")
    wait_for("the first batch", lambda: instance.stored() > 0, seconds=120)
    figures["stream, first batch stored"] = time.perf_counter() - begun
    for process in (stream, service):
        process.terminate()
        process.wait(30)
    instance.run("broker", "stop")

    file = instance.dir / "in.txt"
    unpack = f"xz --decompress --stdout {YEAR} | head -n {READINGS}"
    file.write_bytes(subprocess.run(["bash", "-c", unpack], capture_output=True, check=True).stdout)
    up = instance.spawn("up", "--replay", file, "--exit-when-done")
    heaviest = 0.0
    while up.poll() is None:
        heaviest = max(heaviest, sum(weights(up.pid)) / 1e6)
    if up.returncode:
        raise SystemExit(f"up ended with {up.returncode}: see {instance.dir}")
    figures["all processes of `up` during a replay, resident"] = heaviest
    return figures


def timed(act: Callable[[], object]) -> float:
    """Seconds that it takes."""
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def weights(pid: int) -> list[int]:
    """Resident bytes of a process and of all below it; a shared page counts for each (so it is an upper bound)."""
    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    found = []
    for process in family:
        try:
            found.append(process.memory_info().rss)
        except psutil.NoSuchProcess:
            continue
    time.sleep(0.1)
    return found


if __name__ == "__main__":
    main()
