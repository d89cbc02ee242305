"""What moves: how soon an event is seen, a tab's memory at ten updates a second, and what listeners cost the stream."""

from __future__ import annotations

import multiprocessing
import random
import statistics
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import psutil

from meterwatch.storage.meters import MeterStore
from tests.households import household
from tests.instances import Instance, wait_for
from tests.stored import batch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

UPDATES = 10  # a second
SEEN = 20  # events whose way to the screen is timed
LISTENERS = 20
SCREEN_S, SLOWER = 1.5, 10.0  # goals: 95 of 100 events; percent
MB = 1e6


def watched(browser: Browser, instance: Instance, service: int, newest: int, minutes: float) -> list[str]:
    """In a browser, beside a writer of its own process.

    Args:
        browser: to look with.
        instance: holds the readings of `meter` and serves them.
        service: its process.
        newest: unix seconds after the newest reading.
        minutes: that a tab is open.
    """
    context = multiprocessing.get_context("spawn")
    orders: Any = context.Queue()
    writer = context.Process(target=_write, args=(instance.dir / "meterwatch.db", orders))
    writer.start()
    try:
        told = [_to_screen(browser, instance, orders, newest)]
        return [*told, *_open_tab(browser, instance, service, orders, newest + SEEN * 60 + 60, minutes)]
    finally:
        orders.put(None)
        writer.join(60)


def _write(path: Path, orders: Any) -> None:  # noqa: ANN401 - a queue of multiprocessing
    """Store a reading of each time that is ordered."""
    channels = np.array([[1.0], [0.1], [240.0], [4.2], [0.0], [1.0], [17.0]])
    with MeterStore(path) as db:
        for at in iter(orders.get, None):
            db.commit(batch(db, "meter", np.array([at]), channels))


def _to_screen(browser: Browser, instance: Instance, orders: Any, newest: int) -> str:  # noqa: ANN401
    page = browser.new_page()
    page.goto(instance.url)
    page.wait_for_selector("#connection.open")
    took = []
    for number in range(SEEN + 1):
        at = newest + 60 * number
        time.sleep(random.random())  # noqa: S311 - so that nothing keeps step with the service's looks
        begun = time.perf_counter()
        orders.put(at)
        said = time.strftime("%Y-%m-%d %H:%M", time.gmtime(at))
        page.wait_for_function("(said) => document.querySelector('#now-body').textContent.includes(said)", arg=said)
        took.append(time.perf_counter() - begun)
    page.close()
    worst = statistics.quantiles(took[1:], n=20)[-1]  # the first starts the writer
    short = "  FALLS SHORT" if worst > SCREEN_S else ""
    return (
        f"from a reading's commit (included) to the list of meters: median {statistics.median(took[1:]):.2f} s, "
        f"95 of 100 within {worst:.2f} s; goal {SCREEN_S} s{short}"
    )


def _open_tab(
    browser: Browser, instance: Instance, service: int, orders: Any, newest: int, minutes: float  # noqa: ANN401
) -> list[str]:  # fmt: skip
    page = browser.new_page()
    page.goto(f"{instance.url}/meter?meter=meter")
    page.wait_for_selector("#live-chart .nsewdrag")
    tools = page.context.new_cdp_session(page)
    tools.send("Performance.enable")

    def use() -> tuple[float, int, float]:
        """MB of the tab's scripts and nodes of its document, both after a collection, and MB of the service."""
        tools.send("HeapProfiler.collectGarbage")
        told = {one["name"]: one["value"] for one in tools.send("Performance.getMetrics")["metrics"]}
        return told["JSHeapUsedSize"] / MB, int(told["Nodes"]), psutil.Process(service).memory_info().rss / MB

    seen, begun, sent = [], time.monotonic(), 0
    while (passed := time.monotonic() - begun) < 60 * minutes:
        if passed >= len(seen) * 6 * minutes:  # ten looks; the first is before anything moved
            seen.append(use())
        orders.put(newest + 60 * sent)
        sent += 1
        page.wait_for_timeout(max(0.0, 1000 * (begun + sent / UPDATES - time.monotonic())))
    wait_for(
        "what was written last",
        lambda: instance.rows("SELECT max(at) FROM power_data")[0][0] >= newest + 60 * (sent - 1),
    )
    ran = time.monotonic() - begun
    seen.append(use())
    page.close()
    settled, last = seen[1], seen[-1]
    kept = f"scripts {settled[0]:.1f} and {last[0]:.1f} MB, nodes {settled[1]:,} and {last[1]:,}"
    return [
        f"a meter's tab, {ran / 60:.1f} minutes of {sent / ran:.1f} updates a second, a tenth in and at the end:",
        f"{kept}; the service {settled[2]:.0f} and {last[2]:.0f} MB",
    ]


