"""The demonstration: models from the shipped year, then readings they never saw, live, with one fault that is ours.

The first start sends five and a half weeks at once, enough for full verdicts, and goes on at a rate that one can watch;
each later start goes on after the newest stored reading.
"""

from __future__ import annotations

import datetime as dt
import lzma
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from meterwatch.detection.faults import inject_one
from meterwatch.detection.readings import CHANNELS
from meterwatch.settings import zone_of
from meterwatch.storage import queries
from streaming.broker import Broker
from streaming.replay import replay
from streaming.supervisor import up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterwatch.detection.faults import Label
    from meterwatch.settings import Settings

YEAR = Path("data/raw/household_power_consumption_2007.txt.xz")
UNSEEN_FROM = dt.datetime(2007, 11, 1)  # noqa: DTZ001 - as the file writes times: local, without an offset
LIVE_FROM = dt.datetime(2007, 12, 10)  # noqa: DTZ001
LIVE_RATE = "5/s"
FAULT, FAULT_SECONDS, FAULT_SEVERITY = "left_on", 8 * 3600, 1.0
FAULT_AFTER = 300  # live readings: a minute, so that somebody is looking
SEED = 1


class DemoError(Exception):
    """The demonstration cannot go on; the message names the next step."""


class Line(NamedTuple):
    """A line of the file with its time."""

    at: dt.datetime
    text: str


def demo(settings: Settings, *, open_browser: bool = False) -> int:
    """Make the models, then run everything until Ctrl-C.

    Returns:
        The exit code.

    Raises:
        DemoError: no shipped year, a failed `dvc repro`, or no readings left.
    """
    make_models()
    lines = unseen(YEAR, newest(settings))
    past, live = [line for line in lines if line.at < LIVE_FROM], [line for line in lines if line.at >= LIVE_FROM]
    if not live:
        raise DemoError(
            f"every reading of the shipped year is stored; start over: METERWATCH_RUN_DIR={settings.run_dir} "
            f"{Path(sys.executable).with_name('meterwatch')} reset"
        )
    live, label = with_fault(live)
    file = write(settings.run_dir / "live.txt", live)
    if label is not None:
        print(f"Not real: a fault {label.kind!r} (+{label.size:.1f} kW) is put into the readings from "
              f"{_told(label.start_at)} to {_told(label.end_at)}.")  # fmt: skip
    broker = Broker(settings)
    try:
        if past:
            print(f"Catching up: {len(past):,} readings, {past[0].at:%d %b %Y} to {past[-1].at:%d %b %Y}.", flush=True)
            broker.start()
            replay(settings, write(settings.run_dir / "past.txt", past), rate="max")
        return up(settings, replay=file, rate=LIVE_RATE, exit_when_done=False, open_browser=open_browser)
    finally:
        broker.stop()


def make_models() -> None:
    """Run the pipeline: minutes the first time, seconds when nothing changed.

    Raises:
        DemoError: it failed; what DVC said stands above.
    """
    print("Models: dvc repro (minutes the first time)", flush=True)
    done = subprocess.run([Path(sys.executable).with_name("dvc"), "repro"], check=False)
    if done.returncode:
        raise DemoError("dvc repro failed (see above); mend what it names and start again")


def newest(settings: Settings) -> dt.datetime | None:
    """The time of the newest stored reading, as the file writes times; None before the first."""
    with queries.reading(settings) as db:
        meter = queries.latest_meter(db)
        found = queries.newest(db, meter) if meter is not None else None
    return dt.datetime.fromtimestamp(found["at"], zone_of(settings.timezone)).replace(tzinfo=None) if found else None


def unseen(file: Path, after: dt.datetime | None) -> list[Line]:
    """The lines of the months that no model was trained on, later than `after`.

    Raises:
        DemoError: the file is not there.
    """
    if not file.exists():
        raise DemoError(f"there is no {file}; run this in the project's directory, after `dvc pull`")
    with lzma.open(file, "rt") as text:
        next(text)  # its header
        late = (line.rstrip("\r\n") for line in text if int(line.split("/", 2)[1]) >= UNSEEN_FROM.month)
        lines = (Line(_time(line), line) for line in late)
        return [line for line in lines if after is None or line.at > after]


def with_fault(lines: Sequence[Line]) -> tuple[list[Line], Label | None]:
    """The lines with one fault put in, and its label; as they are where there is no room for it."""
    if len(lines) < FAULT_AFTER + FAULT_SECONDS // 60:
        return list(lines), None
    at = np.array([int(line.at.replace(tzinfo=dt.UTC).timestamp()) for line in lines])
    fields = [line.text.split(";")[2:] for line in lines]
    channels = np.array([[float(field) if field not in ("", "?") else np.nan for field in row] for row in fields]).T
    changed, label = inject_one(
        at, channels, FAULT, int(at[FAULT_AFTER]), SEED, FAULT_SEVERITY, duration_s=FAULT_SECONDS
    )
    touched = np.flatnonzero((changed != channels).any(axis=0) & np.isfinite(channels).all(axis=0))
    new = list(lines)
    for row in touched.tolist():
        date, time, *_ = lines[row].text.split(";")
        new[row] = Line(
            lines[row].at, ";".join([date, time, *(f"{changed[c, row]:.3f}" for c in range(len(CHANNELS)))])
        )
    return new, label


def write(file: Path, lines: Sequence[Line]) -> Path:
    """Write the lines; the file's name again."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line.text}\n" for line in lines))
    return file


def _time(line: str) -> dt.datetime:
    date, time, _ = line.split(";", 2)
    day, month, year = date.split("/")
    hour, minute, second = time.split(":")
    return dt.datetime(int(year), int(month), int(day), int(hour), int(minute), int(second))  # noqa: DTZ001


def _told(at: int) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%d %b %Y %H:%M")
