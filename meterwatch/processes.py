"""Which parts of an instance run: each holds a lock on a file of its own for as long as it lives.

The kernel lets go of a lock when its last holder is gone, however it went, so what is told here is never stale. The
broker's Java process inherits the lock of whoever started it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from meterwatch.settings import Settings

UP, BROKER, SERVICE, STREAM = "up", "broker", "service", "stream"
NAMES = (UP, BROKER, SERVICE, STREAM)
LAUNCHER = "org.apache.spark.launcher.Main"  # Java too, for a moment: it makes up Spark's command line
SPARK = "spark"  # the stream's Java process
SUPERVISOR = "_METERWATCH_SUPERVISOR"  # tells a part who started it, even if that one is gone by then
NOTE = "%-40s"  # of fixed length, so that a shorter note leaves nothing of a longer one
# The shell writes its own process id, and then is that process: there is no moment at which the note is missing.
NOTE_AND_BECOME = f'printf "{NOTE}" "$$ $1" 1<>"$0" && shift && exec "$@"'
INSTANT = 0.5  # seconds, ample for what lasts an instant: a look at a lock, a lock taken and its note not written
TURN = 0.01


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


def take(settings: Settings, name: str, supervisor: int = 0) -> int:
    """Take the lock of a part, noting in its file that this process holds it; the file descriptor that does.

    Raises:
        RunningError: another process holds it.
    """
    directory(settings).mkdir(parents=True, exist_ok=True)
    holder = os.open(directory(settings) / name, os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + INSTANT
    while not _locked(holder, fcntl.LOCK_EX):
        if time.monotonic() > deadline:
            os.close(holder)
            part = running(settings, name)
            process = f" (process {part.pid})" if part else ""
            raise RunningError(
                f"the {name} of {settings.run_dir} runs already{process}; stop it first, or set METERWATCH_RUN_DIR"
            )
        time.sleep(TURN)
    os.pwrite(holder, (NOTE % f"{os.getpid()} {supervisor}").encode(), 0)
    return holder


def as_holder(settings: Settings, name: str, supervisor: int, command: Sequence[str]) -> list[str]:
    """The command that notes itself as the holder of a lock that it inherits."""
    return ["sh", "-c", NOTE_AND_BECOME, str(directory(settings) / name), str(supervisor), *command]


@contextmanager
def registered(settings: Settings, name: str) -> Iterator[None]:
    """This process is that part of the instance until the end of the block.

    Raises:
        RunningError: another one is.
    """
    holder = take(settings, name, int(os.environ.get(SUPERVISOR, "0")))
    try:
        yield
    finally:
        os.close(holder)


def running(settings: Settings, name: str) -> Part | None:
    """The part, if it runs."""
    try:
        probe = os.open(directory(settings) / name, os.O_RDONLY)
    except FileNotFoundError:
        return None
    deadline = time.monotonic() + INSTANT
    try:
        while not _locked(probe, fcntl.LOCK_SH):
            pid, supervisor = map(int, os.pread(probe, 40, 0).split() or (0, 0))
            if psutil.pid_exists(pid) or time.monotonic() > deadline:
                return Part(name, pid, supervisor)
            time.sleep(TURN)  # the lock is taken, the note still that of the holder before
    finally:
        os.close(probe)
    return None


def beat(settings: Settings, name: str) -> None:
    """Show that this part is alive, by the time of its lock file."""
    os.utime(directory(settings) / name)


def newest_beat(settings: Settings, name: str) -> int:
    """A number that changes with every beat of a part; not a time to compare with a clock, which may be set."""
    try:
        return (directory(settings) / name).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def end(settings: Settings, part: Part, seconds: float) -> bool:
    """Ask a part to end, then make it end, each time for so many seconds; whether its lock is free."""
    if part.pid <= 0:  # to the system, 0 is a name for all processes of this terminal
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(part.pid, number)
        deadline = time.monotonic() + seconds
        # Not whether the process is there: one whose parent does not ask for its exit code stays in the table.
        while (now := running(settings, part.name)) is not None and now.pid == part.pid:
            if time.monotonic() > deadline:
                break
            time.sleep(TURN)
        else:
            return True
    return False


def processes(settings: Settings) -> list[Part]:
    """Every part that runs, the stream's Java process among them."""
    found = [part for name in NAMES if (part := running(settings, name)) is not None]
    for part in [part for part in found if part.name == STREAM]:
        with suppress(psutil.Error):
            below = psutil.Process(part.pid).children(recursive=True)
            found += [
                Part(SPARK, one.pid, part.supervisor)
                for one in below
                if "java" in one.name() and LAUNCHER not in one.cmdline()
            ]
    return found


def _locked(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
