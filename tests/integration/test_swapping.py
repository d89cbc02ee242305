"""Changing the model under load: none dropped, none mixed, and what is not whole never judges."""

from __future__ import annotations

import json
import math
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from meterwatch.cli import app as cli
from meterwatch.detection.detector import Detector, seal
from meterwatch.detection.readings import Readings
from meterwatch.settings import Settings
from meterwatch.storage import champions
from serving.app import create_app
from serving.champion import LOOK_SECONDS, Champion
from tests.households import START, household
from tests.instances import wait_for
from tests.served import Found

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MINUTES = 1800
CLIENTS = 4
SWAPS = 12
AT, VALUES = household(days=2, seed=5)


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    """A bundle that may be spoiled."""
    return shutil.copytree(bundle, tmp_path / "bundle")


def with_threshold(directory: Path, threshold: float) -> Path:
    """The same models with another threshold, by which a verdict tells whose it is."""
    path = directory / "params.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"threshold": threshold}))
    seal(directory)
    return directory


def registered(path: Path, places: dict[str, Path]) -> Settings:
    """A registry of MLflow's that holds these bundles as versions, by number."""
    settings = Settings(run_dir=path.parent / "run", mlflow_tracking_uri=f"sqlite:///{path}")
    client = mlflow.MlflowClient(settings.mlflow_tracking_uri)
    client.create_registered_model(settings.model_name)
    for place in places.values():
        client.create_model_version(settings.model_name, str(place))
    return settings


def readings(begin: int, end: int) -> list[dict[str, Any]]:
    return [
        {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(AT[k])), "active_power_kw": float(VALUES[0, k])}
        for k in range(begin, end)
    ]


def test_swaps_under_load_drop_and_mix_nothing(bundle: Path, copy: Path, tmp_path: Path) -> None:
    """Clients with single readings and with bulk, each with its meter's state, while two models take turns."""
    known = [Found("1", bundle), Found("2", with_threshold(copy, 1.25))]
    thresholds = {"1": Detector.load(bundle).params.threshold, "2": 1.25}
    app = create_app(Settings(run_dir=tmp_path / "run"), find_champion=lambda: known[-1])
    done, answered = threading.Event(), [0] * CLIENTS
    with TestClient(app) as client:

        def score(meter: dict[str, Any], begin: int, end: int) -> tuple[str, dict[str, Any]]:
            answer = client.post("/v1/score", json={"meters": [{**meter, "readings": readings(begin, end)}]})
            assert answer.status_code == 200, answer.text
            told = answer.json()
            assert len(told["meters"][0]["verdicts"]) == end - begin
            for verdict in told["meters"][0]["verdicts"]:
                assert verdict["model_version"] == told["model_version"]
                assert verdict["threshold"] in (None, thresholds[told["model_version"]])
            new = told["meters"][0]
            return told["model_version"], {
                "meter_id": new["meter_id"], "state": new["state"], "profile": new["profile"] or meter.get("profile")
            }  # fmt: skip

        def one_client(number: int) -> set[str]:
            step = 1 if number else 200  # the first one sends in bulk
            versions = set()
            while not done.is_set():
                _, meter = score({"meter_id": f"m{number}"}, 0, MINUTES)
                for begin in range(MINUTES, len(AT) - step, step):
                    version, meter = score(meter, begin, begin + step)
                    answered[number] += 1
                    versions.add(version)
                    if done.is_set():
                        break
            return versions

        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(one_client, number) for number in range(CLIENTS)]
            try:
                for _ in range(SWAPS):
                    known.reverse()
                    app.state.parts.champion.refresh()
                    enough = sum(answered) + 10 * CLIENTS
                    wait_for("answers", lambda: sum(answered) >= enough or any(one.done() for one in clients))  # noqa: B023
            finally:
                done.set()
            seen = [client.result() for client in clients]
    assert set().union(*seen) == {"1", "2"}


