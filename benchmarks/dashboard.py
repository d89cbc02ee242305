"""How fast the pages are on two and on ten million readings: `python -m benchmarks.dashboard`, after `dvc repro`.

The figures and the machine go to benchmarks/results/dashboard.txt. Beside ours: the plain way, all rows of the range
into one figure. Then, in a browser, how soon pages and events are seen, and whether a tab keeps its memory at ten
updates a second (`--minutes 60` for an hour of them); and what twenty listeners cost the stream. `--days` makes the
history shorter. Needs Chromium; what is not there is left out and said.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import statistics
import tempfile
import time
from base64 import b64decode
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from playwright.sync_api import sync_playwright
from plotly.utils import PlotlyJSONEncoder

from benchmarks._live_pages import listened, watched
from benchmarks._report import RESULTS, keep, machine
from meterwatch.settings import Settings, zone_of
from meterwatch.storage import queries
from serving.dashboard.reads import Pages
from tests.households import household
from tests.instances import Instance, answers, wait_for
from tests.stored import store

if TYPE_CHECKING:
    from collections.abc import Callable

DAYS, TIMES = 1440, 5  # four years of 360 days, and how often they are there in the end
DAY, PART = 1440, 60  # minutes of a day; days that are stored at a time
START = 1_104_537_600
RUNS = 5
ODD_EVERY = 40_000  # readings from one anomalous run to the next: about one a month
ODD_LENGTH = 30
RANGES = {"10 minutes": 10, "1 day": DAY, "30 days": 30 * DAY, "1 year": 360 * DAY}
MOST_MS, MOST_POINTS, FIRST_PAGE_S = (150.0, 300.0), 4000, 1.5
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=0.5, help="that a tab is open at ten updates a second")
    parser.add_argument("--days", type=int, default=DAYS, help=f"of the history; a multiple of {PART}")
    asked = parser.parse_args()
    minutes = asked.days * DAY
    lines = [machine(), f"one meter, a reading a minute; medians of {RUNS} runs (least to most)", ""]
    with tempfile.TemporaryDirectory(prefix="meterwatch-bench-") as directory:
        instance = Instance(Path(directory))
        path = instance.dir / "meterwatch.db"
        try:
            fill(path, asked.days)
            lines += charts(instance, minutes, MOST_MS[0], beside=True)
            repeat(path, asked.days)
            lines += ["", *charts(instance, TIMES * minutes, MOST_MS[1], beside=False)]
            lines += ["", *pages(instance, START + TIMES * minutes * 60, asked.minutes)]
            path.unlink()
            lines += ["", *listened(Instance(Path(directory) / "stream"), min(asked.days, 120))]
        finally:
            instance.end()
    keep("\n".join(lines), RESULTS / "dashboard.txt")


def fill(path: Path, days: int) -> None:
    """Store the readings of one meter through the stream's own write path."""
    first = 0
    for part in range(days // PART):
        at, channels = household(days=PART, seed=part, start=START + part * PART * 86_400)
        odd = np.arange(first, first + len(at)) % ODD_EVERY < ODD_LENGTH
        store(path, "meter", at, channels, anomalous=odd)
        first += len(at)


def repeat(path: Path, days: int) -> None:
    """The same history again after itself, until it is there `TIMES` times; row by row it would take minutes."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA synchronous = OFF")
        for table in ("power_data", "verdicts", "rollups"):
            names = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            moved = ", ".join("at + ?" if name == "at" else name for name in names)
            for time_ in range(1, TIMES):
                with db:
                    db.execute(
                        f"INSERT INTO {table} SELECT {moved} FROM {table} WHERE at < ? ORDER BY 1, 2, 3",  # noqa: S608
                        (time_ * days * 86_400, START + days * 86_400),
                    )


def charts(instance: Instance, minutes: int, most_ms: float, *, beside: bool) -> list[str]:
    """A meter's picture of each range as the page asks for it: data, panels, marks, JSON; `beside` it the plain way."""
    settings = Settings(run_dir=instance.dir)
    shown = Pages(settings, zone_of("UTC"), lambda: "1", lambda: None)
    heads = (
        f"{f'chart data of {minutes:,} readings':36s} {'ms':>24s} {'CPU ms':>8s} {'points':>8s} {'odd':>6s} {'kB':>7s}"
    )
    lines = [f"{heads}   the plain way: CPU ms, points, kB" if beside else heads]
    last = START + minutes * 60 - 60
    for name, length in {**{n: m for n, m in RANGES.items() if m < minutes}, "all of it": minutes}.items():
        end = last - (minutes - length) * 30 // 60 * 60
        start = end - length * 60 + 60
        search = f"?meter=meter&start={text(start)}&end={text(end)}"
        ours, took, ran = repeated(lambda search=search: drawn(shown, search), RUNS)
        points, odd, size = counted(ours)
        spread = f"{statistics.median(took):8.1f} ({min(took):.1f} to {max(took):.1f})"
        line = f"{name:36s} {spread:>24s} {statistics.median(ran):8.1f} {points:8,} {odd:6,} {size / 1e3:7.0f}"
        if beside:
            plain, _, plainly = repeated(lambda start=start, end=end: plain_figure(settings, start, end), 1)
            line += f"   {plainly[0]:.0f}, {len(plain['data'][0]['x']):,}, {len(encoded(plain)) / 1e3:,.0f}"
        short = "  FALLS SHORT" if statistics.median(took) > most_ms or points > MOST_POINTS else ""
        lines.append(f"{line}{short}")
    return [*lines, f"goal: at most {most_ms:.0f} ms and {MOST_POINTS:,} points, every anomalous reading inside a mark"]


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


def counted(figure: dict[str, Any]) -> tuple[int, int, int]:
    """Points of time that are drawn, the anomalous ones among them, and bytes that are sent."""
    shown = {trace.get("name", "").partition(" (")[0]: b64decode(trace["y"]["bdata"]) for trace in figure["data"]}
    actual, odd = (np.frombuffer(shown[name], "<f4") for name in ("Actual", "Anomalous"))
    return len(actual), int(np.count_nonzero(~np.isnan(odd))), len(encoded(figure))


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


def pages(instance: Instance, newest: int, minutes: float) -> list[str]:
    """When each page is visible, in a browser that has been here before and in one that has not; then what moves."""
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if found is None:
        return ["no Chromium on this machine: the pages were not looked at"]
    service = instance.spawn("serve")
    lines = [f"{'page visible after, s':32s} {'first visit':>12s} {'again':>24s}"]
    try:
        wait_for("the service", lambda: answers(f"{instance.url}/readyz"), seconds=60)
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
            for path, seen in (("/", "#now-body table"), ("/meter", ".nsewdrag"), ("/events", "#events-body > *")):
                first = visible(browser.new_context(), instance.url + path, seen)
                context = browser.new_context()
                again = [visible(context, instance.url + path, seen) for _ in range(RUNS + 1)][1:]
                spread = f"{statistics.median(again):.2f} ({min(again):.2f} to {max(again):.2f})"
                short = "  FALLS SHORT" if statistics.median(again) > FIRST_PAGE_S else ""
                lines.append(f"{path:32s} {first:12.2f} {spread:>24s}{short}")
            lines += [f"goal: at most {FIRST_PAGE_S} s", "", *watched(browser, instance, service.pid, newest, minutes)]
            browser.close()
    finally:
        service.terminate()
        service.wait(20)
    return lines


def visible(context: Any, url: str, seen: str) -> float:  # noqa: ANN401 - playwright's context
    """Seconds from asking for an address to what it shows being there."""
    page = context.new_page()
    begun = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.wait_for_selector(seen, timeout=60_000)
    took = time.perf_counter() - begun
    page.close()
    return took


if __name__ == "__main__":
    main()
