"""Why a reading was judged so, computed again from what is stored: the same bits, or the reason why not."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from meterwatch.detection.detector import seal
from meterwatch.kafka import Topic
from meterwatch.settings import Settings
from meterwatch.storage import models
from meterwatch.storage.meters import MeterStore
from meterwatch.storage.models import ModelVersion
from serving.app import create_app
from streaming.batches import Batches
from streaming.parse import RECORDS
from tests.households import START, household
from tests.integration.test_service import as_stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAYS = 17
DAY, ARROW = 86_400, "application/vnd.apache.arrow.stream"
Record = tuple[str, int, tuple[float, ...]]


class Stored(NamedTuple):
    """A database that a stream has written with two models, one after the other."""

    settings: Settings
    service: TestClient
    switched_at: int  # of meter m, about the first reading that the second model judged


def dirty() -> list[Record]:
    """A meter by the minute and one by the half hour, with seven weeks of silence that end with a clock jump.

    Among them repeats, late readings, conflicts and values that no meter can give. In the end the second one's clock is
    a hundred days ahead for a while.
    """
    rng = np.random.default_rng(4)
    at, channels = household(DAYS, 3)
    at = np.where(at >= START + (DAYS - 2) * DAY, at + 50 * DAY, at)
    half, power = household(DAYS, 8, 1800)
    half = np.where(half >= START + (DAYS - 2) * DAY, half + 50 * DAY, half)
    rows: list[Record] = []
    for k, (now, values) in enumerate(zip(at.tolist(), channels.T.tolist(), strict=True)):
        if k and now - at[k - 1] > DAY:
            rows.append(("m", now - 3 * DAY, tuple(values)))  # a clock jump, until the next one goes on from there
        rows.append(("m", now, tuple(values)))
        dice = rng.random()
        if dice < 0.02:
            rows.append(rows[-1 - int(rng.integers(0, min(len(rows), 50)))])
        elif dice < 0.03:
            rows.append(("m", now - 30, tuple(values)))
        elif dice < 0.04:
            rows.append(("m", now, (7.7, *values[1:])))
        elif dice < 0.045:
            rows.append(("m", now + 60, (9e9, *values[1:])))
        if k % 30 == 0:
            alone = (float(power[0, k // 30]), *[math.nan] * 6)
            if now - at[k - 1] > DAY:
                rows.append(("h", now - 2 * DAY, alone))
            rows.append(("h", int(half[k // 30]), alone))
    wrong = [int(half[-1]) + 100 * DAY + 1800 * k for k in range(4)]
    right = [int(half[-1]) + 1800 * k for k in range(1, 3 * 48)]
    return rows + [("h", now, (float(now % 7), *[math.nan] * 6)) for now in wrong + right]


def table(records: list[Record], begin: int) -> pa.Table:
    rows = [
        {"partition": 0, "offset": begin + k, "key": meter.encode(), "value": b"", "meter_id": meter, "reason": None,
         "at": at, "channels": [None if math.isnan(value) else value for value in values]}
        for k, (meter, at, values) in enumerate(records)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=RECORDS)


def ask(service: TestClient, request: pa.Table) -> pa.Table:
    answer = service.post("/v1/score", content=as_stream(request), headers={"Content-Type": ARROW, "Accept": ARROW})
    assert answer.status_code == 200, answer.text
    return pa.ipc.open_stream(answer.content).read_all()


def stream(run_dir: Path, services: list[TestClient], records: list[Record], keep_s: int = 0, first: int = 0) -> None:
    """Take the records from `first` on in batches of any size, one cut behind a jump; each service has its share."""
    rng = np.random.default_rng(2)
    jumps = [k for k, (meter, at, _) in enumerate(records) if meter == "m" and at == START + (DAYS + 45) * DAY]
    cuts = rng.choice(np.arange(first + 1, len(records)), 40, replace=False).tolist()
    edges = sorted({*cuts, *(k + 1 for k in jumps if k >= first)})
    with MeterStore(run_dir / "meterwatch.db") as store:
        topic = Topic("first", "id", {0: (0, 0)})
        for begin, end in zip([first, *edges], [*edges, len(records)], strict=True):
            service = services[begin * len(services) // len(records)]
            offsets = {0: begin} if begin else {}
            batches = Batches(store, partial(ask, service), topic, offsets, keep_s)
            batches.take(table(records[begin:end], begin))
            batches.finish()
        while batches.tidy():
            pass


@pytest.fixture(scope="module")
def versions(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[ModelVersion]:
    """Two models that do not say the same."""
    other = tmp_path_factory.mktemp("other") / "bundle"
    shutil.copytree(bundle, other)
    told = json.loads((other / "calibration.json").read_text())
    (other / "calibration.json").write_text(json.dumps({**told, "offset": told["offset"] + 0.125}))
    seal(other)
    return [ModelVersion(str(k), f"run-{k}", path, frozenset(), {}) for k, path in ((1, bundle), (2, other))]


@pytest.fixture(scope="module")
def stored(versions: list[ModelVersion], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    run_dir = tmp_path_factory.mktemp("explain")
    records = dirty()
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "versions", lambda _: versions)
        services = [
            stack.enter_context(
                TestClient(create_app(Settings(run_dir=run_dir), find_champion=lambda found=found: found))
            )
            for found in versions
        ]
        stream(run_dir, services, records)
        half = next(at for meter, at, _ in records[len(records) // 2 :] if meter == "m")
        yield Stored(Settings(run_dir=run_dir), services[1], half)


def explained(stored: Stored, meter: str, at: int) -> dict[str, Any]:
    answer = stored.service.get(f"/v1/meters/{meter}/explain", params={"at": moment(at), "replay": True})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def moment(at: int) -> str:
    return str(np.datetime64(at, "s")) + "Z"


def rows(stored: Stored, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(stored.settings.run_dir / "meterwatch.db")) as db, db:
        return db.execute(sql).fetchall()


def test_any_verdict_is_computed_again_to_the_same_bits(stored: Stored) -> None:
    """Also the first of a meter, of a week, after a silence, and those about the change of models."""
    judged = rows(stored, "SELECT meter_id, at, status, reason FROM verdicts WHERE status != 'late'")
    rng = np.random.default_rng(1)
    chosen = {judged[k][:2] for k in rng.choice(len(judged), 12, replace=False).tolist()}
    weeks = rows(stored, "SELECT meter_id, at FROM state_snapshots")
    assert len(weeks) >= 2 * 4  # the beginning, two weeks, and the one after the silence
    for meter, at in weeks:
        chosen |= set(rows(stored, "SELECT meter_id, min(at) FROM verdicts WHERE status != 'late' "
                                   f"AND meter_id = '{meter}' AND at > {at}"))  # fmt: skip
    after = START + (DAYS + 48) * DAY
    chosen |= {(meter, at) for meter in "mh" for at in (after, after + 7200)}
    chosen |= {row[:2] for row in judged if row[0] == "m" and abs(row[1] - stored.switched_at) < 180}
    for meter, at in sorted(chosen):
        told = explained(stored, meter, at)
        assert told["replay"]["same"] is True, (meter, at, told["replay"], told["verdict"])
        score = told["verdict"]["score"]
        if score is not None:
            for amounts in ([one["amount"] for one in told["contributions"]], told["by_channel"].values(),
                            told["by_window_min"].values()):  # fmt: skip
                assert math.fsum(amounts) == pytest.approx(score, abs=2e-5)
    assert {row[2] for row in judged} == {"scored", "warming_up", "gap"}


def test_every_model_that_judged_takes_part(stored: Stored) -> None:
    """A reading soon after the change was judged from a state that the first model left."""
    versions = [explained(stored, "m", stored.switched_at + DAY * k)["replay"]["model_versions"] for k in range(-2, 3)]
    assert versions[0] == ["1"]
    assert ["1", "2"] in versions


def test_a_meter_that_started_anew_is_replayed_from_there(stored: Stored) -> None:
    """What its wrong clock told cannot be, and says so."""
    end = START + (DAYS + 50) * DAY
    judged = rows(stored, "SELECT at, status FROM verdicts WHERE meter_id = 'h' AND status != 'late' "
                          f"AND at >= {end} ORDER BY at")  # fmt: skip
    (*right, _, _, wrong) = judged
    assert {"warming_up", "scored"} <= {status for _, status in right}
    for at, _ in [*right[:2], right[len(right) // 2], *right[-2:]]:
        assert explained(stored, "h", at)["replay"]["same"] is True
    assert wrong[0] > end + 90 * DAY
    told = explained(stored, "h", wrong[0])["replay"]
    assert told["same"] is False
    assert "clock" in told["why"]


def test_it_says_where_it_comes_from_and_what_was_usual(stored: Stored) -> None:
    told = explained(stored, "m", START + 13 * DAY + 600)
    assert told["lineage"] == {"model_version": "2", "run_id": "run-2"}
    (normal,) = [hour for hour in told["same_hour_earlier_weeks"] if hour["at"] == moment(START + 6 * DAY)]
    assert normal["least_kw"] <= normal["mean_kw"] <= normal["greatest_kw"]
    assert told["nearest_normal"] in told["same_hour_earlier_weeks"]
    assert told["nearest_normal"]["anomalous"] == 0


def test_what_was_not_judged_in_order_says_so(stored: Stored) -> None:
    ((at,),) = rows(stored, "SELECT max(at) FROM verdicts WHERE meter_id = 'm' AND status = 'late'")
    told = explained(stored, "m", at)
    assert told["replay"] == {"same": None, "why": told["contributions_missing"]}
    assert "late" in told["contributions_missing"]


def test_an_altered_reading_is_noticed(stored: Stored) -> None:
    """What is compared is computed: another reading, another verdict."""
    ((at,),) = rows(stored, "SELECT max(at) FROM verdicts WHERE meter_id = 'm' AND score IS NOT NULL")
    where = f"WHERE meter_id = 'm' AND at = {at} - 60"
    ((power,),) = rows(stored, f"SELECT global_active_power FROM power_data {where}")
    rows(stored, f"UPDATE power_data SET global_active_power = global_active_power + 9 {where}")
    assert explained(stored, "m", at)["replay"]["same"] is False
    rows(stored, f"UPDATE power_data SET global_active_power = {power!r} {where}")
    assert explained(stored, "m", at)["replay"]["same"] is True


def test_a_model_that_is_gone_is_named(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "versions", lambda _: [])
    told = explained(stored, "m", START + 2 * DAY)
    assert told["replay"]["why"] == "model version 1, which judged, is not in the registry"
    assert told["verdict"]["status"] in ("scored", "gap")


def test_beyond_the_retention_it_says_so(versions: list[ModelVersion], tmp_path: Path) -> None:
    """What is pruned is named as such; what is kept is replayed as soon as a state from before it is kept too."""
    settings = Settings(run_dir=tmp_path)
    records = [record for record in dirty() if record[0] == "h" and record[1] < START + (DAYS - 2) * DAY]
    with TestClient(create_app(settings, find_champion=lambda: versions[0])) as service:
        stream(tmp_path, [service], records, keep_s=6 * DAY)
        kept = Stored(settings, service, 0)
        ((oldest, newest),) = rows(kept, "SELECT min(at), max(at) FROM power_data")
        ((state,),) = rows(kept, "SELECT min(at) FROM state_snapshots")
        assert newest - 6 * DAY == oldest < state < newest
        gone = service.get("/v1/meters/h/explain", params={"at": moment(START + DAY)})
        assert gone.status_code == 404
        assert "METERWATCH_RETENTION_DAYS" in gone.json()["detail"]
        early = explained(kept, "h", oldest)
        assert early["replay"]["same"] is None
        assert "pruned" in early["replay"]["why"]
        assert early["same_hour_earlier_weeks"]
        assert explained(kept, "h", newest)["replay"]["same"] is True
