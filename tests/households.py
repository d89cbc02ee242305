"""A real household, the shipped year, and a made one whose seven channels fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tests.instances import ROOT
from training.prepared import Prepared
from training.series import Series

if TYPE_CHECKING:
    from numpy.typing import NDArray

YEAR = ROOT / "data/raw/household_power_consumption_2007.txt.xz"
START = 1_230_768_000  # 2009-01-01 00:00 UTC


def household(
    days: int, seed: int, cadence: int = 60, start: int = START
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Base load, meals, weekends and noise of a meter: at (n,), channels (7, n) rounded as the UCI set rounds them."""
    rng = np.random.default_rng(seed)
    n = days * 86_400 // cadence
    at = start + cadence * np.arange(n, dtype=np.int64)
    hour, weekday = at % 86_400 / 3600, (at // 86_400 + 3) % 7
    usual = 0.25 + 0.9 * np.exp(-((hour - 7.5) ** 2)) + 1.6 * np.exp(-((hour - 20) ** 2) / 6)
    usual += 0.5 * (weekday >= 5) * np.exp(-((hour - 13) ** 2) / 8)
    fridge = 0.12 * ((at // 1200 + rng.integers(0, 3, n) // 2) % 3 == 0)
    appliance = np.zeros(n)
    for begin in rng.integers(0, n, days * 3):
        appliance[begin : begin + int(rng.integers(5, 90) * 60 / cadence) + 1] += rng.uniform(0.5, 2.0)
    power = np.round(usual * rng.lognormal(0, 0.15, n) + fridge + appliance, 3)
    reactive = np.round(np.abs(rng.normal(0.1, 0.04, n)), 3)
    voltage = np.round(240 + 2 * np.sin(hour / 24 * 2 * np.pi) + rng.normal(0, 0.8, n), 2)
    current = np.round(np.hypot(power, reactive) * 1000 / voltage, 1)
    energy = power * 1000 * cadence / 3600
    parts = np.floor(energy * rng.dirichlet([1, 1, 3, 5], n).T[:3])
    return at, np.stack([power, reactive, voltage, current, *parts])


def in_parts() -> Prepared:
    """A made month as stage `prepare` leaves it: to train, to calibrate, to evaluate."""
    at, channels = household(days=34, seed=21)
    starts = {"train": 0, "calibrate": 14, "evaluate": 20, "end": 32}
    return Prepared(Series("m", at, channels), {name: START + day * 86_400 for name, day in starts.items()}, "")
