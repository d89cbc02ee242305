"""Which parts of an instance run: each holds a lock on a file of its own for as long as it lives.

The kernel lets go of a lock when its last holder is gone, however it went, so what is told here is never stale. The
broker's Java process inherits the lock of whoever started it.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meterwatch.settings import Settings

UP, BROKER, SERVICE, STREAM = "up", "broker", "service", "stream"
NAMES = (UP, BROKER, SERVICE, STREAM)
SPARK = "spark"  # the stream's Java process
SUPERVISOR = "_METERWATCH_SUPERVISOR"  # tells a part who started it, even if that one is gone by then


class RunningError(Exception):
    """This part of the instance runs already."""


class Part(NamedTuple):
    """A part that runs."""

    name: str
    pid: int
    supervisor: int  # the `up` that started it; 0 where it was started by hand


def directory(settings: Settings) -> Path:
    """Where the locks are."""
    return settings.run_dir / "processes"


def take(settings: Settings, name: str) -> int:
    """Take the lock of a part; the file descriptor that holds it.

    Raises:
        RunningError: another process holds it.
    """
    directory(settings).mkdir(parents=True, exist_ok=True)
    holder = os.open(directory(settings) / name, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(holder)
        part = running(settings, name)
        process = f" (process {part.pid})" if part else ""
        raise RunningError(
            f"the {name} of {settings.run_dir} runs already{process}; stop it first, or set METERWATCH_RUN_DIR"
        ) from None
    return holder


def note(holder: int, pid: int, supervisor: int) -> None:
    """Write into a lock's file who holds it."""
    text = json.dumps({"pid": pid, "supervisor": supervisor}).encode()
    os.pwrite(holder, text.ljust(os.fstat(holder).st_size), 0)


@contextmanager
def registered(settings: Settings, name: str) -> Iterator[None]:
    """This process is that part of the instance until the end of the block.

    Raises:
        RunningError: another one is.
    """
    holder = take(settings, name)
    try:
        note(holder, os.getpid(), int(os.environ.get(SUPERVISOR, "0")))
        yield
    finally:
        os.close(holder)


def running(settings: Settings, name: str) -> Part | None:
    """The part, if it runs."""
    try:
        probe = os.open(directory(settings) / name, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        told = json.loads(os.pread(probe, 200, 0) or b"{}")  # nothing in the instant between the lock and the note
        return Part(name, int(told.get("pid", 0)), int(told.get("supervisor", 0)))
    finally:
        os.close(probe)
    return None


def processes(settings: Settings) -> list[Part]:
    """Every part that runs, the stream's Java process among them."""
    found = [part for name in NAMES if (part := running(settings, name)) is not None]
    for part in [part for part in found if part.name == STREAM]:
        with suppress(psutil.Error):
            below = psutil.Process(part.pid).children(recursive=True)
            found += [Part(SPARK, one.pid, part.supervisor) for one in below if "java" in one.name()]
    return found
