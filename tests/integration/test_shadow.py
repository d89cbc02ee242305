"""A challenger in the champion's shadow: what it would have said, counted once, and nothing else touched."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from meterwatch.detection.detector import REFERENCE, seal
from meterwatch.detection.drift import SIGNALS
from meterwatch.kafka import Topic
from meterwatch.settings import Settings
from meterwatch.storage import lending, queries, shadow
from meterwatch.storage.meters import MeterStore
from meterwatch.storage.models import ModelVersion
from serving import shadowing
from serving.app import create_app
from serving.champion import Champion
from serving.drifting import Drift, Drifting
from serving.metrics import Metrics
from serving.shadowing import Shadow
from streaming.batches import Batches
from tests.households import household
from tests.instances import ROOT, wait_for
from tests.integration.test_explain import Record, ask, table
from tests.stored import store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY, CADENCE = 86_400, 300
STREAMS = ("power_data", "verdicts", "events", "hot_states", "profiles", "offsets", "state_snapshots")
JUDGING = """
import sys
from pathlib import Path
from tests.integration import test_shadow as own
shadowing = own.shadowing
shadowing.READINGS = 40
judging = own.judging(Path(sys.argv[1]), own.version("1", Path(sys.argv[2])), own.version("2", Path(sys.argv[3])))
while True:
    judging.look()
"""


def version(number: str, bundle: Path) -> ModelVersion:
    return ModelVersion(number, None, bundle, frozenset(), {})


def with_threshold(bundle: Path, directory: Path, threshold: float) -> Path:
    """The same models with another threshold: their scores are the same, and what they call anomalous is not."""
    shutil.copytree(bundle, directory)
    params = json.loads((directory / "params.json").read_text())
    (directory / "params.json").write_text(json.dumps({**params, "threshold": threshold}))
    seal(directory)
    return directory


@pytest.fixture(scope="module")
def champion(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelVersion:
    return version("1", with_threshold(bundle, tmp_path_factory.mktemp("champion") / "bundle", -0.5))


@pytest.fixture(scope="module")
def bolder(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelVersion:
    return version("2", with_threshold(bundle, tmp_path_factory.mktemp("bolder") / "bundle", -1.3))


@pytest.fixture(scope="module")
def service(champion: ModelVersion, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = Settings(run_dir=tmp_path_factory.mktemp("service"))
    with TestClient(create_app(settings, find_champion=lambda: champion)) as client:
        yield client


def records(days: int = 5) -> list[Record]:
    """Three meters that take turns, with faults, repeats, late readings and conflicts; one has a clock that jumps."""
    rng = np.random.default_rng(3)
    rows: list[Record] = []
    houses = [household(days, seed, CADENCE) for seed in (1, 2, 3)]
    for k in range(len(houses[0][0])):
        for number, (at, channels) in enumerate(houses):
            now, values = int(at[k]), channels[:, k].copy()
            if number and k > len(at) - 200 * number:
                values[0] += 4
            if number == 2 and k >= len(at) // 2:
                now += 40 * DAY
                if k == len(at) // 2:
                    rows.append(("m2", now - DAY, tuple(values)))
            rows.append((f"m{number}", now, tuple(values)))
            dice = rng.random()
            if dice < 0.02:
                rows.append(rows[-1])
            elif dice < 0.03:
                rows.append((f"m{number}", now - 30, tuple(values)))
            elif dice < 0.04:
                rows.append((f"m{number}", now, (9.0, *values[1:])))
    return rows


def let_go() -> None:
    """Before a stream writes in this process: no other SQLite may have the file open in it then, see `migrate`."""
    if hasattr(lending._local, "db"):
        lending._local.db.close()
        del lending._local.db, lending._local.identity


class Stream:
    """Takes records in batches of any size through the real service into a real database."""

    def __init__(self, run_dir: Path, service: TestClient) -> None:
        self.file = run_dir / "meterwatch.db"
        self.service = service
        self.taken = 0

    def take(self, rows: list[Record]) -> None:
        """Judge and commit."""
        if hasattr(lending._local, "db"):
            lending._local.db.close()
            del lending._local.db, lending._local.identity
        with MeterStore(self.file) as store:
            offsets = {0: self.taken} if self.taken else {}
            batches = Batches(store, partial(ask, self.service), Topic("first", "id", {0: (0, 0)}), offsets, 0)
            batches.take(table(rows, self.taken))
            batches.finish()
        self.taken += len(rows)


def judging(run_dir: Path, judges: ModelVersion, challenges: ModelVersion | None) -> Shadow:
    """A shadow by itself, without a thread of its own."""
    champion = Champion(lambda: judges)
    champion.refresh()
    return Shadow(Settings(run_dir=run_dir), lambda: challenges, champion, Metrics())


def to_the_end(judge: Shadow) -> None:
    while judge.look() < shadowing.LOOK_SECONDS:
        pass


def rows(file: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        return db.execute(sql).fetchall()


def told(run_dir: Path) -> tuple[shadow.Comparison, shadow.Events, list[dict[str, Any]]]:
    with queries.reading(Settings(run_dir=run_dir)) as db:
        found = shadow.comparison(db)
        assert found is not None
        return found, shadow.events(db), shadow.alone(db)


def filled(run_dir: Path, service: TestClient, *judges: Shadow) -> Path:
    """Take all records, the first third before anybody looks, and have the judges look in between."""
    taken, stream = records(), Stream(run_dir, service)
    rng = np.random.default_rng(4)
    cuts = sorted(rng.choice(np.arange(len(taken) // 3, len(taken)), 12, replace=False).tolist())
    for begin, end in zip([0, *cuts], [*cuts, len(taken)], strict=True):
        stream.take(taken[begin:end])
        for judge in judges:
            judge.look()
    for judge in judges:
        to_the_end(judge)
    return stream.file


@pytest.mark.parametrize("piece", [37, 2000])
def test_the_same_model_agrees_with_itself_to_the_bit(
    champion: ModelVersion, service: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    """However the readings are cut: its states are the stream's, each scored reading since it began counts once."""
    monkeypatch.setattr(shadowing, "READINGS", piece)
    file = filled(tmp_path, service, judging(tmp_path, champion, version("2", champion.bundle_dir)))
    found, events, alone = told(tmp_path)
    assert rows(file, "SELECT meter_id, at, state, profile FROM shadow_states ORDER BY 1") == rows(
        file, "SELECT meter_id, at, state, profile FROM meter_states ORDER BY 1"
    )
    since = "FROM verdicts AS v JOIN shadow_states AS s ON s.meter_id = v.meter_id WHERE v.at > s.since"
    ((scored, anomalous),) = rows(file, f"SELECT count(score), sum(anomalous) {since}")
    assert (found.counts.readings, found.counts.both) == (scored, anomalous)
    assert anomalous > 0
    assert (found.agreement, found.behind_s, found.meters, found.counts.begun_again) == (1.0, 0, 3, 0)
    assert events.champion == events.challenger > 0
    assert (events.champion_only, events.challenger_only, alone) == (0, 0, [])


