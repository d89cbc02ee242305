"""The gate: who may judge after whom, by a paired bootstrap, on models and outcomes that are known."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterwatch.detection.detector import MANIFEST, Detector, seal
from meterwatch.detection.errors import DataError
from meterwatch.storage.models import BUNDLE_SHA256, ModelVersion
from tests.households import in_parts
from training import gate
from training.judged import evaluated_on, judge_copies, known_before
from training.outcomes import Outcomes, outcomes
from training.params import Evaluate, load

if TYPE_CHECKING:
    from pathlib import Path

    from training.prepared import Prepared

ASKED = Evaluate(copies=2, faults_per_month=20.0, budget=1.0, seed=5)
TOLD = load().register_.model_copy(update={"resamples": 200})
FAULTS: list[list[str | int]] = [[0, ("surge", "theft")[i % 2], i] for i in range(40)]
BITS = st.lists(st.booleans(), min_size=40, max_size=40)
DAYS = st.lists(st.integers(0, 3), min_size=60, max_size=60)


def found(bits: list[bool], days: list[int]) -> Outcomes:
    return Outcomes("these", FAULTS, bits, days)


@given(BITS, DAYS)
def test_a_model_is_not_worse_than_itself(bits: list[bool], days: list[int]) -> None:
    checks = gate.compare(found(bits, days), found(bits, days), TOLD)

    assert [one.name for one in checks] == [
        "recall", "recall of surge", "recall of theft", "false alarms a month as shipped"
    ]  # fmt: skip
    assert {(one.worse, one.chance, one.passed) for one in checks} == {(0.0, 0.0, True)}


@given(BITS, BITS, DAYS, st.integers(0, 39))
def test_a_fault_more_missed_never_lowers_the_chance_that_it_is_worse(
    before: list[bool], now: list[bool], days: list[int], missed: int
) -> None:
    less = [bit and i != missed for i, bit in enumerate(now)]

    one, other = (gate.compare(found(before, days), found(bits, days), TOLD) for bits in (now, less))

    for more, fewer in zip(one, other, strict=True):
        assert fewer.chance >= more.chance
        assert fewer.low <= fewer.high


def test_a_kind_that_is_lost_refuses_what_is_better_overall() -> None:
    before = [kind == "theft" or i < 4 for i, (_, kind, _) in enumerate(FAULTS)]
    now = [kind == "surge" for _, kind, _ in FAULTS]

    checks = {one.name: one for one in gate.compare(found(before, [0] * 60), found(now, [0] * 60), TOLD)}

    assert checks["recall of theft"].passed is False
    assert checks["recall of surge"].passed is True


def test_false_alarms_refuse_what_finds_everything() -> None:
    checks = gate.compare(found([True] * 40, [0] * 60), found([True] * 40, [1, 0] * 30), TOLD)

    assert [one.name for one in checks if not one.passed] == ["false alarms a month as shipped"]


@pytest.fixture(scope="module")
def data() -> Prepared:
    return in_parts()


@pytest.fixture(scope="module")
def ours(bundle: Path, data: Prepared) -> Outcomes:
    """What the bundle finds."""
    detector = Detector.load(bundle)
    copies = judge_copies(detector, known_before(detector, data), data, ASKED)
    return outcomes(copies, evaluated_on(copies, ASKED.budget), budget=ASKED.budget, threshold=0.0)


def champion(bundle: Path) -> ModelVersion:
    tags = {BUNDLE_SHA256: Detector.load(bundle).bundle_hash}
    return ModelVersion("3", "run", bundle, frozenset({"champion"}), tags)


@pytest.fixture
def own(bundle: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return shutil.copytree(bundle, tmp_path / "own")


def decided(bundle: Path, ours: Outcomes, before: ModelVersion | None, data: Prepared) -> gate.Decision:
    return gate.decide(Detector.load(bundle), ours, before, data, ASKED, TOLD)


def test_outcomes_are_written_and_read(ours: Outcomes, tmp_path: Path) -> None:
    ours.write(tmp_path / "o.json")

    assert Outcomes.read(tmp_path / "o.json") == ours
    assert len(ours.found) == len(ours.faults) > 0
    (tmp_path / "o.json").write_text("{")
    with pytest.raises(DataError, match="dvc repro -f evaluate"):
        Outcomes.read(tmp_path / "o.json")


def test_the_first_version_is_let_through_and_that_is_said(bundle: Path, ours: Outcomes, data: Prepared) -> None:
    decision = decided(bundle, ours, None, data)

    assert decision.passed
    assert decision.why.startswith("the first version")
    assert decision.checks == []


def test_the_champion_is_judged_again_on_the_same_faults(
    bundle: Path, own: Path, ours: Outcomes, data: Prepared
) -> None:
    told = json.loads((own / "params.json").read_text())
    (own / "params.json").write_text(json.dumps({**told, "threshold": 9.0}))  # as champion: never a false alarm
    seal(own)

    decision = decided(bundle, ours, champion(own), data)

    assert {one.worse for one in decision.checks if one.name.startswith("recall")} == {0.0}
    assert len(decision.checks) == len(set(ours.kinds)) + 3
    alarms = next(one for one in decision.checks if one.name.startswith("false alarms"))
    assert (alarms.champion, alarms.worse) == (0.0, alarms.challenger)
    assert json.loads(decision.to_json())[0]["name"] == "recall"
    assert decision.table().count("\n") == len(decision.checks) + 2


def test_without_a_champion_that_this_code_reads_there_is_nothing_to_compare_with(
    bundle: Path, own: Path, ours: Outcomes, data: Prepared
) -> None:
    before = champion(own)
    (own / "forest.treelite").write_bytes(b"tampered with")
    altered = decided(bundle, ours, before, data)
    manifest = json.loads((own / MANIFEST).read_text())
    (own / MANIFEST).write_text(json.dumps({**manifest, "schema": Detector.schema - 1}))
    older = decided(bundle, ours, before, data)
    (own / MANIFEST).unlink()
    gone = decided(bundle, ours, before, data)
    swapped = decided(bundle, ours, replace(champion(bundle), tags={BUNDLE_SHA256: "another"}), data)

    for decision in (altered, older, gone, swapped):
        assert decision.passed
        assert "champion 3 cannot be judged again" in decision.why


def test_outcomes_of_other_readings_are_not_compared(bundle: Path, ours: Outcomes, data: Prepared) -> None:
    with pytest.raises(DataError, match="dvc repro"):
        decided(bundle, replace(ours, evaluated_on="others"), champion(bundle), data)
