"""A part of the instance as a process below the supervisor: started again when it dies, ended when all is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil

from meterwatch import processes

if TYPE_CHECKING:
    from meterwatch.settings import Settings

FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0  # seconds before a part that died is started again, doubled each time
END_SECONDS = 15.0
LARGEST_LOG = 10_000_000  # bytes; then it is put aside, in the place of the one put aside before


class Child:
    """One part. `watch` is called again and again, and says what happened.

    Args:
        settings: of the instance.
        name: the part, which is also the command's name below.
        command: the command of `meterwatch` that it runs.
    """

    def __init__(self, settings: Settings, name: str, command: str) -> None:
        self._settings = settings
        self.name = name
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self.log = settings.run_dir / "logs" / f"{name}.log"
        self._begins = 0  # where in the log this start's lines begin
        self._wait = FIRST_WAIT
        self._due = 0.0
        self.failing_since: float | None = None  # the first of the failures since it last did its work
        self.failures = 0

    def watch(self) -> str | None:
        """Start it when it does not run and is due; a sentence when it has just died."""
        if self._process is None:
            if time.monotonic() >= self._due:
                self._start()
            return None
        code = self._process.poll()
        if code is None:
            return None
        self._process = None
        self._due = time.monotonic() + self._wait
        self._wait = min(self._wait * 2, LONGEST_WAIT)
        self.failures += 1
        self.failing_since = self.failing_since or time.monotonic()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}: {self.last_line()}"
        return f"the {self.name} {how}; it is started again"

    def works(self) -> None:
        """It was seen to do its work: earlier failures are over."""
        self._wait, self.failing_since, self.failures = FIRST_WAIT, None, 0

    def end(self) -> None:
        """Ask it to end, and make it end."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def last_line(self) -> str:
        """The last thing that it said since it was started."""
        with self.log.open("rb") as log:
            log.seek(self._begins)
            lines = log.read().decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("meterwatch: ") if lines else f"nothing was said (see {self.log})"

    def _start(self) -> None:
        clear(self._settings, self.name)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LARGEST_LOG:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            self._begins = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "meterwatch.cli", self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, processes.SUPERVISOR: str(os.getpid())},
                start_new_session=True,  # Ctrl-C is for the supervisor, who ends its parts in order
            )


def clear(settings: Settings, name: str) -> None:
    """End a part that a killed supervisor left behind. To be called by the one supervisor there is.

    Raises:
        RunningError: one that was started by hand runs.
    """
    part = processes.running(settings, name)
    if part is None:
        return
    if not part.supervisor:
        raise processes.RunningError(
            f"the {name} of {settings.run_dir} runs already (process {part.pid}); stop it first: kill {part.pid}"
        )
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            left = psutil.Process(part.pid)
            left.send_signal(number)
            left.wait(END_SECONDS)
        except psutil.NoSuchProcess:
            return
        except psutil.TimeoutExpired:
            continue
        return
