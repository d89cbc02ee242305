"""A score counts as far as it exceeds what the last day has shown already."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from meterwatch.detection.novelty import HOURS, NOTHING, novel, novel_from_start
from tests import naive

HOUR_S = 3600
DAY0 = 400_000 * HOUR_S
STEPS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 90_000), st.floats(-5, 9, width=32)), max_size=60)


def columns(
    steps: list[tuple[int, int, float]],
) -> tuple[
    np.ndarray[tuple[int], np.dtype[np.int64]],
    np.ndarray[tuple[int], np.dtype[np.int64]],
    np.ndarray[tuple[int], np.dtype[np.float64]],
]:
    """Meters with rising times and their scores, grouped by meter."""
    now = [DAY0] * 3
    rows = []
    for meter, pause, score in steps:
        now[meter] += pause
        rows.append((meter, now[meter], score))
    rows.sort(key=lambda row: row[0])
    meter, at, score = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    return np.array(meter, np.int64), np.array(at, np.int64), np.array(score, np.float64)


@given(steps=STEPS)
def test_equals_its_slow_twin(steps: list[tuple[int, int, float]]) -> None:
    meter, at, score = columns(steps)
    assert novel_from_start(meter, at, score).tolist() == naive.novel(meter.tolist(), at.tolist(), score.tolist())


@given(steps=STEPS, cuts=st.sets(st.integers(1, 59)))
def test_cutting_changes_nothing(steps: list[tuple[int, int, float]], cuts: set[int]) -> None:
    whole = {}
    meter, at, score = columns(steps)
    for m in range(3):
        whole[m] = novel_from_start(meter, at, score)[meter == m].tolist()
    peaks, newest = np.full((3, HOURS + 1), NOTHING, np.float32), np.full(3, -HOURS)
    pieces: dict[int, list[float]] = {0: [], 1: [], 2: []}
    edges = [0, *sorted(cut for cut in cuts if cut < len(steps)), len(steps)]
    now = [DAY0] * 3
    for begin, end in pairwise(edges):
        rows = []
        for which, pause, value in steps[begin:end]:
            now[which] += pause
            rows.append((which, now[which], value))
        rows.sort(key=lambda row: row[0])
        part = [np.array(column) for column in zip(*rows, strict=True)] if rows else [np.zeros(0, np.int64)] * 3
        found, peaks, newest = novel(
            peaks, newest, part[0].astype(np.int64), part[1].astype(np.int64), part[2].astype(np.float64)
        )
        for which, value in zip(part[0].tolist(), found.tolist(), strict=True):
            pieces[which].append(value)
    assert pieces == whole


def test_a_change_counts_when_it_comes_and_again_a_day_after_it_ended() -> None:
    hours = np.arange(80)
    score = np.where((hours >= 30) & (hours < 40), 4.0, -1.0)
    found = novel_from_start(np.zeros(80, np.int64), DAY0 + hours * HOUR_S, score)
    assert found[30] == 4.0
    assert (found[31:40] == 1.0).all()
    assert (found[40 : 40 + HOURS] == -4.0).all()
    assert (found[40 + HOURS :] == -1.0).all()
