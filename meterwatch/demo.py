"""The demonstration: models from the shipped year, then readings they never saw, live, with one fault that is ours.

The first start sends five and a half weeks at once, enough for full verdicts, and goes on at a rate that one can watch;
each later start goes on after the newest stored reading.
"""

from __future__ import annotations

import datetime as dt
import lzma
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from meterwatch.settings import zone_of
from meterwatch.storage import queries
from streaming.injection import SECONDS, with_fault
from streaming.lines import as_they_are
from streaming.supervisor import up

if TYPE_CHECKING:
    from meterwatch.settings import Settings

YEAR = Path("data/raw/household_power_consumption_2007.txt.xz")
UNSEEN_FROM = dt.datetime(2007, 11, 1)  # noqa: DTZ001 - as the file writes times: local, without an offset
LIVE_FROM = dt.datetime(2007, 12, 10)  # noqa: DTZ001
LIVE_RATE = 5.0  # readings a second: a household's minute passes in a fifth of one
FAULT = "stuck"
FAULT_AFTER = 300  # live readings: a minute, so that somebody is looking


class DemoError(Exception):
    """The demonstration cannot go on; the message names the next step."""


class Line(NamedTuple):
    """A line of the file with its time."""

    at: dt.datetime
    text: bytes


def demo(settings: Settings, *, open_browser: bool = False) -> int:
    """Make the models, then run everything until Ctrl-C.

    Returns:
        The exit code.

    Raises:
        DemoError: no shipped year, a failed `dvc repro`, or no readings left.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    make_models()
    lines = unseen(YEAR, newest(settings))
    past, live = [line for line in lines if line.at < LIVE_FROM], [line for line in lines if line.at >= LIVE_FROM]
    if not live:
        raise DemoError(
            f"every reading of the shipped year is stored; start over: METERWATCH_RUN_DIR={settings.run_dir} "
            f"{Path(sys.executable).with_name('meterwatch')} reset"
        )
    coming = [line.text for line in live]
    if len(coming) >= FAULT_AFTER + SECONDS // 60:
        coming, told = with_fault(coming, FAULT, FAULT_AFTER)
        print(told)
    if past:
        print(f"Catching up: {len(past):,} readings, {past[0].at:%d %b %Y} to {past[-1].at:%d %b %Y}.", flush=True)
    records = as_they_are([*(line.text for line in past), *coming], None)
    return up(settings, records=records, rate=LIVE_RATE, at_once=len(past), open_browser=open_browser)


def make_models() -> None:
    """Run the pipeline: minutes the first time, seconds when nothing changed.

    Raises:
        DemoError: it failed; what DVC said stands above.
    """
    print("Models: dvc repro (minutes the first time)", flush=True)
    # In a session of its own: Ctrl-C is for us, and the stages end without a traceback each.
    making = subprocess.Popen([Path(sys.executable).with_name("dvc"), "repro"], start_new_session=True)
    try:
        failed = making.wait()
    except KeyboardInterrupt:
        os.killpg(making.pid, signal.SIGTERM)
        making.wait()
        raise
    if failed:
        raise DemoError("dvc repro failed (see above); mend what it names and start again")


def newest(settings: Settings) -> dt.datetime | None:
    """The time of the newest stored reading, as the file writes times; None before the first."""
    with queries.reading(settings) as db:
        found = queries.newest_at(db)
    if found is None:
        return None
    return dt.datetime.fromtimestamp(found, zone_of(settings.timezone)).replace(tzinfo=None)


def unseen(file: Path, after: dt.datetime | None) -> list[Line]:
    """The lines of the months that no model was trained on, later than `after`.

    Raises:
        DemoError: the file is not there.
    """
    if not file.exists():
        raise DemoError(f"there is no {file}; run this in the project's directory, after `dvc pull`")
    with lzma.open(file) as text:
        next(text)  # its header
        late = (line.rstrip(b"\r\n") for line in text if int(line.split(b"/", 2)[1]) >= UNSEEN_FROM.month)
        lines = (Line(_time(line), line) for line in late)
        return [line for line in lines if after is None or line.at > after]


def _time(line: bytes) -> dt.datetime:
    date, time, _ = line.decode().split(";", 2)
    day, month, year = date.split("/")
    hour, minute, second = time.split(":")
    return dt.datetime(int(year), int(month), int(day), int(hour), int(minute), int(second))  # noqa: DTZ001
