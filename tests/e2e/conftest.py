"""What end-to-end tests share: models as `dvc repro` makes them, and private instances."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from meterwatch.settings import Settings
from meterwatch.storage.models import champion as registered
from tests.instances import BIN, ROOT, Instance

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def champion() -> str:
    """The version that judges; the pipeline is run where there is none yet, as on a fresh clone."""
    url = f"sqlite:///{ROOT}/mlruns/mlflow.db"
    settings = Settings(mlflow_tracking_uri=url)
    if registered(settings) is None:
        done = subprocess.run([BIN / "dvc", "repro"], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"dvc repro:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    found = registered(settings)
    assert found is not None, "dvc repro ended without a champion in the registry"
    return found.version


@pytest.fixture
def instance(champion: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:  # noqa: ARG001
    """An instance of its own; the test fails if it leaves a process behind."""
    private = Instance(tmp_path_factory.mktemp("instance"))
    yield private
    private.end()
    assert private.processes() == []
