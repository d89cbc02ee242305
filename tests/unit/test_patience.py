"""How long the stream asks a service that is at fault: as long as it takes, or, where a script waits, not for ever."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from meterwatch.settings import Settings
from serving import client
from streaming import pipeline
from streaming.errors import Stopped, StreamError
from streaming.pipeline import _patient
from tests.faulty import FAULTS, faulty
from tests.instances import free_port

if TYPE_CHECKING:
    from pathlib import Path

ASKED = pa.table({"meter_id": ["a"]})


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(pipeline, "LONGEST_WAIT", 0.01)
    monkeypatch.setattr(pipeline, "ONCE_SECONDS", 0.2)


def settings_of(url: str, tmp_path: Path) -> Settings:
    return Settings(run_dir=tmp_path, service_url=url)


def test_faults_of_a_moment_are_waited_out(tmp_path: Path) -> None:
    """Each of them, also where a script waits; then comes the answer of a sound one."""
    with faulty("http://127.0.0.1:1") as sound:
        answer = pa.table({name: ["x"] for name in client.ANSWERED}, metadata={"model_version": "7"})
        sound.behind = _Answers(answer)  # type: ignore[assignment]
        sound.faults += FAULTS
        ask = _patient(settings_of(sound.url, tmp_path), threading.Event(), once=False)
        assert ask(ASKED).equals(answer)
        assert sound.asked == len(FAULTS) + 1


class _Answers:
    """Stands for the service behind."""

    def __init__(self, table: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        self.content, self.status_code, self.headers = bytes(sink.getvalue()), 200, {"content-type": client.ARROW}

    def post(self, *_: object, **__: object) -> _Answers:
        """The answer."""
        return self

    def close(self) -> None:
        """Nothing to do."""


@pytest.mark.parametrize("fault", [*FAULTS, "hangs", "away"])
def test_a_script_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    made = client.Client
    monkeypatch.setattr(pipeline, "Client", lambda url, key, attempts: made(url, key, attempts=attempts, timeout=0.3))
    with faulty("http://127.0.0.1:1", [fault] * 10_000) as server:
        url = f"http://127.0.0.1:{free_port()}" if fault == "away" else server.url
        ask = _patient(settings_of(url, tmp_path), threading.Event(), once=True)
        with pytest.raises(StreamError, match=r"has judged nothing for \d+ s .*start it with `meterwatch serve`"):
            ask(ASKED)


def test_a_batch_that_is_refused_is_said_at_once(tmp_path: Path) -> None:
    with faulty("http://127.0.0.1:1", ["422"]) as server:
        ask = _patient(settings_of(server.url, tmp_path), threading.Event(), once=False)
        with pytest.raises(StreamError, match="refuses a batch: 422 at fault"):
            ask(ASKED)


def test_a_key_that_is_missing_is_asked_for(tmp_path: Path) -> None:
    with faulty("http://127.0.0.1:1", ["401"]) as server:
        ask = _patient(settings_of(server.url, tmp_path), threading.Event(), once=False)
        with pytest.raises(StreamError, match="401 at fault; set METERWATCH_API_KEY"):
            ask(ASKED)


def test_who_is_told_to_end_waits_no_longer(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        _patient(settings_of(f"http://127.0.0.1:{free_port()}", tmp_path), stop, once=False)(ASKED)
