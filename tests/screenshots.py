"""Pictures of every page from real readings, through the whole pipeline: `make screenshots`, after `dvc repro`.

Three meters are replayed from the shipped year's months that no model has seen, one of them with an injected fault, one
of them going silent; the pages are then looked at on a desk and on a phone, light and dark. All pictures go to
docs/screenshots.
"""

from __future__ import annotations

import lzma
import shutil
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlencode

import httpx
from playwright.sync_api import sync_playwright

from tests.households import YEAR
from tests.instances import Instance, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PICTURES = Path("docs/screenshots")
FIRST = ("11", "12")  # months that no model has seen
DAY = 1440  # lines
METERS = {  # their first and last line, and the fault that is put into the last quarter
    "home": (0, 49 * DAY, "stuck"),
    "flat 12": (9 * DAY, 49 * DAY, "voltage_sag"),
    "workshop": (14 * DAY, 48 * DAY, "outage"),
}
PATIENCE = 900  # seconds until everything is judged
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZES = {"desk": (1440, 900), "phone": (390, 844)}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
PAGES = {
    "now": ("/", "#now-body table"),
    "meter": ("/meter?{event}", "#live-chart .nsewdrag"),
    "events": ("/events", "#events-body table"),
    "overview": ("/overview?meter=home", "#overview-correlation .nsewdrag"),
    "models": ("/models", "#models-body table"),
    "health": ("/health", "#health-body table"),
}


def main() -> None:
    """Fill a fresh instance, then look at each page."""
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if found is None:
        raise SystemExit("no Chromium on this machine; install it (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory(prefix="meterwatch-pictures-") as directory:
        instance = Instance(Path(directory))
        try:
            fill(instance)
            event = label(instance)
            with sync_playwright() as play:
                browser = play.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
                look(browser, instance.url, event)
                browser.close()
        finally:
            instance.end()


def fill(instance: Instance) -> None:
    """Replay the meters through broker, stream and service until every reading is judged."""
    with lzma.open(YEAR, "rt") as year:
        lines = [line for line in year if line.split("/")[1:2] and line.split("/")[1] in FIRST]
    instance.run("broker", "start")
    for meter, (begin, end, fault) in METERS.items():
        file = instance.dir / f"{meter}.txt"
        file.write_text("".join(lines[begin:end]))
        instance.run("replay", file, "--meter", meter, *(("--inject", fault) if fault else ()))
    instance.spawn("serve")
    stream = instance.spawn("stream")
    wanted = sum(end - begin for begin, end, _ in METERS.values())
    wait_for("every reading", lambda: instance.stored() >= wanted, seconds=PATIENCE)
    stream.terminate()
    stream.wait(60)


def label(instance: Instance) -> str:
    """Say of most events what they were, as an analyst would; the query around home's newest one."""
    with httpx.Client(base_url=instance.url, timeout=30) as service:
        events = service.get("/v1/events").json()["events"]
        for number, event in enumerate(events):
            if number % 4:
                said = {"label": "real" if event["severity"] >= 40 or number % 3 else "false_alarm"}
                service.put(f"/v1/events/{event['event_id']}/label", json=said).raise_for_status()
    shown = next(event for event in events if event["meter_id"] == "home")
    at = datetime.fromisoformat(shown["start_at"])
    start, end = ((at + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M") for hours in (-20, 28))
    return urlencode({"meter": "home", "start": start, "end": end, "at": shown["peak_at"]})


def look(browser: Browser, url: str, event: str) -> None:
    """Take every picture; `event` is the query of the meter's."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for size, (width, height) in SIZES.items():
        for scheme in SCHEMES:
            phone = size == "phone"
            screen = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme, is_mobile=phone, has_touch=phone
            )
            for name, (path, drawn) in PAGES.items():
                page = screen.new_page()
                page.goto(url + path.format(event=event))
                page.wait_for_selector(drawn, timeout=60_000)
                page.wait_for_timeout(
                    1500
                )  # until every line stands still: the event stream never lets the network be idle
                page.screenshot(path=PICTURES / f"{name}-{size}-{scheme}.png")
                page.close()
            screen.close()


if __name__ == "__main__":
    main()