def test_another_threshold_is_compared_reading_by_reading_and_touches_nothing(
    champion: ModelVersion, bolder: ModelVersion, service: TestClient, tmp_path: Path
) -> None:
    """The counts are those that the stored scores give; what the stream wrote is what it writes without one."""
    (tmp_path / "alone").mkdir()
    plain = filled(tmp_path / "alone", service)
    file = filled(tmp_path, service, judging(tmp_path, champion, bolder))
    for name in STREAMS:
        assert rows(file, f"SELECT * FROM {name}") == rows(plain, f"SELECT * FROM {name}"), name
    found, events, alone = told(tmp_path)
    since = "FROM verdicts AS v JOIN shadow_states AS s ON s.meter_id = v.meter_id WHERE v.at > s.since"
    ((readings, both, bold),) = rows(file, f"SELECT count(score), sum(anomalous), sum(score >= -1.3) {since}")
    counts = found.counts
    assert (counts.readings, counts.both, counts.champion_only) == (readings, both, 0)
    assert counts.challenger_only == bold - both > 0
    assert found.agreement == pytest.approx(1 - (bold - both) / readings)
    began = "e.meter_id, e.start_at, coalesce(e.end_at, s.at) FROM {} AS e JOIN shadow_states AS s USING (meter_id)"
    sides = [rows(file, f"SELECT e.event_id, {began.format(name)}") for name in ("events", "shadow_events")]
    known = dict(rows(file, "SELECT meter_id, since FROM shadow_states"))
    expected: dict[str, set[str]] = {}
    for side, mine, others in (("champion", *sides), ("challenger", *sides[::-1])):
        expected[side] = {
            key for key, meter, start, end in mine
            if start > known[meter] and not any(m == meter and b <= end and e >= start for _, m, b, e in others)
        }  # fmt: skip
    assert events.challenger_only == len(expected["challenger"]) > 0
    assert events.champion_only == len(expected["champion"])
    assert {(one["side"], one["event_id"]) for one in alone} == {
        (s, key) for s, keys in expected.items() for key in keys
    }


