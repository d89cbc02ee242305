"""States of another schema: refused with the way out, and made anew of the stored readings as if nothing had been."""

from __future__ import annotations

import shutil
import sqlite3
from base64 import b64encode
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from meterwatch.cli import app as cli
from meterwatch.detection.memory import NEVER, Memory
from meterwatch.processes import STREAM, RunningError
from meterwatch.processes import registered as running
from meterwatch.storage.models import RegistryError
from serving import rewarming
from serving.app import create_app
from streaming.supervisor import up
from tests.households import START, household
from tests.integration.test_explain import Record, moment, stream
from tests.integration.test_swapping import registered, with_threshold
from tests.served import Found

if TYPE_CHECKING:
    from pathlib import Path

    from meterwatch.settings import Settings

DAYS, DAY = 14, 86_400
TABLES = ("power_data", "verdicts", "events", "rejected", "hot_states", "profiles", "offsets", "rollups", "labels")
OTHER_SCHEMA = "CAST(substr({0}, 1, 4) || x'0100' || substr({0}, 7) AS BLOB)"


def records() -> list[Record]:
    """Two meters with repeats, late readings, conflicts, values that no meter gives, a silence that ends in a jump.

    In the end one of them stands far above what is usual: an event is open.
    """
    rng = np.random.default_rng(6)
    quick, slow = household(DAYS, 3, 300), household(DAYS, 8, 1800)
    found: list[tuple[int, Record]] = []
    for name, (at, channels) in {"m": quick, "h": slow}.items():
        power = np.where((name == "m") & (at >= at[-1] - 7200), channels[0] + 9, channels[0])
        moved = np.where((name == "h") & (at >= START + (DAYS - 1) * DAY), at + 40 * DAY, at)
        for k, now in enumerate(moved.tolist()):
            values = (float(power[k]), *channels[1:, k].tolist())
            dice = rng.random()
            if k and now - moved[k - 1] > DAY:
                found.append((int(at[k]), (name, now - 7200, values)))
            found.append((int(at[k]), (name, now, values)))
            if dice < 0.02:
                found.append((int(at[k]), found[-1 - int(rng.integers(0, min(len(found), 50)))][1]))
            elif dice < 0.03:
                found.append((int(at[k]), (name, now - 30, values)))
            elif dice < 0.04:
                found.append((int(at[k]), (name, now, (7.7, *values[1:]))))
            elif dice < 0.045:
                found.append((int(at[k]), (name, now + 60, (9e9, *values[1:]))))
    return [record for _, record in sorted(found, key=lambda one: one[0])]


def rows(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(settings.run_dir / "meterwatch.db")) as db:
        return {table: sorted(db.execute(f"SELECT * FROM {table}").fetchall(), key=repr) for table in TABLES}


def change(settings: Settings, *statements: str) -> None:
    with closing(sqlite3.connect(settings.run_dir / "meterwatch.db")) as db, db:
        for statement in statements:
            db.execute(statement)


