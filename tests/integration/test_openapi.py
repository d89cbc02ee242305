"""The service against its own description: schemathesis asks what `/openapi.json` allows, and what it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from meterwatch.settings import Settings
from serving.app import create_app
from tests.households import START, household
from tests.integration.test_swapping import Found
from tests.stored import event, store

if TYPE_CHECKING:
    from pathlib import Path

    from schemathesis.openapi import OpenApiSchema

ENDLESS = "/v1/stream"  # its answer has no end to wait for


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> OpenApiSchema:
    """Of a service with a meter, its events, and no broker."""
    run_dir = tmp_path_factory.mktemp("run")
    at, channels = household(days=1, seed=2)
    store(run_dir / "meterwatch.db", "m", at, channels, events=[event(1, "m", START, START + 600)])
    registry = f"sqlite:///{run_dir}/mlflow.db"
    place = Settings(run_dir=run_dir, kafka_bootstrap_servers="127.0.0.1:1", mlflow_tracking_uri=registry)
    app = create_app(place, find_champion=lambda: Found("3", bundle))
    app.state.parts.champion.refresh()
    return schemathesis.openapi.from_asgi("/openapi.json", app)


schema = schemathesis.pytest.from_fixture("description").exclude(path=ENDLESS)


@schema.parametrize()
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_it_does_what_it_says(case: schemathesis.Case) -> None:
    case.call_and_validate()


@pytest.mark.long
@schema.parametrize()
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_it_does_what_it_says_at_length(case: schemathesis.Case) -> None:
    case.call_and_validate()
