"""The service as a process of its own, its client, and the feed: over real sockets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pyarrow as pa
import pytest

from meterwatch.settings import Settings
from serving.app import ServeError, create_app, serve
from serving.client import Client, ServiceRefused, ServiceUnavailable
from tests.households import START
from tests.instances import PATIENCE, answers, free_port, wait_for
from tests.served import Found, listening

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVE = """
from meterwatch.settings import Settings
from serving import app
app.ENDING_SECONDS = 3600  # nothing is ended by force
app.serve(Settings())
"""
STORE = """
import sys; from pathlib import Path
from tests.households import START, household
from tests.stored import event, store
at, channels = household(days=1, seed=6, start=START + 86_400 * int(sys.argv[2]))
store(Path(sys.argv[1]), "h", at, channels, events=[event(int(sys.argv[2]), "h", int(at[0]), None)])
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[tuple[str, Path]]:
    """A service in a thread; its address and run directory."""
    run_dir = tmp_path_factory.mktemp("running")
    app = create_app(Settings(run_dir=run_dir), find_champion=lambda: Found("3", bundle))
    with listening(app) as port:
        yield f"http://127.0.0.1:{port}", run_dir


def question(power: float | str) -> list[dict[str, Any]]:
    return [{"meter_id": "m", "readings": [{"at": "2009-01-01T00:00:00Z", "active_power_kw": power}]}]


def test_the_client_scores_in_both_forms(running: tuple[str, Path]) -> None:
    with Client(running[0]) as client:
        assert client.ready()
        told = client.score(question(1.5))
        kind = pa.list_(pa.struct([("at", pa.timestamp("us", tz="UTC")), ("active_power_kw", pa.float64())]))
        table = pa.table(
            {"meter_id": ["m"], "readings": pa.array([[{"at": START * 10**6, "active_power_kw": 1.5}]], kind)}
        )
        answer = client.score_table(table)
    assert told["model_version"] == "3"
    assert [verdict["status"] for verdict in answer["verdicts"].to_pylist()[0]] == ["warming_up"]
    assert told["meters"][0]["verdicts"][0]["status"] == "warming_up"


def test_the_client_names_what_was_refused(running: tuple[str, Path]) -> None:
    with Client(running[0]) as client, pytest.raises(ServiceRefused, match=r"meters\[0\]\.readings\[0\]") as caught:
        client.score(question("much"))
    assert caught.value.status == httpx.codes.UNPROCESSABLE_ENTITY


def test_the_client_waits_for_a_service_that_comes_back(bundle: Path, tmp_path: Path) -> None:
    """503 while there is no model; the client's second try finds one."""
    asked: list[None] = []
    model: list[Found] = []
    app = create_app(Settings(run_dir=tmp_path), find_champion=lambda: model[0] if model else None)

    @app.middleware("http")
    async def count(request: Any, following: Any) -> Any:
        asked.append(None)
        if len(asked) == 2:
            model.append(Found("1", bundle))
            app.state.parts.champion.refresh()
        return await following(request)

    with listening(app) as port, Client(f"http://127.0.0.1:{port}") as client:
        assert client.score(question(1.0))["model_version"] == "1"
    assert len(asked) == 2


def test_the_client_says_that_nobody_is_there() -> None:
    with Client(f"http://127.0.0.1:{free_port()}", attempts=2) as client:
        assert not client.ready()
        with pytest.raises(ServiceUnavailable):
            client.score(question(1.0))


def store_in_another_process(path: Path, day: int) -> None:
    subprocess.run([sys.executable, "-c", STORE, str(path), str(day)], check=True, timeout=PATIENCE)


def test_the_feed_tells_what_is_new(running: tuple[str, Path]) -> None:
    url, run_dir = running
    store_in_another_process(run_dir / "meterwatch.db", 0)
    names: list[str] = []
    with httpx.stream("GET", f"{url}/v1/stream", timeout=PATIENCE) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert next(lines).startswith("retry:")
        threading.Timer(1.5, store_in_another_process, (run_dir / "meterwatch.db", 1)).start()
        for line in lines:
            if line.startswith("event: "):
                names.append(line.removeprefix("event: "))
                if names[-1] == "event":
                    break
    assert names.count("reading") == names.count("verdict") == 20  # the newest of 1,440
    assert names[-1] == "event"


def start(run_dir: Path, port: int) -> subprocess.Popen[bytes]:
    settings = {"METERWATCH_RUN_DIR": str(run_dir), "METERWATCH_PORT": str(port)}
    settings["METERWATCH_MLFLOW_TRACKING_URI"] = f"sqlite:///{run_dir}/mlflow.db"
    return subprocess.Popen([sys.executable, "-c", SERVE], env={**os.environ, **settings}, stderr=subprocess.PIPE)


def test_sigterm_ends_it_also_while_somebody_listens(tmp_path: Path) -> None:
    port = free_port()
    process = start(tmp_path, port)
    try:
        wait_for("it to answer", lambda: answers(f"http://127.0.0.1:{port}/healthz"))
        with httpx.stream("GET", f"http://127.0.0.1:{port}/v1/stream", timeout=PATIENCE) as answer:
            next(answer.iter_lines())
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        _, said = process.communicate()
    assert b"Traceback" not in said


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServeError, match=f"port {port} is in use"):
            serve(Settings(run_dir=tmp_path, port=port))


HEAVY = "mlflow sklearn pandas tensorflow pyspark dvc"
LIGHT = f"""
import sys
from serving.app import create_app
from meterwatch.settings import Settings
from starlette.testclient import TestClient
from dataclasses import make_dataclass
from pathlib import Path
model = make_dataclass("Found", ["version", "bundle_dir", "bundle_sha256"])("1", Path(sys.argv[1]), None)
with TestClient(create_app(Settings(run_dir=Path(sys.argv[2])), find_champion=lambda: model)) as client:
    body = {{"meters": [{{"meter_id": "m", "readings": [{{"at": "2009-01-01T00:00:00Z", "active_power_kw": 1.0}}]}}]}}
    arrow = "application/vnd.apache.arrow.stream"
    answer = client.post("/v1/score", json=body, headers={{"Accept": arrow}})
    assert answer.headers["content-type"] == arrow
    for path in ("/readyz", "/v1/meters", "/v1/events", "/data", "/daily_total", "/metrics", "/"):
        for accept in ("text/csv", arrow) if path in ("/v1/meters", "/v1/events") else ("*/*",):
            assert client.get(path, headers={{"Accept": accept}}).status_code == 200, path
print(*sorted(set(sys.modules) & set("{HEAVY}".split())))
"""


def test_nothing_heavy_is_imported(bundle: Path, tmp_path: Path) -> None:
    """Not at the start, and not by the first requests of any kind."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LIGHT, str(bundle), str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stdout.strip() == ""
