"""A part of the instance as a process below the supervisor: started again when it dies, ended when all is ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from meterwatch import processes

if TYPE_CHECKING:
    from pathlib import Path

    from meterwatch.settings import Settings

FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0  # seconds before a part that died is started again, doubled each time
GIVE_UP_SECONDS, GIVE_UP_FAILURES = 60.0, 3  # of a part that never did its work meanwhile, where a script waits
END_SECONDS = 15.0
LARGEST_LOG = 10_000_000  # bytes; then it is put aside, in the place of the one put aside before
LAST = 10_000  # bytes of a log in which its last line is looked for


class Patience:
    """How often a part has failed since it last did its work, and when it may be started again."""

    def __init__(self) -> None:
        self.works()

    def works(self) -> None:
        """It was seen to do its work: earlier failures are over."""
        self.failures, self._since, self._wait, self._due = 0, 0.0, FIRST_WAIT, 0.0

    def failed(self) -> None:
        """It has died, or could not be started."""
        now = time.monotonic()
        self._since = self._since if self.failures else now
        self.failures += 1
        self._due = now + self._wait
        self._wait = min(self._wait * 2, LONGEST_WAIT)

    @property
    def is_due(self) -> bool:
        """Whether it may be started."""
        return time.monotonic() >= self._due

    @property
    def is_over(self) -> bool:
        """Whether it failed so often and for so long that nothing but a person will help."""
        return self.failures >= GIVE_UP_FAILURES and time.monotonic() - self._since > GIVE_UP_SECONDS


class Child:
    """One part. `watch` is called again and again, and says what happened.

    Args:
        settings: of the instance.
        name: the part.
        command: the words of the `meterwatch` command that it is.
    """

    def __init__(self, settings: Settings, name: str, *command: str) -> None:
        self._settings = settings
        self.name = name
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self.log = settings.run_dir / "logs" / f"{name}.log"
        self._begins = 0  # where in the log this start's lines begin
        self.patience = Patience()

    def watch(self) -> str | None:
        """Start it when it does not run and is due; a sentence when it has just died."""
        if self._process is None:
            if self.patience.is_due:
                self._start()
            return None
        code = self._process.poll()
        if code is None:
            if trim(self.log):
                self._begins = 0
            return None
        _sweep(self._process.pid)
        self._process = None
        self.patience.failed()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}: {self.last_line()}"
        return f"the {self.name} {how}; it is started again"

    @property
    def pid(self) -> int | None:
        """Its process; None while it does not run."""
        return None if self._process is None else self._process.pid

    def kill(self) -> None:
        """End it and all below it at once; `watch` will say that it died."""
        if self._process is not None:
            _sweep(self._process.pid)

    def end(self) -> None:
        """Ask it to end, and make it end."""
        if self._process is None:
            return
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        _sweep(self._process.pid)
        self._process.wait()
        self._process = None

    def last_line(self) -> str:
        """The last thing that it said since it was started."""
        with self.log.open("rb") as log:
            log.seek(max(self._begins, log.seek(0, os.SEEK_END) - LAST))
            lines = log.read().decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("meterwatch: ") if lines else f"nothing was said (see {self.log})"

    def _start(self) -> None:
        clear(self._settings, self.name)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._begins = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "meterwatch.cli", *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, processes.SUPERVISOR: str(os.getpid())},
                start_new_session=True,  # Ctrl-C is for the supervisor, who ends its parts in order
            )


def clear(settings: Settings, name: str) -> None:
    """End a part that a killed supervisor left behind. To be called by the one supervisor there is.

    Raises:
        RunningError: one that was started by hand runs, or one does not end.
    """
    part = processes.running(settings, name)
    if part is None:
        return
    if not part.supervisor or not processes.end(settings, part, END_SECONDS):
        raise processes.RunningError(
            f"the {name} of {settings.run_dir} runs already (process {part.pid}); stop it first: kill {part.pid}"
        )
    _sweep(part.pid)


def trim(log: Path) -> bool:
    """Put a log that has grown large aside and begin it anew, whoever writes to its end; whether that was done."""
    if not log.exists() or log.stat().st_size <= LARGEST_LOG:
        return False
    with suppress(OSError):  # a full disk: then it is only begun anew
        shutil.copyfile(log, log.with_suffix(".log.1"))
    os.truncate(log, 0)
    return True


def _sweep(session: int) -> None:
    """End what is left in a part's session: itself, if it would not, and Spark's Java, if that did not notice."""
    with suppress(ProcessLookupError):
        os.killpg(session, signal.SIGKILL)
