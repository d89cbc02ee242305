"""Public ways to find anomalies, each as its authors describe it, beside which ours is measured.

Each takes a meter's ordinary history and a copy of what follows, and answers times and scores, higher is worse.
All but `seed_iforest`, which looks at readings, look at the mean power of quarter hours. None is tuned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.params import SLOT_S, SLOTS_A_DAY

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from training.series import Series

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Baseline = Callable[[Series, Series], tuple[Ints, Floats]]

SEED = 1
WEEK = 7 * SLOTS_A_DAY
MOST_READINGS = 200_000  # of the history, that the original's forest is fitted on
MATRIX_HISTORY = 56 * SLOTS_A_DAY  # as much as our own state remembers
_FLAT = 1e-6


def quarter_hours(series: Series) -> tuple[Ints, Floats]:
    """Last second and mean power in kW of each quarter hour, NaN where no reading tells it."""
    slot = series.at // SLOT_S - series.at[0] // SLOT_S
    known = np.isfinite(series.channels[0])
    total = np.bincount(slot[known], series.channels[0, known], slot[-1] + 1)
    count = np.bincount(slot[known], minlength=slot[-1] + 1)
    at = (series.at[0] // SLOT_S + np.arange(len(total)) + 1) * SLOT_S - 1
    return at, np.where(count > 0, total / np.maximum(count, 1), np.nan)


def seed_iforest(history: Series, copy: Series) -> tuple[Ints, Floats]:
    """The original project's IsolationForest on the scaled channels of each reading (Liu, Ting and Zhou 2008)."""
    from sklearn.ensemble import IsolationForest
    from sklearn.preprocessing import StandardScaler

    used = np.isfinite(history.channels).any(axis=1)
    rows, asked = (one.channels[used].T for one in (history, copy))
    rows = rows[np.isfinite(rows).all(axis=1)]
    rows = rows[:: max(1, len(rows) // MOST_READINGS)]
    scale = StandardScaler().fit(rows)
    forest = IsolationForest(random_state=SEED).fit(scale.transform(rows))
    known = np.isfinite(asked).all(axis=1)
    return copy.at[known], -forest.score_samples(scale.transform(asked[known]))


def weekly_z(history: Series, copy: Series) -> tuple[Ints, Floats]:
    """Robust deviations from the same quarter hour of the week in the history."""
    past_at, past = quarter_hours(history)
    at, power = quarter_hours(copy)
    floor = 0.05 * float(np.nanmean(np.abs(past))) + _FLAT
    key, asked = past_at // SLOT_S % WEEK, at // SLOT_S % WEEK
    low, middle, high = (np.full(WEEK, np.nan) for _ in range(3))
    for place in range(WEEK):
        mine = past[(key == place) & np.isfinite(past)]
        if len(mine):
            low[place], middle[place], high[place] = np.quantile(mine, [0.25, 0.5, 0.75])
    return at, np.abs(power - middle[asked]) / ((high - low)[asked] / 1.349 + floor)


def quantile_forecast(history: Series, copy: Series) -> tuple[Ints, Floats]:
    """A gradient-boosted forecast with its 95 % band from day and week lags; half widths beyond the median."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    at, power = _joined(history, copy)

    def back(lag: int) -> Floats:
        return np.concatenate([np.full(lag, np.nan), power[:-lag]])

    seconds = at % 86_400
    rows = np.column_stack(
        [back(1), back(2), back(4), back(SLOTS_A_DAY), back(2 * SLOTS_A_DAY), back(WEEK), seconds, at // 86_400 % 7]
    )
    first = int(np.searchsorted(at, copy.at[0]))
    taught = np.flatnonzero(np.isfinite(power[:first]))
    bands = []
    for quantile in (0.025, 0.5, 0.975):
        model = HistGradientBoostingRegressor(loss="quantile", quantile=quantile, random_state=SEED)
        bands.append(model.fit(rows[taught], power[taught]).predict(rows[first:]))
    low, middle, high = bands
    asked, floor = power[first:], 0.02 * float(np.nanmean(np.abs(power[:first]))) + _FLAT
    half = np.maximum(np.where(asked >= middle, high - middle, middle - low), floor)
    return at[first:], np.abs(asked - middle) / half


def half_space_trees(history: Series, copy: Series) -> tuple[Ints, Floats]:
    """Streaming half-space trees (Tan, Ting and Liu 2011) of river, on power, its change in a day and the time."""
    from river import anomaly, preprocessing

    at, power = _joined(history, copy)
    yesterday = np.concatenate([np.full(SLOTS_A_DAY, np.nan), power[:-SLOTS_A_DAY]])
    scale, trees = preprocessing.MinMaxScaler(), anomaly.HalfSpaceTrees(seed=SEED, window_size=SLOTS_A_DAY)
    first = int(np.searchsorted(at, copy.at[0]))
    out = np.full(len(at), np.nan)
    for i in np.flatnonzero(np.isfinite(power) & np.isfinite(yesterday)).tolist():
        row = {"power": power[i], "change": power[i] - yesterday[i], "time": float(at[i] % 86_400)}
        scale.learn_one(row)
        row = scale.transform_one(row)
        if i >= first:
            out[i] = trees.score_one(row)
        trees.learn_one(row)
    return at[first:], out[first:]


def left_matrix_profile(history: Series, copy: Series) -> tuple[Ints, Floats]:
    """How far a day's course is from the nearest earlier one: the left matrix profile (Yeh et al. 2016) of stumpy."""
    import stumpy

    at, power = _joined(history, copy)
    first = int(np.searchsorted(at, copy.at[0]))
    begin = max(first - MATRIX_HISTORY, 0)
    stream = stumpy.stumpi(power[begin:first], SLOTS_A_DAY, egress=False)
    for value in power[first:]:
        stream.update(value)
    profile = np.asarray(stream.left_P_, np.float64)[-len(at[first:]) :]
    return at[first:], np.where(np.isfinite(profile), profile, np.nan)


BASELINES: dict[str, Baseline] = {
    "seed-iforest": seed_iforest,
    "weekly-z": weekly_z,
    "quantile-forecast": quantile_forecast,
    "half-space-trees": half_space_trees,
    "left-matrix-profile": left_matrix_profile,
}


def _joined(history: Series, copy: Series) -> tuple[Ints, Floats]:
    """Quarter hours of both, one after the other, what lies between as NaN."""
    (past_at, past), (at, power) = quarter_hours(history), quarter_hours(copy)
    between = np.arange(past_at[-1] + SLOT_S, at[0], SLOT_S)
    return np.concatenate([past_at, between, at]), np.concatenate([past, np.full(len(between), np.nan), power])
