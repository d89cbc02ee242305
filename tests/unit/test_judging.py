"""Neither company nor cutting into pieces changes an answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.detection.detector import Detector
from meterwatch.detection.memory import Memory
from meterwatch.detection.readings import Readings
from serving import jsontext, judging
from serving.champion import Model
from serving.judging import Together, judge
from serving.metrics import Metrics
from serving.problems import Problem
from serving.question import Question
from tests.households import household
from tests.instances import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

DAY_S = 86_400
AT, CHANNELS = household(days=3, seed=8)


@pytest.fixture(scope="module")
def model(bundle: Path) -> Model:
    return Model("1", bundle, Detector.load(bundle))


def question(meters: dict[str, int], state: bytes | None = None) -> Question:
    """Meters with so many readings each."""
    counts = list(meters.values())
    rows = np.concatenate([np.arange(count) for count in counts] or [np.zeros(0, np.int64)])
    readings = Readings(np.repeat(np.arange(len(meters)), counts), AT[rows], CHANNELS[:, rows])
    return Question(list(meters), [state] * len(meters), [None] * len(meters), readings)


def told(model: Model, asked: Question) -> bytes:
    """The whole answer as text, by which answers are compared to the last bit."""
    return jsontext.encode(asked, judge(asked, model, Metrics()), model.version)


@given(
    counts=st.lists(st.integers(0, 2000), min_size=1, max_size=6),
    piece=st.integers(1, 3000),
    meters=st.integers(1, 6),
)
@settings(max_examples=15, deadline=None)
def test_pieces_are_the_whole(model: Model, counts: list[int], piece: int, meters: int) -> None:
    asked = question({f"m{k}": count for k, count in enumerate(counts)})
    whole = told(model, asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "PIECE", piece)
        patch.setattr(judging, "PIECE_METERS", meters)
        assert told(model, asked) == whole


@given(
    requests=st.lists(
        st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 60), max_size=3), min_size=1, max_size=9
    )
)
@settings(max_examples=25, deadline=None)
def test_company_changes_nothing(model: Model, requests: list[dict[str, int]]) -> None:
    """Also where two requests ask for the same meter."""
    asked = [question(meters) for meters in requests]

    async def all_at_once() -> list[bytes]:
        together = Together(Metrics())
        answers = await asyncio.gather(*(together.judge(one, model) for one in asked))
        return [jsontext.encode(one, answer, "1") for one, answer in zip(asked, answers, strict=True)]

    assert asyncio.run(all_at_once()) == [told(model, one) for one in asked]


def test_one_at_fault_harms_no_other(model: Model) -> None:
    good, bad = question({"a": 5}), question({"x": 1, "b": 5}, state=b"foreign")

    async def both() -> list[object]:
        together = Together(Metrics())
        return list(await asyncio.gather(*(together.judge(one, model) for one in (good, bad)), return_exceptions=True))

    answer, error = asyncio.run(both())
    assert isinstance(error, Problem)
    assert error.status_code == 422
    assert error.errors[0][0] == "meters[0].state"
    assert jsontext.encode(good, answer, "1") == told(model, good)  # type: ignore[arg-type]


def test_a_forged_state_holds_nobody_up(model: Model) -> None:
    """One whose open event has no number for its severity, and ends with the next reading; sealed well."""
    memory = Memory.decode(["x"], [None], [None])
    memory.hot["newest"] = memory.hot["ev_start"] = memory.hot["ev_last"] = AT[0] - DAY_S
    memory.hot["ev_score"] = np.nan
    forged, good = question({"x": 1}, state=memory.encode_states()[0]), question({"a": 5})

    async def both() -> list[object]:
        together = Together(Metrics())
        asked = [asyncio.ensure_future(together.judge(one, model)) for one in (forged, good)]
        return list(await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), PATIENCE))

    _, answer = asyncio.run(both())
    assert jsontext.encode(good, answer, "1") == told(model, good)  # type: ignore[arg-type]