@pytest.fixture(scope="module")
def undisturbed(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a stream has written."""
    run_dir = tmp_path_factory.mktemp("undisturbed") / "run"
    run_dir.mkdir()
    settings = registered(run_dir.parent / "mlflow.db", {"1": bundle})
    with TestClient(create_app(settings, find_champion=lambda: Found("1", bundle))) as service:
        stream(run_dir, [service], records())
    return run_dir


@pytest.fixture
def settings(undisturbed: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A copy of it, with a registry of the model that judged and of two that judge otherwise: never, and always."""
    shutil.copytree(undisturbed, tmp_path / "run")
    others = {
        number: with_threshold(shutil.copytree(bundle, tmp_path / number), threshold)
        for number, threshold in (("2", 99.0), ("3", -99.0))
    }
    settings = registered(tmp_path / "mlflow.db", {"1": bundle, **others})
    for name in ("RUN_DIR", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(f"METERWATCH_{name}", str(getattr(settings, name.lower())))
    return settings


def upgrade(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    """As if the states had been written by a program of an older schema; answers what stood there before."""
    before = rows(settings)
    change(
        settings,
        f"UPDATE hot_states SET state = {OTHER_SCHEMA.format('state')}",
        f"UPDATE profiles SET profile = {OTHER_SCHEMA.format('profile')}",
    )
    return before


def command(*words: str) -> str:
    """What `meterwatch models` says, and on a failure what it fails with."""
    done = CliRunner().invoke(cli, ["models", *words])
    return done.output if done.exception is None else str(done.exception)


def test_the_states_are_those_of_an_undisturbed_stream(settings: Settings) -> None:
    """To the last bit, and so is everything else, however often it is interrupted."""
    before = upgrade(settings)
    assert "2 meters have a new state" in command("promote", "1", "--rewarm")
    assert rows(settings) == before
    assert "0 meters have a new state" in command("promote", "1", "--rewarm")
    assert rows(settings) == before
    assert [event for event in before["events"] if event[3] is None]


def test_an_interrupted_one_goes_on(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    before = upgrade(settings)
    monkeypatch.setattr(rewarming, "METERS", 1)

    def killed(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rewarming.promote(settings, "1", None, killed)
    assert len(set(rows(settings)["hot_states"]) & set(before["hot_states"])) == 1
    assert "1 meters have a new state" in command("promote", "1", "--rewarm")
    assert rows(settings) == before


@pytest.mark.parametrize("days_kept", [None, 8])
def test_a_meter_is_as_old_as_it_is(settings: Settings, monkeypatch: pytest.MonkeyPatch, days_kept: int | None) -> None:
    """Though only its last days are judged again: a topic that is read once more does not make it start anew."""
    monkeypatch.setattr(rewarming, "REACH", 10)
    before = upgrade(settings)
    if days_kept:
        for table in ("power_data", "verdicts", "state_snapshots"):
            change(settings, f"DELETE FROM {table} WHERE at < (SELECT at FROM hot_states AS h "
                             f"WHERE h.meter_id = {table}.meter_id) - {days_kept * DAY}")  # fmt: skip
    assert "2 meters have a new state" in command("promote", "1", "--rewarm")
    kept, found = (
        Memory.decode([row[0] for row in table], [row[1] for row in table], [None] * len(table)).hot
        for table in (before["hot_states"], rows(settings)["hot_states"])
    )
    assert (kept["hole_from"] == NEVER).any()
    assert (found["hole_until"] == kept["hole_until"]).all()
    assert (np.abs(found["hole_from"] - kept["hole_from"]) <= 3600).all()

    again = [record for record in records() if record[0] == "h"][:48]
    with TestClient(create_app(settings)) as service:
        stream(settings.run_dir, [service], [*records(), *again], first=len(records()))
    after = rows(settings)
    assert after["offsets"][0][4] == len(records()) + len(again)
    newest = [row[2] for row in before["hot_states"]]
    assert [row[2] for row in after["hot_states"]] == newest


@pytest.mark.parametrize("version", ["2", "3"])
def test_another_model_goes_on_without_an_event_twice(settings: Settings, version: str) -> None:
    """What was told of stays; what only the new model has open begins with the next anomaly; and it can be replayed."""
    before = upgrade(settings)
    (open_,) = [event for event in before["events"] if event[3] is None]
    meter = open_[1]
    change(settings, f"INSERT INTO labels VALUES ('{open_[0]}', '{meter}', {open_[2]}, NULL, 'real', '', 'me', 1)")
    assert "2 meters have a new state" in command("promote", version, "--rewarm")
    found = rows(settings)
    newest = max(row[1] for row in before["power_data"] if row[0] == meter)
    same = ("power_data", "verdicts", "rejected", "offsets", "rollups")
    assert {name: found[name] for name in same} == {name: before[name] for name in same}
    last = max(row[1] for row in found["verdicts"] if row[0] == meter and row[5])
    assert [event for event in found["events"] if event[0] == open_[0]] == [(*open_[:3], last, *open_[4:])]
    assert found["labels"][0][3] == last

    at, channels = household(1, 3, 1800, start=newest + 1800)
    more = [(meter, int(now), tuple(values)) for now, values in zip(at, channels.T.tolist(), strict=True)]
    with TestClient(create_app(settings)) as service:
        stream(settings.run_dir, [service], [*records(), *more], first=len(records()))
        ledger = rows(settings)["offsets"][0]
        assert ledger[4] == len(records()) + len(more)
        assert ledger[5] == before["offsets"][0][5] + len(more)
        late = moment(newest + 1800 * 40)
        told = service.get(f"/v1/meters/{meter}/explain", params={"at": late, "replay": True}).json()
    assert told["replay"]["same"] is True, told["replay"]
    begun = [event[2] for event in rows(settings)["events"] if event not in found["events"] and event[1] == meter]
    assert begun == ([newest + 1800] if version == "3" else [])


def test_whoever_meets_them_names_the_way_out(settings: Settings) -> None:
    """And a program that reads them as they are says nothing."""
    assert "version 2 is champion" in command("promote", "2")
    upgrade(settings)
    way = "stop the stream, then `meterwatch models promote {} --rewarm`"
    assert way.format(1) in command("promote", "1")
    with pytest.raises(RegistryError, match=r"2 meters have states of another schema .* promote 2 --rewarm"):
        up(settings)
    with TestClient(create_app(settings)) as service:
        refused = service.post("/v1/models/1/promote")
        assert (refused.status_code, way.format(1) in refused.json()["detail"]) == (409, True)
        meter_id, state, *_ = rows(settings)["hot_states"][0]
        asked = {"meter_id": meter_id, "state": b64encode(state).decode(), "readings": []}
        refused = service.post("/v1/score", json={"meters": [asked]})
        assert (refused.status_code, way.format(2) in refused.json()["detail"]) == (422, True)
        current = service.get("/v1/models").json()["serving"]
    assert current == "2"


def test_it_waits_for_no_stream(settings: Settings) -> None:
    before = upgrade(settings)
    with running(settings, STREAM), pytest.raises(RunningError, match=r"runs already .*stop it first"):
        rewarming.promote(settings, "1", None, print)
    assert rows(settings)["events"] == before["events"]
    assert "has no version" not in command("promote", "9", "--rewarm")