def test_a_rollback_under_load_keeps_states_and_leaves_no_reading_unjudged(
    bundle: Path, copy: Path, tmp_path: Path
) -> None:
    """`meterwatch models rollback` while readings come one by one: noticed without a word to the service.

    Both models score alike, so each meter's scores are those of one model that was never changed, to the last bit.
    """
    places = {"1": bundle, "2": with_threshold(copy, 1.25)}
    settings = registered(tmp_path / "mlflow.db", places)
    champions.promote(settings, "1")
    champions.promote(settings, "2")
    app = create_app(settings)
    registry = app.state.parts.metrics.registry
    done = threading.Event()
    with TestClient(app) as client:

        def one_client(number: int) -> tuple[list[str], list[float | None]]:
            meter: dict[str, Any] = {"meter_id": f"m{number}"}
            versions, scores, begin, end = [], [], 0, MINUTES
            while end <= len(AT) and not (done.is_set() and versions[-1] == "1"):
                answer = client.post("/v1/score", json={"meters": [{**meter, "readings": readings(begin, end)}]})
                assert answer.status_code == 200, answer.text
                new = answer.json()["meters"][0]
                assert len(new["verdicts"]) == end - begin
                scores += [verdict["score"] for verdict in new["verdicts"]]
                versions.append(answer.json()["model_version"])
                meter = {**meter, "state": new["state"], "profile": new["profile"] or meter.get("profile")}
                begin, end = end, end + 1
            return versions, scores

        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(one_client, number) for number in range(CLIENTS)]
            try:
                scored = partial(registry.get_sample_value, "meterwatch_readings_total", {"outcome": "scored"})
                wait_for("readings to be scored", lambda: bool(scored()) or any(one.done() for one in clients))
                told = CliRunner().invoke(
                    cli, ["models", "rollback"], env={"METERWATCH_MLFLOW_TRACKING_URI": settings.mlflow_tracking_uri}
                )
                assert (told.exit_code, told.output) == (0, "version 1 is champion again\n")
                wait_for("the version before", lambda: app.state.parts.champion.current.version == "1")
            finally:
                done.set()
            answers = [client.result() for client in clients]
    assert LOOK_SECONDS < 1
    detector = Detector.load(bundle)
    for number, (versions, scores) in enumerate(answers):
        assert (versions[0], versions[-1]) == ("2", "1")
        assert versions == sorted(versions, reverse=True)  # once back, it stays
        n = len(scores)
        channels = np.full((7, n), np.nan)
        channels[0] = VALUES[0, :n]
        given = Readings(np.zeros(n, np.int64), AT[:n], channels)
        expected = detector.observe([f"m{number}"], [None], [None], given).verdicts.score
        assert scores == [None if math.isnan(score) else score for score in expected.tolist()]


def test_a_new_champion_is_noticed_and_a_rollback_needs_no_loading(bundle: Path, copy: Path) -> None:
    with_threshold(copy, 1.25)
    known = [Found("1", bundle)]
    champion = Champion(lambda: known[-1])
    champion.start()
    try:
        first = champion.current
        known.append(Found("2", copy))
        wait_for("the second to judge", lambda: champion.current is not None and champion.current.version == "2")
        assert LOOK_SECONDS <= 1
        known.pop()
        shutil.rmtree(copy)
        champion.refresh()
        assert champion.current is first
    finally:
        champion.stop()


def _spoil_schema(directory: Path) -> None:
    manifest = json.loads((directory / "manifest.json").read_text())
    (directory / "manifest.json").write_text(json.dumps(manifest | {"schema": Detector.schema + 1}))


def _spoil_network(directory: Path) -> None:
    (directory / "sequence.onnx").write_bytes(b"no network")
    seal(directory)


def _spoil_inputs(directory: Path) -> None:
    """Whole files, but a forest that looks at other inputs."""
    import numpy as np
    import treelite
    from sklearn.ensemble import IsolationForest

    other = IsolationForest(n_estimators=5).fit(np.random.default_rng(1).normal(size=(50, 3)))
    treelite.sklearn.import_model(other).serialize(directory / "forest.treelite")
    seal(directory)


def _spoil_calibration(directory: Path) -> None:
    (directory / "calibration.json").write_text("{}")
    seal(directory)


@pytest.mark.parametrize("spoil", [_spoil_schema, _spoil_network, _spoil_inputs, _spoil_calibration])
def test_what_does_not_fit_is_refused_and_the_old_one_stays(
    bundle: Path, copy: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(copy)
    known = [Found("1", bundle)]
    champion = Champion(lambda: known[-1])
    champion.refresh()
    first = champion.current
    known.append(Found("2", copy))
    champion.refresh()
    assert first is not None
    assert champion.current is first


def test_another_bundle_than_the_registered_one_is_refused(bundle: Path) -> None:
    """Its manifest fits its files; the registry knows another hash."""
    known = [Found("1", bundle, Detector.load(bundle).bundle_hash)]
    champion = Champion(lambda: known[-1])
    champion.refresh()
    assert champion.current is not None
    known.append(Found("2", bundle, "0" * 64))
    champion.refresh()
    assert champion.current.version == "1"


def test_models_of_one_schema_read_each_others_states(bundle: Path, copy: Path, tmp_path: Path) -> None:
    """In both directions, and a state that has been to and fro is the one of either model."""
    known = [Found("1", bundle), Found("2", with_threshold(copy, 1.25))]
    app = create_app(Settings(run_dir=tmp_path / "run"), find_champion=lambda: known[-1])
    with TestClient(app) as client:
        meter: dict[str, Any] = {"meter_id": "m"}
        for begin in range(0, 1800, 300):
            answer = client.post("/v1/score", json={"meters": [{**meter, "readings": readings(begin, begin + 300)}]})
            assert answer.status_code == 200, answer.text
            new = answer.json()["meters"][0]
            meter = {"meter_id": "m", "state": new["state"], "profile": new["profile"] or meter.get("profile")}
            known.reverse()
            app.state.parts.champion.refresh()
        assert {verdict["status"] for verdict in new["verdicts"]} == {"scored"}
    assert int(AT[0]) == START
