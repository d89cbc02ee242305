"""Who is called silent, and who is not: a slow batch, a start, a wait for others and a stopped machine."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterwatch import processes
from meterwatch.settings import Settings
from streaming import watchdog
from streaming.children import Child, Patience
from streaming.watchdog import COMMIT_SECONDS, LONGEST_STEP, SERVICE_SECONDS, STREAM_SECONDS, Silence, Watchdog
from tests.instances import free_port, wait_for

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 20.0


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        """Now."""
        return self.now


@given(
    looks=st.lists(st.tuples(st.floats(0, 12), st.booleans()), max_size=80),
    failures=st.integers(0, 9),
)
def test_silence_is_the_time_without_a_new_sign_a_few_seconds_a_look_at_most(
    looks: list[tuple[float, bool]], failures: int
) -> None:
    clock, sign, silent = Clock(), 0, 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watchdog, "time", clock)
        silence = Silence(LIMIT)
        assert silence.too_long(sign, failures) == 0
        for step, is_new in looks:
            clock.now += step
            sign += is_new
            silent = 0.0 if is_new else silent + min(step, LONGEST_STEP)
            over = silent > LIMIT * 2 ** min(failures, 4)
            assert silence.too_long(sign, failures) == pytest.approx(silent if over else 0.0, abs=1e-6)
            silent = 0.0 if over else silent


class Parts:
    """Parts that are stand-ins, with the state that a test gives them."""

    def __init__(self, settings: Settings, patch: pytest.MonkeyPatch) -> None:
        self.killed: list[str] = []
        self.clock = Clock()
        self.alive = self.ready = self.answers = self.beats = True
        self.lag: int | None = 5
        self.done = 0
        self.beat = 0
        patch.setattr(watchdog, "time", self.clock)
        part = processes.Part(processes.SERVICE, 11, os.getpid())
        patch.setattr(processes, "running", lambda _, name: part._replace(name=name))
        patch.setattr(processes, "newest_beat", lambda *_: self.beat)
        broker: Any = SimpleNamespace(answers=lambda: self.answers)
        self.watchdog = Watchdog(settings, broker, self._child("service"), self._child("stream"))
        patch.setattr(self.watchdog, "_own", SimpleNamespace(alive=lambda: self.alive))
        patch.setattr(self.watchdog, "_asked", SimpleNamespace(ready=lambda: self.ready))
        patch.setattr(self.watchdog, "_kill_broker", lambda: self.killed.append("broker") or True)

    def _child(self, name: str) -> Any:
        return SimpleNamespace(pid=7, patience=Patience(), kill=lambda: self.killed.append(name))

    def after(self, seconds: float) -> list[str]:
        """Look twice a second for so long; what was killed."""
        for _ in range(int(seconds * 2)):
            self.clock.now += 0.5
            self.beat += self.beats
            list(self.watchdog.look(self.lag, self.done))
        return self.killed


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    return Parts(Settings(run_dir=tmp_path), monkeypatch)


def test_all_is_well(parts: Parts) -> None:
    for _ in range(20):
        parts.done += 1
        assert parts.after(COMMIT_SECONDS - 10) == []


def test_a_slow_batch_is_not_killed_and_an_endless_one_is(parts: Parts) -> None:
    assert parts.after(COMMIT_SECONDS - 1) == []
    assert parts.after(3) == ["stream"]


@pytest.mark.parametrize("state", [{"ready": False}, {"lag": None}, {"lag": 0}], ids=str)
def test_who_has_to_wait_is_not_killed(parts: Parts, state: dict[str, Any]) -> None:
    """For a model, for the broker, for records."""
    vars(parts).update(state)
    assert parts.after(3 * COMMIT_SECONDS) == []


def test_a_stream_whose_heart_stands_still_is_killed(parts: Parts) -> None:
    parts.lag, parts.beats = 0, False
    assert parts.after(STREAM_SECONDS - 1) == []
    assert parts.after(3) == ["stream"]


def test_a_service_that_does_not_answer_is_killed_and_gets_longer_each_time(parts: Parts) -> None:
    parts.alive = False
    assert parts.after(SERVICE_SECONDS - 1) == []
    assert parts.after(3) == ["service"]
    parts.watchdog._service.patience.failed()
    assert parts.after(2 * SERVICE_SECONDS - 3) == ["service"]
    assert parts.after(5) == ["service"] * 2


def test_a_broker_that_answers_nobody_is_killed_and_one_without_the_topic_is_not(parts: Parts) -> None:
    parts.lag = None
    assert parts.after(300) == []
    parts.answers = False
    assert parts.after(63) == ["broker"]


def test_whoever_the_stream_can_ask_is_asked_and_only_our_own_service_is_watched(tmp_path: Path) -> None:
    nobody: Any = None
    several = Settings(run_dir=tmp_path, port=8123, service_url="http://10.0.0.1:1, http://127.0.0.1:8123")
    found = Watchdog(several, nobody, nobody, nobody)
    assert found._own._replicas.urls == ["http://127.0.0.1:8123"]
    assert found._asked._replicas.urls == ["http://10.0.0.1:1", "http://127.0.0.1:8123"]


@pytest.mark.parametrize(("by_hand", "dies"), [(False, True), (True, False)])
def test_only_our_own_broker_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, by_hand: bool, dies: bool
) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *what: killed.append(what))
    part = processes.Part(processes.BROKER, 4711, 0 if by_hand else os.getpid())
    monkeypatch.setattr(processes, "running", lambda *_: part)
    nobody: Any = None
    assert Watchdog(Settings(run_dir=tmp_path), nobody, nobody, nobody)._kill_broker() is dies
    assert killed == ([(4711, signal.SIGKILL)] if dies else [])


def test_a_service_that_hangs_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real one, stopped by a signal; it has no model, which is no reason."""
    monkeypatch.setattr(watchdog, "SERVICE_SECONDS", 1.0)
    settings = Settings(run_dir=tmp_path, port=free_port(), mlflow_tracking_uri=f"sqlite:///{tmp_path}/none.db")
    for name in ("run_dir", "port", "mlflow_tracking_uri"):
        monkeypatch.setenv(f"METERWATCH_{name.upper()}", str(getattr(settings, name)))
    service, stream = Child(settings, processes.SERVICE, "serve"), Child(settings, processes.STREAM, "stream")
    broker: Any = SimpleNamespace(answers=lambda: False)
    found = Watchdog(settings, broker, service, stream)
    try:
        service.watch()
        wait_for("it to answer", found._own.alive)
        pid = service.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        told = wait_for("it to be killed", lambda: list(found.look(None, 0)))
        assert told[0].startswith("the service has not answered for ")
        assert wait_for("that to be seen", service.watch).startswith("the service was killed by signal 9")
        assert not psutil.pid_exists(pid)
        wait_for("it to answer again", lambda: service.watch() or found._own.alive())
    finally:
        service.end()
