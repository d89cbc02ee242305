"""A private instance of meterwatch for a test: own directory and ports, driven as a user would.

Waiting is done in one place, `wait_for`: other processes cannot tell a test that they are done, so it asks again every
50 ms until its deadline. A deadline only bounds how long a failure takes; it is meant for the slowest machine.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil

from meterwatch import processes
from meterwatch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PREFIX = "METERWATCH_"
PATIENCE = 400.0  # seconds, for anything; Spark takes minutes to start on a machine that is busy


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(what: str, condition: Callable[[], Any], *, seconds: float = PATIENCE) -> Any:
    """Ask until the answer is true; fails with what was waited for."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.05)
    return found


def answers(url: str) -> bool:
    """Whether a page is there: 200 within five seconds."""
    try:
        return httpx.get(url, timeout=5).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


class Instance:
    """Everything below one directory.

    Args:
        directory: made where it is missing.
        registry: MLflow's URL of the models that judge; the project's own where none is given.
    """

    def __init__(self, directory: Path, registry: str | None = None) -> None:
        self.dir = directory
        self.dir.mkdir(parents=True, exist_ok=True)
        self.spawned: list[subprocess.Popen[str]] = []
        self.kafka, self.http = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http}"
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)},
            "NO_COLOR": "1",
            "METERWATCH_RUN_DIR": str(self.dir),
            "METERWATCH_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{self.kafka}",
            "METERWATCH_PORT": str(self.http),
        }
        if registry:
            self.env["METERWATCH_MLFLOW_TRACKING_URI"] = registry

    @property
    def settings(self) -> Settings:
        """Where its parts run."""
        return Settings(run_dir=self.dir, kafka_bootstrap_servers=f"127.0.0.1:{self.kafka}")

    def run(self, *words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `meterwatch` with these words to its end."""
        command = [str(BIN / "meterwatch"), *map(str, words)]
        process = subprocess.Popen(
            command, env=self.env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.spawned.append(process)  # when the time is up, it is told to end as any other
        out, err = process.communicate(timeout=2 * PATIENCE)
        assert not check or process.returncode == 0, f"{words}: exit {process.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def refused(self, *words: object, says: str) -> None:
        """Run `meterwatch` with these words: it ends with 1 and one line that says so."""
        done = self.run(*words, check=False)
        assert done.returncode == 1, done.stdout
        assert says in done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr

    def spawn(self, *words: object) -> subprocess.Popen[str]:
        """Start `meterwatch` with these words; its output goes into a file beside the instance."""
        with (self.dir / f"test-{words[0]}.log").open("a") as log:
            command = [str(BIN / "meterwatch"), *map(str, words)]
            process = subprocess.Popen(command, env=self.env, cwd=ROOT, stdout=log, stderr=log, text=True)
        self.spawned.append(process)
        return process

    def end(self) -> None:
        """End what was spawned and the broker: what a test that failed left running."""
        for process in self.spawned:
            process.terminate()
        for process in self.spawned:
            process.wait(PATIENCE)
        self.run("broker", "stop", check=False)

    def status(self) -> dict[str, Any]:
        """What `status --json` says."""
        told: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return told

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the database."""
        with closing(sqlite3.connect(f"file:{self.dir}/meterwatch.db?mode=ro", uri=True, timeout=30)) as db:
            return db.execute(sql).fetchall()

    def stored(self) -> int:
        """Readings in the database; 0 before there is one."""
        try:
            return int(self.rows("SELECT coalesce(sum(stored), 0) FROM offsets")[0][0])
        except sqlite3.OperationalError:  # no file, or one that is being made
            return 0

    def pids(self) -> dict[str, int]:
        """The parts that run, by their names."""
        return {part.name: part.pid for part in processes.processes(self.settings)}

    def processes(self) -> list[str]:
        """Command lines of the processes that name this instance's directory or run with it."""
        found = []
        for process in psutil.process_iter(["pid", "cmdline"]):
            try:
                words = process.info["cmdline"] or []
                mine = process.environ().get("METERWATCH_RUN_DIR") == str(self.dir)
            except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
            if process.pid != os.getpid() and (mine or any(str(self.dir) in word for word in words)):
                found.append(" ".join(words))
        return found
