"""How questions reach the detector: large ones in pieces, small ones that come together as one.

Neither changes an answer, because a detector judges each meter for itself, to the last bit the same in any company.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from meterwatch.detection.errors import StateError
from meterwatch.detection.readings import Observation, Readings, Verdicts
from meterwatch.storage import states
from serving.problems import Problem
from serving.question import Question

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from serving.champion import Model
    from serving.metrics import Metrics

PIECE = 20_000  # readings: more in one call are no faster, and leave the process larger for good
PIECE_METERS = 1_000
CORES = 2  # that one request keeps busy: the arithmetic lets other threads run
AT_ONCE = 256  # readings that small questions are put together to: some milliseconds of work
_NUMBERS = ("status", "score", "threshold", "anomalous", "expected_kw", "lower_kw", "upper_kw")


def judge(question: Question, model: Model, metrics: Metrics) -> Observation:
    """Have a question answered, in pieces of whole meters.

    Raises:
        Problem: 422, a state or profile is damaged or foreign.
    """
    begun = time.perf_counter()
    parts = list(_pieces(question))
    pieces = [_observe(parts[0], model)] if len(parts) == 1 else list(_pool().map(_observe, parts, repeat(model)))
    observed = pieces[0] if len(pieces) == 1 else _joined(pieces)
    metrics.scored(question.readings, observed, time.perf_counter() - begun)
    return observed


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(CORES, thread_name_prefix="judging")


def _observe(question: Question, model: Model) -> Observation:
    if not question.meter_ids:
        return _nothing()
    try:
        return model.detector.observe(question.meter_ids, question.states, question.profiles, question.readings)
    except StateError as error:
        k = question.meter_ids.index(error.meter_id)
        state, detail = question.states[k], str(error)
        if state is not None and states.is_stale(state):
            detail += f"; if it is a stream's, {states.NEXT_STEP.format(model.version)}"
        raise Problem(422, detail, errors=[(f"meters[{question.first + k}].{error.part}", str(error))]) from None


def _nothing() -> Observation:
    none = np.zeros(0)
    flags, codes = np.zeros(0, np.bool_), np.zeros(0, np.int32)
    return Observation([], [], Verdicts(np.zeros(0, np.int8), none, none, flags, none, none, none, codes, ()), [])


def _pieces(question: Question) -> Iterator[Question]:
    """Runs of meters, not many, with about `PIECE` readings; a single meter is never divided."""
    meters, meter = len(question.meter_ids), question.readings.meter
    if len(meter) <= PIECE and meters <= PIECE_METERS:
        yield question
        return
    bounds = np.searchsorted(meter, np.arange(meters + 1))
    first = 0
    while first < meters:
        last = max(int(np.searchsorted(bounds, bounds[first] + PIECE, side="right")) - 1, first + 1)
        last = min(last, first + PIECE_METERS)
        part = slice(bounds[first], bounds[last])
        readings = question.readings
        yield Question(
            question.meter_ids[first:last],
            question.states[first:last],
            question.profiles[first:last],
            Readings(readings.meter[part] - first, readings.at[part], readings.channels[:, part]),
            first,
        )
        first = last


def _joined(pieces: Sequence[Observation]) -> Observation:
    """The pieces' observations as the one of the whole."""
    reasons: list[str] = []
    codes: list[NDArray[np.int32]] = []
    events = []
    meters = 0
    for piece in pieces:
        codes.append(piece.verdicts.reason + np.int32(len(reasons)))
        reasons += piece.verdicts.reasons
        events += [replace(event, meter=event.meter + meters) for event in piece.events]
        meters += len(piece.states)
    columns = {name: np.concatenate([getattr(piece.verdicts, name) for piece in pieces]) for name in _NUMBERS}
    return Observation(
        [state for piece in pieces for state in piece.states],
        [profile for piece in pieces for profile in piece.profiles],
        Verdicts(**columns, reason=np.concatenate(codes), reasons=tuple(reasons)),
        events,
    )


class _Waiting(NamedTuple):
    question: Question
    model: Model
    answer: asyncio.Future[Observation]


class Together:
    """Puts small questions that have arrived meanwhile into one call, so that many callers cost little more."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._waiting: list[_Waiting] = []

    async def judge(self, question: Question, model: Model) -> Observation:
        """As `judge`, on the event loop.

        Raises:
            Problem: as `judge`; of this question alone.
        """
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._answer)
        waiting = _Waiting(question, model, loop.create_future())
        self._waiting.append(waiting)
        return await waiting.answer

    def _answer(self) -> None:
        chosen = self._choose()
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._answer)
        if len(chosen) == 1 or not self._answer_as_one(chosen):
            for one in chosen:
                try:
                    observed = judge(one.question, one.model, self._metrics)
                except Exception as error:  # noqa: BLE001 - it is the caller's
                    if not one.answer.done():
                        one.answer.set_exception(error)
                else:
                    if not one.answer.done():
                        one.answer.set_result(observed)

    def _choose(self) -> list[_Waiting]:
        """The first one, and those that go with it: the same model, other meters."""
        chosen: list[_Waiting] = []
        left: list[_Waiting] = []
        meters: set[str] = set()
        readings = 0
        for one in self._waiting:
            count = len(one.question.readings.at)
            fits = not chosen or (one.model is chosen[0].model and readings + count <= AT_ONCE)
            if one.answer.done():  # the caller has gone away
                continue
            if fits and meters.isdisjoint(one.question.meter_ids):
                chosen.append(one)
                meters.update(one.question.meter_ids)
                readings += count
            else:
                left.append(one)
        self._waiting = left
        return chosen

    def _answer_as_one(self, chosen: list[_Waiting]) -> bool:
        """Answer all in one call; False where one of them is at fault, so that each is asked for itself."""
        questions = [one.question for one in chosen]
        counts = [len(question.meter_ids) for question in questions]
        firsts = np.cumsum([0, *counts]).tolist()
        whole = Question(
            [meter_id for question in questions for meter_id in question.meter_ids],
            [state for question in questions for state in question.states],
            [profile for question in questions for profile in question.profiles],
            Readings(
                np.concatenate([q.readings.meter + first for q, first in zip(questions, firsts, strict=False)]),
                np.concatenate([question.readings.at for question in questions]),
                np.concatenate([question.readings.channels for question in questions], axis=1),
            ),
        )
        try:
            observed = judge(whole, chosen[0].model, self._metrics)
        except Exception:  # noqa: BLE001 - whose fault it was is found by asking each
            return False
        begin = 0
        for one, first, count in zip(chosen, firsts, counts, strict=False):
            end = begin + len(one.question.readings.at)
            if not one.answer.done():
                one.answer.set_result(_part(observed, first, count, slice(begin, end)))
            begin = end
        return True


def _part(observed: Observation, first: int, count: int, rows: slice) -> Observation:
    """What of an observation belongs to `count` meters from `first` on, with their readings `rows`."""
    columns = {name: getattr(observed.verdicts, name)[rows] for name in (*_NUMBERS, "reason")}
    meters = slice(first, first + count)
    mine = range(first, first + count)
    return Observation(
        observed.states[meters],
        observed.profiles[meters],
        Verdicts(**columns, reasons=observed.verdicts.reasons),
        [replace(event, meter=event.meter - first) for event in observed.events if event.meter in mine],
    )