def listened(instance: Instance, days: int) -> list[str]:
    """The stream's speed with and without listeners, in turn, while another meter sends ten readings a second."""
    file = instance.dir / "in.txt"
    count = _written(file, days)
    try:
        instance.run("broker", "start")
        instance.run("replay", file, "--meter", "first", "--limit", 500)
        instance.spawn("serve")
        instance.spawn("stream")
        wait_for("Spark and its first batch", lambda: instance.stored() >= 500)
        live = instance.spawn("replay", file, "--meter", "live", "--rate", f"{UPDATES}/s")
        speeds: dict[bool, list[float]] = {False: [], True: []}
        heard: list[int] = []
        for number, listening in enumerate((False, True, True, False)):
            with _listeners(instance.url, LISTENERS if listening else 0) as counts:
                speeds[listening].append(_speed(instance, file, f"bulk {number}", count))
            heard += counts
        live.terminate()
    finally:
        instance.end()
    alone, beside = (statistics.mean(speeds[listening]) for listening in (False, True))
    slower = 100 * (1 - beside / alone)
    short = "  FALLS SHORT" if slower > SLOWER else ""
    each = ", ".join(f"{speed:,.0f}" for kind in (False, True) for speed in speeds[kind])
    goal = f"goal at most {SLOWER:.0f} %{short}"
    return [
        f"the stream with {LISTENERS} listeners, {UPDATES} live readings a second: {slower:.1f} % slower; {goal}",
        f"{count:,} readings, twice without and twice with them, a second: {each}; each heard: {min(heard):,} events",
    ]


def _written(file: Path, days: int) -> int:
    """A made meter as UCI text; answers how many readings it has."""
    at, channels = household(days=days, seed=1)
    rows = (
        time.strftime("%d/%m/%Y;%H:%M:%S;", time.gmtime(second)) + ";".join(f"{value:.3f}" for value in values)
        for second, values in zip(at.tolist(), channels.T.tolist(), strict=True)
    )
    file.write_text("".join(f"{row}\n" for row in rows))
    return len(at)


def _speed(instance: Instance, file: Path, meter: str, count: int) -> float:
    """Readings a second from the first sent to the last stored."""
    begun = time.perf_counter()
    instance.spawn("replay", file, "--meter", meter)
    ask = f"SELECT coalesce(sum(readings), 0) FROM rollups WHERE meter_id = '{meter}' AND period = 'day'"  # noqa: S608
    wait_for(f"the readings of {meter}", lambda: instance.rows(ask)[0][0] == count)
    return count / (time.perf_counter() - begun)


@contextmanager
def _listeners(url: str, number: int) -> Iterator[list[int]]:
    """Listen to the event stream; how many events each has heard is there after the block."""
    counts, ended = [0] * number, threading.Event()

    def listen(k: int) -> None:
        with httpx.stream("GET", f"{url}/v1/stream", timeout=30) as stream:
            for line in stream.iter_lines():
                counts[k] += line.startswith("event:")
                if ended.is_set():
                    return

    threads = [threading.Thread(target=listen, args=(k,)) for k in range(number)]
    for thread in threads:
        thread.start()
    try:
        wait_for("every listener's first event", lambda: all(counts))
        yield counts
    finally:
        ended.set()
        for thread in threads:
            thread.join(60)
