"""The study's ablations: what is left out is left out, and nothing else."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from meterwatch.detection.faults import Label
from meterwatch.detection.rounds import Trace
from training.judged import Judged
from training.series import Series
from training.study import slots_scored, without, without_teaching
from training.teaching import Copy, Rows

DAY_S = 86_400
SURGE, STUCK = Label("surge", 2 * DAY_S, 2 * DAY_S + 3600, 0.5, 1.0), Label("stuck", 6 * DAY_S, 7 * DAY_S, 0.5, 1.0)


def _judged() -> Judged:
    at = np.arange(0, 10 * DAY_S, 900)
    rng = np.random.default_rng(0)
    trace = Trace(slot_at=[at[:400], at[400:]], slot_meter=[np.zeros(400, np.int64), np.zeros(len(at) - 400, np.int64)])
    values = rng.normal(size=(len(at), 4)).astype(np.float32)
    values[::7, 2] = np.nan
    trace.deviations = [values[:400], values[400:]]
    nothing: Any = None
    return Judged(Series("m", at, np.zeros((7, len(at)))), [SURGE, STUCK], nothing, trace, [])


def test_untaught_is_the_largest_statistic() -> None:
    copy = _judged()
    expected = [max(v for v in row if not math.isnan(v)) for row in np.concatenate(copy.trace.deviations).tolist()]
    assert without_teaching(copy.trace).tolist() == expected


def test_one_kind_is_looked_for_clear_of_the_others() -> None:
    (everything,), (one,) = (slots_scored([_judged()], without_teaching, kind) for kind in (None, "surge"))
    assert list(everything.labels) == [SURGE, STUCK]
    assert len(everything.at) == 960
    assert list(one.labels) == [SURGE]
    assert not ((one.at >= STUCK.start_at) & (one.at <= STUCK.end_at + DAY_S)).any()
    assert len(one.at) == 960 - int(((everything.at >= STUCK.start_at) & (everything.at <= STUCK.end_at + DAY_S)).sum())
    kept = np.isin(everything.at, one.at)
    np.testing.assert_array_equal(one.score, everything.score[kept])


def test_a_kind_left_out_teaches_nothing() -> None:
    at = np.arange(0, 10 * DAY_S, 900)
    label = np.where((at >= SURGE.start_at) & (at <= SURGE.end_at), 1, 0)
    label[(at >= STUCK.start_at) & (at <= STUCK.end_at)] = 1
    part = Rows(np.zeros(len(at), np.int64), at, np.zeros((len(at), 2)), label, np.ones(len(at)))
    copy = Copy(part, [[SURGE, STUCK]])
    shown = without(copy, "stuck")
    assert (shown.label == 1).all()
    assert shown.at.min() >= SURGE.start_at
    assert shown.at.max() <= SURGE.end_at
    assert len(without(copy, "surge").at) == 97
