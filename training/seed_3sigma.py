"""The original project's detector, kept as the baseline `seed-3sigma`.

An LSTM expects the next scaled reading from the n before it; a reading is anomalous when its error lies more than k
deviations above the mean of the last m errors. As in the original the judged error is one of those m, so that a
run of large errors hides itself; and nothing is judged before m errors are there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from meterwatch.detection.errors import DataError
from training.network import repeatable_keras

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.params import SeedThreeSigma

    Floats = NDArray[np.float64]

NAME = "seed-3sigma"
_BATCH = 8_192  # windows predicted at once


@dataclass(frozen=True, slots=True)
class Seed:
    """The fitted baseline."""

    told: SeedThreeSigma
    network: Any
    mean: float  # of power in kW, the scaler
    deviation: float

    def errors(self, power: Floats) -> Floats:
        """|actual - expected| in scaled units, (n,) → (n,); NaN where a reading of the window or itself is missing."""
        windows, place = _windows(self._scaled(power), self.told.n)
        out = np.full(len(power), np.nan)
        if len(place):
            expected = self.network.predict(windows[:, :-1, None], batch_size=_BATCH, verbose=0)[:, 0]
            out[place] = np.abs(windows[:, -1] - expected)
        return out

    def score(self, power: Floats) -> Floats:
        """Deviations above the mean of the last m errors, (n,) → (n,); anomalous means > k."""
        return deviations(self.errors(power), self.told.m)

    def _scaled(self, power: Floats) -> NDArray[np.float32]:
        return ((power - self.mean) / self.deviation).astype(np.float32)


def deviations(errors: Floats, m: int) -> Floats:
    """How many deviations each error lies above the mean of the last m known ones, itself among them.

    Args:
        errors: (n,) NaN where there is none.
        m: the length of the list; NaN is answered before it is full, 0 where all in it are equal.
    """
    known = np.flatnonzero(np.isfinite(errors))
    out = np.full(len(errors), np.nan)
    if len(known) < m:
        return out
    lists = np.lib.stride_tricks.sliding_window_view(errors[known], m)
    mean, deviation = lists.mean(axis=1), lists.std(axis=1)
    above = lists[:, -1] - mean
    out[known[m - 1 :]] = np.divide(above, deviation, out=np.zeros_like(above), where=deviation > 0)
    return out


def fit(power: Floats, told: SeedThreeSigma) -> Seed:
    """Train on ordinary readings in kW, (n,).

    Raises:
        DataError: no run of n + 1 readings.
    """
    keras = repeatable_keras(told.seed)
    known = power[np.isfinite(power)]
    mean, deviation = (float(known.mean()), float(known.std()) or 1.0) if len(known) else (0.0, 1.0)
    windows, place = _windows(((power - mean) / deviation).astype(np.float32), told.n)
    if not len(place):
        raise DataError(f"{NAME} needs {told.n + 1} readings in a row")
    chosen = np.sort(np.random.default_rng(told.seed).permutation(len(place))[: told.windows])
    network = keras.Sequential([keras.Input((told.n, 1)), keras.layers.LSTM(told.units), keras.layers.Dense(1)])
    network.compile(optimizer=keras.optimizers.Adam(3e-3), loss="mse")
    picked = windows[chosen]
    network.fit(picked[:, :-1, None], picked[:, -1], epochs=told.epochs, batch_size=128, verbose=0)
    return Seed(told, network, mean, deviation)


def _windows(scaled: NDArray[np.float32], n: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Every run of n + 1 known readings (w, n + 1), and the place of its last one (w,)."""
    if len(scaled) <= n:
        return np.zeros((0, n + 1), np.float32), np.zeros(0, np.int64)
    runs = np.lib.stride_tricks.sliding_window_view(scaled, n + 1)
    whole = np.flatnonzero(np.isfinite(runs).all(axis=1))
    return runs[whole], whole + n
