"""What end-to-end tests share: a registry that a pipeline has filled, and private instances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.instances import Instance
from tests.pipeline import settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def registry(project: Path) -> str:
    """The URL of the small pipeline's registry, whose one version is champion."""
    return settings(project).mlflow_tracking_uri


@pytest.fixture
def instance(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance of its own; the test fails if it leaves a process behind."""
    private = Instance(tmp_path_factory.mktemp("instance"), registry)
    yield private
    private.end()
    assert private.processes() == []
