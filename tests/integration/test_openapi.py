"""The service against its own description: schemathesis asks what `/openapi.json` allows, and what it does not."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from meterwatch.settings import Settings
from serving import intake
from serving.app import create_app
from tests.households import START, household
from tests.instances import BIN
from tests.served import Found, listening
from tests.stored import event, store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENDLESS = "/v1/stream"  # its answer has no end to wait for
# What a JSON schema cannot say is refused with 422: times before 1970, foreign states, cursors that were not answered.
BEYOND_SCHEMAS = "positive_data_acceptance"
AWAY = """[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "503"]
"""  # there is no broker and no registry here: to say so is right


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[str]:
    """A service with a meter, its events, no registry and no broker."""
    run_dir = tmp_path_factory.mktemp("run")
    at, channels = household(days=1, seed=2)
    store(run_dir / "meterwatch.db", "m", at, channels, events=[event(1, "m", START, START + 600)])
    registry = f"sqlite:///{run_dir}/mlflow.db"
    place = Settings(run_dir=run_dir, kafka_bootstrap_servers="127.0.0.1:1", mlflow_tracking_uri=registry)
    patch = pytest.MonkeyPatch()
    patch.setattr(intake, "DELIVERY_SECONDS", 0.1)  # for a broker that never comes
    app = create_app(place, find_champion=lambda: Found("3", bundle))
    with listening(app) as port:
        yield f"http://127.0.0.1:{port}"
    patch.undo()


@pytest.mark.parametrize(
    "words",
    [
        ("--max-examples=5", "--phases=examples,coverage,fuzzing", "--generation-deterministic"),
        pytest.param(("--max-examples=300", "--max-time=600"), marks=pytest.mark.long),
    ],
)
def test_it_does_what_it_says(url: str, words: tuple[str, ...], tmp_path: Path) -> None:
    command = [
        BIN / "schemathesis",
        "run",
        f"{url}/openapi.json",
        "--exclude-path",
        ENDLESS,
        "--exclude-checks",
        BEYOND_SCHEMAS,
    ]
    (tmp_path / "schemathesis.toml").write_text(AWAY)
    done = subprocess.run(
        [*command, "--no-color", "--warnings=off", "--no-shrink", *words],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