def test_a_killed_process_leaves_nothing_counted_twice(
    champion: ModelVersion, bolder: ModelVersion, service: TestClient, tmp_path: Path
) -> None:
    """Killed between any two steps or within one, again and again, it comes to what it comes to undisturbed."""
    (tmp_path / "calm").mkdir()
    taken = records(3)
    answers = []
    for directory in (tmp_path / "calm", tmp_path):
        stream, judge = Stream(directory, service), judging(directory, champion, bolder)
        stream.take(taken[: len(taken) // 3])
        to_the_end(judge)  # the meters are taken up
        stream.take(taken[len(taken) // 3 :])
        judge.stop()
        for k in range(0 if directory.name == "calm" else 3):
            before = told(directory)[0].step
            process = subprocess.Popen(
                [sys.executable, "-c", JUDGING, str(directory), str(champion.bundle_dir), str(bolder.bundle_dir)],
                cwd=ROOT,
            )
            try:
                wait_for("some steps", lambda: told(directory)[0].step >= before + 2 + k, seconds=60)  # noqa: B023
            finally:
                process.kill()
                process.wait()
        to_the_end(judging(directory, champion, bolder))
        found, *events = told(directory)
        states = rows(stream.file, "SELECT meter_id, since, at, state, profile FROM shadow_states ORDER BY 1")
        answers.append((found.counts, events, states))
    assert answers[0] == answers[1]


def test_of_two_services_one_compares_until_it_is_gone(
    champion: ModelVersion, bolder: ModelVersion, service: TestClient, tmp_path: Path
) -> None:
    taken, stream = records(2), Stream(tmp_path, service)
    stream.take(taken[:900])
    first, second = (judging(tmp_path, champion, bolder) for _ in range(2))
    to_the_end(first)
    before = told(tmp_path)[0]
    stream.take(taken[900:])
    to_the_end(second)
    assert told(tmp_path)[0] == before
    first.stop()
    to_the_end(second)
    assert told(tmp_path)[0].step > before.step
    second.stop()


def test_whoever_is_late_writes_nothing(
    champion: ModelVersion, bolder: ModelVersion, service: TestClient, tmp_path: Path
) -> None:
    """Should two compare after all, as on two machines without a common lock."""
    stream = Stream(tmp_path, service)
    stream.take(records(2)[:900])
    to_the_end(judging(tmp_path, champion, bolder))
    found = told(tmp_path)[0]
    with closing(sqlite3.connect(stream.file)) as db:
        for late in (found._replace(step=found.step - 1), found._replace(champion="7")):
            with pytest.raises(shadow.MovedError):
                shadow.add(db, late, shadow.Counts(readings=1), [], [], now=0, behind_s=0)


def test_a_promotion_ends_it_and_another_champion_begins_it_anew(
    champion: ModelVersion, bolder: ModelVersion, service: TestClient, tmp_path: Path
) -> None:
    known, challengers = [champion], [bolder]
    judge = Champion(lambda: known[-1])
    judge.refresh()
    compares = Shadow(Settings(run_dir=tmp_path), lambda: challengers[-1] if challengers else None, judge, Metrics())
    stream, taken = Stream(tmp_path, service), records(2)
    stream.take(taken[:700])
    to_the_end(compares)
    stream.take(taken[700:])
    to_the_end(compares)
    assert told(tmp_path)[0].counts.unscored + told(tmp_path)[0].counts.readings > 0

    known.append(version("3", champion.bundle_dir))  # another one was promoted: a rollback looks the same
    judge.refresh()
    to_the_end(compares)
    found = told(tmp_path)[0]
    assert (found.champion, found.counts) == ("3", shadow.Counts())
    assert found.meters == 3

    known.append(bolder)
    judge.refresh()
    challengers.clear()
    compares.look()
    for name in ("shadow", "shadow_states", "shadow_events"):
        assert rows(stream.file, f"SELECT count(*) FROM {name}") == [(0,)]
    compares.stop()


def test_a_meter_that_cannot_be_followed_is_taken_up_anew_and_it_is_told(
    champion: ModelVersion, bolder: ModelVersion, service: TestClient, tmp_path: Path
) -> None:
    """What it had not seen was pruned."""
    taken, stream, judge = records(2), Stream(tmp_path, service), judging(tmp_path, champion, bolder)
    stream.take(taken[:700])
    to_the_end(judge)
    stream.take(taken[700:])
    with closing(sqlite3.connect(stream.file)) as db, db:
        newest = "(SELECT max(at) FROM power_data AS q WHERE q.meter_id = 'm0')"
        for name in ("verdicts", "power_data"):
            db.execute(f"DELETE FROM {name} WHERE meter_id = 'm0' AND at < {newest} - 7200")
    to_the_end(judge)
    found, *_ = told(tmp_path)
    assert found.counts.begun_again == 1
    assert found.behind_s == 0
    assert rows(stream.file, "SELECT s.at FROM shadow_states AS s WHERE meter_id = 'm0'") == rows(
        stream.file, "SELECT at FROM hot_states WHERE meter_id = 'm0'"
    )
    judge.stop()


def test_a_challenger_that_is_not_whole_is_refused(
    champion: ModelVersion, service: TestClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "bundle"
    shutil.copytree(champion.bundle_dir, broken)
    (broken / "params.json").write_text("{}")
    stream, judge = Stream(tmp_path, service), judging(tmp_path, champion, version("2", broken))
    stream.take(records(1)[:200])
    to_the_end(judge)
    to_the_end(judge)
    assert rows(stream.file, "SELECT count(*) FROM shadow") == [(0,)]
    said = [record.message for record in caplog.records if "refused" in record.message]
    fact = f"{broken}/params.json was altered: its hash is not the manifest's; run `dvc repro`"
    assert said == [f"the challenger, model version 2, is refused: {fact}"]


def test_the_service_tells_how_it_stands(
    champion: ModelVersion, bolder: ModelVersion, service: TestClient, tmp_path: Path
) -> None:
    """In the list of models, to Prometheus and on the page, while clients are answered."""
    settings = Settings(run_dir=tmp_path)
    app = create_app(settings, find_champion=lambda: champion, find_challenger=lambda: bolder)
    Stream(tmp_path, service).take(records(2))
    with TestClient(app) as client:
        found = wait_for("a comparison", lambda: client.get("/v1/models").json()["shadow"], seconds=30)
        assert (found["challenger"], found["champion"]) == ("2", "1")
        text = client.get("/metrics").text
        assert 'meterwatch_shadow_behind_seconds{challenger="2"} 0.0' in text


def test_the_newest_day_is_compared_once_there_is_a_week_and_a_shifted_channel_stands_out(
    bundle: Path, tmp_path: Path
) -> None:
    """Each look answers from what is stored; only the shifted channel's distance grows."""
    at, channels = household(11, 7, CADENCE)
    days, told = len(at) // 11, []
    model = version("1", bundle)
    champion, metrics = Champion(lambda: model), Metrics()
    champion.refresh()
    for begin, end, by in ((0, 7, 0.0), (7, 10, 0.0), (10, 11, 5.0)):
        rows = slice(begin * days, end * days)
        part = channels[:, rows].copy()
        part[2] += by
        let_go()
        store(tmp_path / "meterwatch.db", "m", at[rows], part)
        looks = Drifting(Settings(run_dir=tmp_path), champion, metrics)
        looks.look()
        assert looks.current is not None
        told.append(looks.current)
    assert [one.meters for one in told] == [0, 1, 1]
    before, after = ({one.signal: one for one in found.distances or ()} for found in told[1:])
    assert set(before) == set(SIGNALS)
    assert after["voltage_v"].drifted
    assert (after["voltage_v"].distance or 0) > 0.3 > 6 * (before["voltage_v"].distance or 1)
    moved = {name for name, one in after.items() if abs((one.distance or 0) - (before[name].distance or 0)) > 0.1}
    assert moved <= {"voltage_v", "power_factor", "score"}
    sample = metrics.registry.get_sample_value("meterwatch_drift_distance", {"signal": "voltage_v"})
    assert sample == after["voltage_v"].distance


def test_a_bundle_without_a_reference_is_unknown(bundle: Path, tmp_path: Path) -> None:
    older = shutil.copytree(bundle, tmp_path / "older")
    (older / REFERENCE).unlink()
    seal(older)
    champion = Champion(lambda: version("1", older))
    champion.refresh()
    looks = Drifting(Settings(run_dir=tmp_path), champion, Metrics())
    looks.look()
    assert looks.current == Drift("1", 0, None)


def test_a_meter_whose_clock_was_wrong_is_followed_from_its_new_beginning(
    champion: ModelVersion, service: TestClient, tmp_path: Path
) -> None:
    """The stream took it in anew, and so does the challenger; from then on the states are equal again."""
    at, channels = household(2, 1, CADENCE)
    judge = judging(tmp_path, champion, version("2", champion.bundle_dir))
    stream, half = Stream(tmp_path, service), len(at) // 2
    wrong = [int(at[half]) + 100 * DAY + CADENCE * k for k in range(4)]
    steps = ([*at[:half].tolist()], wrong, [*at[half:-50].tolist()], [*at[-50:].tolist()])
    for times in steps:
        stream.take([("m0", when, tuple(channels[:, k])) for k, when in enumerate(times)])
        to_the_end(judge)
    found, *_ = told(tmp_path)
    assert (found.counts.begun_again, found.behind_s) == (1, 0)
    assert rows(stream.file, "SELECT at, state, profile FROM shadow_states") == rows(
        stream.file, "SELECT at, state, profile FROM meter_states"
    )
    judge.stop()
