"""What end-to-end tests share: a registry that a pipeline has filled, and private instances."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

from tests.instances import Instance
from tests.pipeline import settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MISSING = "no Chromium on this machine; install it (Debian: apt-get install chromium)"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium without a window."""
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=found, args=FLAGS)
        yield chromium
        chromium.close()
