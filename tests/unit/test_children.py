"""Parts below a supervisor: started again with growing patience, told of in a sentence, and nothing of them left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from meterwatch import processes
from meterwatch.settings import Settings
from streaming import children
from streaming.children import GIVE_UP_FAILURES, GIVE_UP_SECONDS, LONGEST_WAIT, Child, Patience, clear, trim
from tests.instances import free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An instance whose children see the same settings."""
    found = Settings(run_dir=tmp_path, port=free_port(), kafka_bootstrap_servers=f"127.0.0.1:{free_port()}")
    for name in ("run_dir", "port", "kafka_bootstrap_servers"):
        monkeypatch.setenv(f"METERWATCH_{name.upper()}", str(getattr(found, name)))
    return found


@pytest.fixture
def service(settings: Settings) -> Iterator[Child]:
    """The real service as a child; without a model it runs all the same."""
    child = Child(settings, processes.SERVICE, "serve")
    yield child
    child.end()


def test_patience_grows_and_is_renewed_by_work(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(children.time, "monotonic", lambda: now[0])
    patience = Patience()
    assert patience.is_due
    waits = []
    for _ in range(8):
        patience.failed()
        begun = now[0]
        while not patience.is_due:
            now[0] += 0.25
        waits.append(now[0] - begun)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, LONGEST_WAIT, LONGEST_WAIT, LONGEST_WAIT]
    patience.works()
    assert patience.is_due
    patience.failed()
    assert not patience.is_due


def test_a_script_gives_up_after_failures_enough_and_time_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(children.time, "monotonic", lambda: now[0])
    slow, often = Patience(), Patience()
    slow.failed()
    for _ in range(GIVE_UP_FAILURES):
        often.failed()
    assert not often.is_over
    now[0] = GIVE_UP_SECONDS + 1
    assert often.is_over
    assert not slow.is_over
    often.works()
    often.failed()
    assert not often.is_over


def test_a_log_is_put_aside_while_somebody_writes_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "LARGEST_LOG", 10)
    path = tmp_path / "part.log"
    assert not trim(path)  # there is none yet
    with path.open("ab", buffering=0) as log:
        log.write(b"0123456789")
        assert not trim(path)
        log.write(b"x")
        assert trim(path)
        log.write(b"new")
    assert path.read_bytes() == b"new"
    assert (tmp_path / "part.log.1").read_bytes() == b"0123456789x"


def test_a_child_that_dies_is_told_of_and_started_again_in_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METERWATCH_DATABASE_URL", "x://")
    child = Child(settings, "stream", "status")
    assert child.watch() is None
    told = wait_for("it to die", child.watch)
    assert told == (
        "the stream ended with 1: METERWATCH_DATABASE_URL=x://: only sqlite:///FILE is supported; it is started again"
    )
    assert child.patience.failures == 1
    assert child.watch() is None  # not yet due
    assert child._process is None
    assert wait_for("it to die again", child.watch) == told


def test_a_killed_child_says_the_signal(settings: Settings, service: Child) -> None:
    service.watch()
    part = wait_for("it to run", lambda: processes.running(settings, processes.SERVICE))
    assert part.supervisor == os.getpid()
    os.kill(part.pid, signal.SIGKILL)
    assert wait_for("it to die", service.watch) == "the service was killed by signal 9; it is started again"


def test_only_what_was_said_since_the_start_is_told(settings: Settings) -> None:
    child = Child(settings, "stream", "status")
    child.log.parent.mkdir()
    child.log.write_text("an old line\n")
    child._begins = child.log.stat().st_size
    assert child.last_line() == f"nothing was said (see {child.log})"
    with child.log.open("a") as log:
        log.write("first\nmeterwatch: the fact\n\n")
    assert child.last_line() == "the fact"


def test_an_end_is_an_end(settings: Settings, service: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a child that hangs, and of one that is gone."""
    monkeypatch.setattr(children, "END_SECONDS", 1.0)
    service.watch()
    part = wait_for("it to run", lambda: processes.running(settings, processes.SERVICE))
    os.kill(part.pid, signal.SIGSTOP)
    wait_for("it to hang", lambda: psutil.Process(part.pid).status() == psutil.STATUS_STOPPED)
    service.end()
    assert not psutil.pid_exists(part.pid)
    service.end()


def leftover(supervisor: int) -> subprocess.Popen[bytes]:
    """A stream as a killed supervisor leaves it, with a process of its own that notices nothing."""
    code = (
        "import subprocess, sys, threading\n"
        "from meterwatch.processes import registered\n"
        "from meterwatch.settings import load\n"
        "with registered(load(), 'stream'):\n"
        "    subprocess.Popen([sys.executable, '-c', 'import threading; threading.Event().wait()'])\n"
        "    threading.Event().wait()\n"
    )
    env = {**os.environ, processes.SUPERVISOR: str(supervisor)}
    found = subprocess.Popen([sys.executable, "-c", code], env=env, start_new_session=True)
    wait_for("its own child", lambda: psutil.Process(found.pid).children())
    return found


def test_what_a_killed_supervisor_left_is_cleared_with_all_its_own(settings: Settings) -> None:
    left = leftover(supervisor=4711)
    (own,) = psutil.Process(left.pid).children()
    clear(settings, "stream")
    clear(settings, "stream")
    left.wait()
    assert processes.running(settings, "stream") is None
    wait_for("its own to be gone", lambda: not own.is_running() or own.status() == psutil.STATUS_ZOMBIE)


def test_what_was_started_by_hand_is_left_alone(settings: Settings) -> None:
    left = leftover(supervisor=0)
    try:
        child = Child(settings, "stream", "stream")
        for start in (lambda: clear(settings, "stream"), child.watch):
            with pytest.raises(processes.RunningError, match=rf"process {left.pid}\); stop it first: kill {left.pid}"):
                start()
        assert left.poll() is None
    finally:
        os.killpg(left.pid, signal.SIGKILL)
        left.wait()
