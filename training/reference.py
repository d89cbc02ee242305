"""What live readings are compared with: how each signal was distributed in the days that a model was made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.drift import (
    DAY_S,
    FEWEST_LEVEL_DAYS,
    FULL_HOURS,
    HOUR_S,
    LEVEL_DAYS,
    SCORE,
    SIGNALS,
    Reference,
    signals,
)
from meterwatch.detection.readings import SCORED
from training.series import together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from meterwatch.detection.detector import Detector
    from training.series import Series

    Floats = NDArray[np.float64]

DAY_HOURS = DAY_S // HOUR_S
USUAL = 0.99  # of the days
SCORE_S = 60 * DAY_S


def references(judge: Detector, quiet: Sequence[Series], unseen: Sequence[Series], warm_s: int) -> dict[str, Reference]:
    """The distribution of each channel over all days, and of the score over days that taught nothing.

    Args:
        judge: the finished detector.
        quiet: readings of the training and calibration days.
        unseen: those of the calibration days, with some days before them.
        warm_s: how long these days before are.

    Returns:
        By signal; one of which there are too few readings is left out.
    """
    plain = [(one.at, signals(one.channels, _level(one), np.full(len(one.at), np.nan))) for one in quiet]
    parts = {name: [(at, values[k]) for at, values in plain] for k, name in enumerate(SIGNALS)}
    parts[SCORE] = _scores(judge, unseen, warm_s)
    found = {name: _reference(mine) for name, mine in parts.items()}
    return {name: one for name, one in found.items() if one is not None}


def _scores(judge: Detector, unseen: Sequence[Series], warm_s: int) -> list[tuple[NDArray[np.int64], Floats]]:
    """Each meter's times and scores, of the last days alone: judging takes longer than the rest."""
    last = [one.between(int(one.at[-1]) - warm_s - SCORE_S, int(one.at[-1]) + 1) for one in unseen if len(one.at)]
    if not last:
        return []
    nothing = [None] * len(last)
    verdicts = judge.observe([one.meter_id for one in last], nothing, nothing, together(last)).verdicts
    score = np.where(verdicts.status == SCORED, verdicts.score, np.nan)
    parts = np.split(score, np.cumsum([len(one.at) for one in last])[:-1])
    warm = [one.at >= one.at[0] + warm_s for one in last]
    return [(one.at[rows], mine[rows]) for one, mine, rows in zip(last, parts, warm, strict=True)]


def _level(one: Series) -> Floats:
    """(n,) mean power of the days before each reading's day, NaN where there are too few of them."""
    if not len(one.at):
        return np.zeros(0)
    day = one.at // DAY_S
    place = day - day[0]
    known = np.isfinite(one.channels[0])
    count, total = (
        np.concatenate([[0.0], np.cumsum(np.bincount(place[known], weights, minlength=place[-1] + 1))])
        for weights in (None, one.channels[0][known])
    )
    first = np.maximum(place - LEVEL_DAYS, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (total[place] - total[first]) / (count[place] - count[first])
    return np.where((place >= FEWEST_LEVEL_DAYS) & (mean > 0), mean, np.nan)


def _reference(parts: Sequence[tuple[NDArray[np.int64], Floats]]) -> Reference | None:
    """The distribution of values at their times, and the distance that one in a hundred of its own days exceeds.

    A day is any 24 hours, since that is what live readings are compared by.
    """
    edges, below = Reference.of(np.concatenate([values for _, values in parts]) if parts else np.zeros(0))
    blank = Reference(edges, below, 0.0)
    days = []
    for at, values in parts:
        known = np.isfinite(values)
        if not len(edges) or not known.any():
            continue
        hour = (at[known] - at[0]) // HOUR_S
        counts = np.zeros((int(hour[-1]) + 1, len(edges) + 1), np.int64)
        np.add.at(counts, (hour, np.searchsorted(edges, values[known], side="right")), 1)
        running = np.concatenate([np.zeros((1, counts.shape[1]), np.int64), counts.cumsum(axis=0)])
        day = running[DAY_HOURS:] - running[:-DAY_HOURS]
        full = np.convolve(counts.any(axis=1), np.ones(DAY_HOURS, np.int64), "valid") if len(day) else np.zeros(0)
        days.append(blank.distance(day[full >= FULL_HOURS]))
    distances = np.concatenate(days) if days else np.zeros(0)
    if not len(distances):
        return None
    return Reference(edges, below.round(9), round(float(np.quantile(distances, USUAL)), 6))
