"""How fast the pages are on two million readings: `python -m benchmarks.dashboard`.

The figures and the machine go to benchmarks/results/dashboard.txt. Beside ours: the plain way, all rows of the range
into one figure. Needs Chromium for the first page; what is not there is left out and said.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
from playwright.sync_api import sync_playwright
from plotly.utils import PlotlyJSONEncoder

from benchmarks._report import RESULTS, keep, machine
from meterwatch.settings import Settings, zone_of
from meterwatch.storage import queries
from serving.dashboard.reads import Pages
from tests.households import household
from tests.instances import Instance, wait_for
from tests.stored import store

if TYPE_CHECKING:
    from collections.abc import Callable

MINUTES = 2_073_600  # four years of 360 days
DAY = 1440
RUNS = 5
ODD_EVERY = 40_000  # readings from one anomalous run to the next: about one a month
ODD_LENGTH = 30
RANGES = {"10 minutes": 10, "1 day": DAY, "30 days": 30 * DAY, "1 year": 360 * DAY, "four years": MINUTES}
MOST_MS, MOST_POINTS, FIRST_PAGE_S = 150.0, 4000, 1.5
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main() -> None:
    """Measure, print, keep."""
    lines = [
        machine(),
        f"one meter, {MINUTES:,} readings; medians of {RUNS} runs (least to most)",
        "",
    ]
    with tempfile.TemporaryDirectory(prefix="meterwatch-bench-") as directory:
        instance = Instance(Path(directory))
        first, last = fill(instance.dir / "meterwatch.db")
        lines += charts(instance, first, last)
        lines += ["", *pages(instance)]
    keep("\n".join(lines), RESULTS / "dashboard.txt")


def fill(path: Path) -> tuple[int, int]:
    """Store the readings of one meter through the stream's own write path; the times of the first and the last one."""
    first, start = 0, 1_104_537_600
    for part in range(MINUTES // (60 * DAY)):
        at, channels = household(days=60, seed=part, start=start + part * 60 * 86_400)
        odd = np.arange(first, first + len(at)) % ODD_EVERY < ODD_LENGTH
        store(path, "meter", at, channels, anomalous=odd)
        first += len(at)
    return start, start + MINUTES * 60 - 60


def charts(instance: Instance, first: int, last: int) -> list[str]:
    """A meter's picture of each range as the page asks for it: data, panels, marks and JSON, and the plain way's."""
    settings = Settings(run_dir=instance.dir)
    zone = zone_of("UTC")
    shown = Pages(settings, zone, lambda: "1", lambda: None)
    heads = f"{'chart data, server side':32s} {'ms':>24s} {'CPU ms':>8s} {'points':>8s} {'kB':>7s}"
    lines = [f"{heads}   the plain way: CPU ms, points, kB"]
    for name, minutes in RANGES.items():
        end = last - (last - first - minutes * 60) // 2 // 60 * 60 if minutes < MINUTES else last
        start = max(end - minutes * 60 + 60, first)
        times = "&".join(
            f"{k}={time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(v))}" for k, v in (("start", start), ("end", end))
        )
        ours, took, ran = repeated(lambda times=times: drawn(shown, f"?meter=meter&{times}"), RUNS)
        plain, _, plainly = repeated(lambda start=start, end=end: plain_figure(settings, start, end), 1)
        points, size = counted(ours)
        spread = f"{statistics.median(took):8.1f} ({min(took):.1f} to {max(took):.1f})"
        short = "  FALLS SHORT" if statistics.median(took) > MOST_MS or points > MOST_POINTS else ""
        beside = f"{plainly[0]:.0f}, {len(plain['data'][0]['x']):,}, {len(encoded(plain)) / 1e3:,.0f}"
        lines.append(
            f"{name:32s} {spread:>24s} {statistics.median(ran):8.1f} {points:8,} {size / 1e3:7.0f}   {beside}{short}"
        )
    return [*lines, f"goal: at most {MOST_MS:.0f} ms and {MOST_POINTS:,} points"]


def text(at: int) -> str:
    """A time as an address holds it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def repeated(act: Callable[[], Any], runs: int) -> tuple[Any, list[float], list[float]]:
    """What it answers, and the milliseconds of each run after an uncounted first one, by the clock and of the CPU."""
    answer, took, ran = act(), [], []
    for _ in range(runs):
        begun, before = time.perf_counter(), time.process_time()
        answer = act()
        took.append((time.perf_counter() - begun) * 1e3)
        ran.append((time.process_time() - before) * 1e3)
    return answer, took, ran


def drawn(shown: Pages, search: str) -> dict[str, Any]:
    """A picture, encoded as it is sent."""
    moved = shown.live(search, "meter", 0)
    if moved is None or moved.figure is None:
        raise SystemExit(f"{search} shows nothing")
    encoded(moved.figure)
    return moved.figure


def encoded(figure: dict[str, Any]) -> str:
    """As Dash sends it."""
    return json.dumps(figure, cls=PlotlyJSONEncoder)


def counted(figure: dict[str, Any]) -> tuple[int, int]:
    """Points of time that are drawn, and bytes that are sent."""
    (actual,) = [trace for trace in figure["data"] if trace.get("name") == "Actual"]
    return len(actual["x"]["bdata"]) * 3 // 4 // 8, len(encoded(figure))


def plain_figure(settings: Settings, start: int, end: int) -> dict[str, Any]:
    """All rows of the range into one figure."""
    with queries.reading(settings) as db:
        rows = db.execute(
            "SELECT p.at, p.global_active_power, v.expected_kw FROM power_data AS p JOIN verdicts AS v "
            "ON v.meter_id = p.meter_id AND v.at = p.at WHERE p.meter_id = 'meter' AND p.at BETWEEN ? AND ? "
            "ORDER BY p.at",
            (start, end),
        ).fetchall()
    times = [time.strftime("%Y-%m-%d %H:%M", time.gmtime(row[0])) for row in rows]
    lines = [{"type": "scatter", "x": times, "y": [row[k] for row in rows]} for k in (1, 2)]
    encoded({"data": lines})
    return {"data": lines}


def pages(instance: Instance) -> list[str]:
    """When each page is visible, in a browser that has been here before and in one that has not."""
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if found is None:
        return ["no Chromium on this machine: the pages were not looked at"]
    service = instance.spawn("serve")
    lines = [f"{'page visible after, s':32s} {'first visit':>12s} {'again':>24s}"]
    try:
        wait_for("the service", lambda: ready(instance), seconds=60)
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
            for path, seen in (("/", "#now-body table"), ("/meter", ".nsewdrag"), ("/events", "#events-body > *")):
                first = visible(browser.new_context(), instance.url + path, seen)
                context = browser.new_context()
                again = [visible(context, instance.url + path, seen) for _ in range(RUNS + 1)][1:]
                spread = f"{statistics.median(again):.2f} ({min(again):.2f} to {max(again):.2f})"
                short = "  FALLS SHORT" if statistics.median(again) > FIRST_PAGE_S else ""
                lines.append(f"{path:32s} {first:12.2f} {spread:>24s}{short}")
            browser.close()
    finally:
        service.terminate()
        service.wait(20)
    return [*lines, f"goal: at most {FIRST_PAGE_S} s"]


def visible(context: Any, url: str, seen: str) -> float:  # noqa: ANN401 - playwright's context
    """Seconds from asking for an address to what it shows being there."""
    page = context.new_page()
    begun = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.wait_for_selector(seen, timeout=60_000)
    took = time.perf_counter() - begun
    page.close()
    return took


def ready(instance: Instance) -> bool:
    """Whether the service answers."""
    try:
        return httpx.get(f"{instance.url}/readyz", timeout=5).is_success
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    main()
