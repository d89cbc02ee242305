"""What is told of running parts is never stale: real processes, ended in every way."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import psutil
import pytest

from meterwatch import processes
from meterwatch.processes import BROKER, NAMES, SERVICE, STREAM, SUPERVISOR, Part, RunningError, as_holder, running
from meterwatch.settings import Settings
from tests.instances import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# A part as the command line makes one: it says that it runs, and then waits to be ended.
PART = """
import sys, threading
from meterwatch.processes import registered
from meterwatch.settings import Settings
with registered(Settings(run_dir=sys.argv[1]), sys.argv[2]):
    print("runs", flush=True)
    threading.Event().wait()
"""
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + PART
Spawn = "Callable[..., subprocess.Popen[str]]"


def test_a_beat_is_a_new_number_and_moves_no_lock(settings: Settings) -> None:
    assert processes.newest_beat(settings, STREAM) == 0
    with processes.registered(settings, STREAM):
        told = [processes.newest_beat(settings, STREAM)]
        for _ in range(3):
            before = told[-1]
            told.append(wait_for("a new number", lambda before=before: _beaten(settings, before)))
        assert running(settings, STREAM) == Part(STREAM, os.getpid(), 0)
    assert len(set(told)) == len(told)


def _beaten(settings: Settings, before: int) -> int | None:
    processes.beat(settings, STREAM)
    now = processes.newest_beat(settings, STREAM)
    return now if now != before else None


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(run_dir=tmp_path)


@pytest.fixture
def spawn(settings: Settings) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a part as a process of its own and wait until it runs."""
    started = []

    def start(name: str, code: str = PART, supervisor: int | None = None) -> subprocess.Popen[str]:
        env = {**os.environ, **({SUPERVISOR: str(supervisor)} if supervisor else {})}
        command = [sys.executable, "-c", code, str(settings.run_dir), name]
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "runs\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_nothing_runs_in_a_new_place(settings: Settings) -> None:
    assert processes.processes(settings) == []
    assert not processes.directory(settings).exists()  # looking leaves no trace


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_part_runs_until_its_process_is_gone(settings: Settings, spawn: Spawn, number: int) -> None:
    process = spawn(SERVICE)
    assert processes.processes(settings) == [Part(SERVICE, process.pid, 0)]
    process.send_signal(number)
    process.wait()
    assert processes.processes(settings) == []


def test_a_second_one_is_refused_and_told_who_is_first(settings: Settings, spawn: Spawn) -> None:
    process = spawn(STREAM)
    with pytest.raises(RunningError, match=rf"the stream of {settings.run_dir} runs already \(process {process.pid}\)"):
        processes.take(settings, STREAM)
    assert running(settings, STREAM) == Part(STREAM, process.pid, 0)
    process.kill()
    process.wait()
    os.close(processes.take(settings, STREAM))


def test_a_stopped_process_still_runs(settings: Settings, spawn: Spawn) -> None:
    process = spawn(SERVICE)
    process.send_signal(signal.SIGSTOP)
    assert running(settings, SERVICE) == Part(SERVICE, process.pid, 0)


def test_who_started_it_is_known_when_that_one_is_gone(settings: Settings, spawn: Spawn) -> None:
    process = spawn(SERVICE, supervisor=4711)
    assert running(settings, SERVICE) == Part(SERVICE, process.pid, 4711)


def heir(settings: Settings) -> tuple[int, subprocess.Popen[bytes]]:
    """The broker's way: a child takes over the lock; the descriptor of ours, and the child."""
    holder = processes.take(settings, BROKER, 77)
    command = as_holder(settings, BROKER, 77, [sys.executable, "-c", "import threading; threading.Event().wait()"])
    return holder, subprocess.Popen(command, pass_fds=[holder])


def test_a_child_that_inherits_the_lock_is_the_part_until_it_is_killed(settings: Settings) -> None:
    holder, child = heir(settings)
    try:
        wait_for("the child's note", lambda: running(settings, BROKER) == Part(BROKER, child.pid, 77))
        os.close(holder)
        wait_for("its own program", lambda: "threading" in " ".join(psutil.Process(child.pid).cmdline()))
        assert running(settings, BROKER) == Part(BROKER, child.pid, 77)
        with pytest.raises(RunningError):
            processes.take(settings, BROKER)
    finally:
        child.kill()
    wait_for("the lock to be free", lambda: running(settings, BROKER) is None)
    child.wait()


def test_the_part_runs_for_as_long_as_any_of_its_holders(settings: Settings) -> None:
    """A starter that is killed between two steps leaves the broker known, a broker that dies at once its starter."""
    holder, child = heir(settings)
    child.kill()
    child.wait()
    assert running(settings, BROKER) is not None
    os.close(holder)
    assert running(settings, BROKER) is None


def test_no_other_child_inherits_a_lock(settings: Settings) -> None:
    with closing(os.fdopen(processes.take(settings, STREAM), "rb")):
        command = [sys.executable, "-c", "import threading; threading.Event().wait()"]
        child = subprocess.Popen(command, close_fds=False)  # not even one that is started without care
    try:  # for an instant, until it is its own program, it has what we have
        wait_for("the lock to be free", lambda: running(settings, STREAM) is None)
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


def test_the_note_of_the_one_before_is_not_told(settings: Settings, spawn: Spawn) -> None:
    """Between a lock taken and its note written stands the note of one that is gone."""
    before = spawn(SERVICE)
    before.kill()
    before.wait()
    with (processes.directory(settings) / SERVICE).open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert running(settings, SERVICE) == Part(SERVICE, before.pid, 0)  # after some patience
        os.pwrite(file.fileno(), (processes.NOTE % f"{os.getpid()} 0").encode(), 0)
        assert running(settings, SERVICE) == Part(SERVICE, os.getpid(), 0)


def test_a_look_keeps_nobody_from_starting(settings: Settings) -> None:
    """Looking takes the lock for an instant; whoever starts in that instant waits for it."""
    with closing(os.fdopen(processes.take(settings, STREAM), "rb")):
        pass
    with (processes.directory(settings) / STREAM).open("rb") as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        start = subprocess.Popen([sys.executable, "-c", PART, str(settings.run_dir), STREAM], stdout=subprocess.PIPE)
        wait_for("it to stand at the lock", lambda: _has_open(start.pid, STREAM))
        fcntl.flock(look, fcntl.LOCK_UN)
    assert start.stdout is not None
    assert start.stdout.readline() == b"runs\n"
    start.kill()
    start.communicate()


def _has_open(pid: int, name: str) -> bool:
    return any(file.path.endswith(f"/processes/{name}") for file in psutil.Process(pid).open_files())


def test_a_part_is_ended_and_one_that_will_not_is_made_to(settings: Settings, spawn: Spawn) -> None:
    for code in (PART, STUBBORN):
        process = spawn(SERVICE, code)
        part = running(settings, SERVICE)
        assert part is not None
        assert processes.end(settings, part, 1.0)  # its exit code is not asked for: it stays in the table
        assert process.poll() is not None
        assert processes.end(settings, part, 1.0)  # it is gone already
    assert not processes.end(settings, Part(SERVICE, 0, 0), 0.1)


def test_every_part_has_a_lock_of_its_own(settings: Settings, spawn: Spawn) -> None:
    parts = {name: spawn(name).pid for name in NAMES}
    assert {part.name: part.pid for part in processes.processes(settings)} == parts
    other = Settings(run_dir=settings.run_dir / "other")
    assert processes.processes(other) == []
