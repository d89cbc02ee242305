"""The kinds of fault: how long each lasts, what it needs, and what it does to the readings of its window.

Each function changes a window in place and answers the fault's size. `severity` runs from 0, barely visible, to 1,
plain; sizes are multiples of the meter's own level.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.fault_physics import CURRENT, DAY_S, POWER, REACTIVE, SUB_METERS, VOLTAGE, Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator

MINUTE_S, HOUR_S = 60, 3_600
_MAINS = 0.5  # how often an added load sits behind no sub-meter
_HEATS = 0.5  # how often it leaves reactive power alone


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault."""

    shortest_s: int
    longest_s: int
    apply: Callable[[Window, Generator, float], float]
    unit: str  # of the size
    needs: tuple[int, ...] = (POWER,)  # one of these channels must carry values


def _between(low: float, high: float, severity: float) -> float:
    """Geometric, so that a step of severity is felt alike everywhere."""
    return low * float((high / low) ** severity)


def _sub_meter(window: Window, rng: Generator) -> int | None:
    present = [channel for channel in SUB_METERS if window.meter.has[channel]]
    return int(rng.choice(present)) if present and rng.random() > _MAINS else None


def _ones(window: Window) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.ones(len(window.at))


def _power_factor(rng: Generator, turning: float) -> float:
    """1 where the load heats, or that of one that turns; draws nothing from `rng` itself, which places faults."""
    return 1.0 if rng.spawn(1)[0].random() < _HEATS else turning


def surge(window: Window, rng: Generator, severity: float) -> float:
    """A short strong extra load."""
    kw = window.meter.unit_kw * _between(2.0, 8.0, severity)
    factor = _power_factor(rng, 0.97)
    window.add_load(kw * (_ones(window) + 0.05 * rng.standard_normal(len(window.at))), factor, _sub_meter(window, rng))
    return kw


def left_on(window: Window, rng: Generator, severity: float) -> float:
    """An appliance left on: a constant extra load."""
    kw = window.meter.unit_kw * _between(0.3, 3.0, severity)
    window.add_load(kw * _ones(window), _power_factor(rng, float(rng.uniform(0.9, 1.0))), _sub_meter(window, rng))
    return kw


def base_load(window: Window, rng: Generator, severity: float) -> float:
    """A base load that creeps up over the first days and stays."""
    kw = window.meter.unit_kw * _between(0.05, 0.5, severity)
    hours = window.hours()
    creep = float(rng.uniform(0.2, 0.6)) * hours[-1]
    factor = _power_factor(rng, float(rng.uniform(0.8, 1.0)))
    window.add_load(kw * np.minimum(1.0, hours / max(creep, 1e-9)), factor, None)
    return kw


def drop(window: Window, rng: Generator, severity: float) -> float:
    """Part of the consumption is missing."""
    del rng
    missing = 0.3 + 0.65 * severity
    window.scale_load((1 - missing) * _ones(window))
    return missing


def outage(window: Window, rng: Generator, severity: float) -> float:
    """No voltage, no power."""
    del rng, severity
    known = np.isfinite(window.channels)
    window.channels[known] = 0.0
    return 1.0


def stuck(window: Window, rng: Generator, severity: float) -> float:
    """Every channel stays at the last reading before the fault."""
    del rng, severity
    known = np.isfinite(window.channels) & np.isfinite(window.before)[:, None]
    window.channels[:] = np.where(known, window.before[:, None], window.channels)
    return float(window.before[POWER])


def theft(window: Window, rng: Generator, severity: float) -> float:
    """Part of all power flows past the meter."""
    del rng
    left = 0.7 - 0.4 * severity
    window.scale_load(left * _ones(window))
    return 1 - left


def shifted_day(window: Window, rng: Generator, severity: float) -> float:
    """The day's course comes hours later or earlier; the voltage is the grid's and stays."""
    hours = (4 + 8 * severity) * (1 if rng.random() < 0.5 else -1)  # noqa: PLR2004 - either way
    places = round(hours * HOUR_S / window.meter.cadence_s)
    now = window.channels
    moved = np.roll(now, places, axis=1)
    moved = np.where(np.isfinite(moved) & np.isfinite(now), moved, now)
    window.set_power(moved[POWER], np.nan_to_num(moved[REACTIVE]))
    for channel in SUB_METERS:
        now[channel] = moved[channel]
    return hours


def night_use(window: Window, rng: Generator, severity: float) -> float:
    """Loads that come and go at a time when this meter sleeps."""
    kw = window.meter.unit_kw * _between(0.4, 2.5, severity)
    block = np.cumsum(rng.random(len(window.at)) < window.meter.cadence_s / float(rng.uniform(600, 2400)))
    levels = rng.choice([0.3, 0.7, 1.0, 1.3], size=int(block[-1]) + 1)
    levels[0] = 1.0
    window.add_load(kw * levels[block], _power_factor(rng, 0.95), _sub_meter(window, rng))
    return kw


def noise(window: Window, rng: Generator, severity: float) -> float:
    """Readings that scatter, multiplied and added."""
    sigma = _between(0.15, 1.0, severity)
    m = len(window.at)
    window.scale_load(np.exp(sigma * rng.standard_normal(m) - sigma**2 / 2))
    now = window.channels
    floor = np.nansum(now[list(SUB_METERS)], axis=0) * 3.6 / window.meter.cadence_s
    added = now[POWER] + 0.3 * sigma * window.meter.unit_kw * rng.standard_normal(m)
    window.set_power(added if window.meter.exports else np.maximum(added, floor), np.nan_to_num(now[REACTIVE]))
    return sigma


def voltage_sag(window: Window, rng: Generator, severity: float) -> float:
    """The voltage falls, power with it: the current stays, as that of a house's mixed loads does."""
    del rng
    depth = 0.05 + 0.10 * severity
    current = window.channels[CURRENT].copy()
    window.scale_load((1 - depth) * _ones(window))
    window.channels[CURRENT] = current
    window.channels[VOLTAGE] *= 1 - depth
    return depth


def sub_meter(window: Window, rng: Generator, severity: float) -> float:
    """One sub-meter reports too much for the total, or nothing although it is used."""
    now = window.channels
    used = [channel for channel in SUB_METERS if np.nanmean(now[channel] > 0) > 0.5]  # noqa: PLR2004 - most of the time
    if used and rng.random() < 0.3:  # noqa: PLR2004 - the rarer failure
        channel = int(rng.choice(used))
        lost = float(np.nansum(now[channel]))
        now[channel] = np.where(np.isfinite(now[channel]), 0.0, np.nan)
        return -lost / 1000
    channel = int(rng.choice([c for c in SUB_METERS if window.meter.has[c]]))
    kw = window.meter.unit_kw * _between(0.3, 2.0, severity)
    now[channel] += kw * 1000 * window.meter.cadence_s / HOUR_S
    return kw


KINDS = {
    "surge": Kind(5 * MINUTE_S, 2 * HOUR_S, surge, "kW"),
    "left_on": Kind(3 * HOUR_S, DAY_S, left_on, "kW"),
    "base_load": Kind(2 * DAY_S, 10 * DAY_S, base_load, "kW"),
    "drop": Kind(3 * HOUR_S, DAY_S, drop, "missing share"),
    "outage": Kind(HOUR_S, 12 * HOUR_S, outage, "missing share"),
    "stuck": Kind(2 * HOUR_S, DAY_S, stuck, "kW"),
    "theft": Kind(3 * DAY_S, 14 * DAY_S, theft, "missing share"),
    "shifted_day": Kind(DAY_S, DAY_S, shifted_day, "h"),
    "night_use": Kind(HOUR_S, 5 * HOUR_S, night_use, "kW"),
    "noise": Kind(2 * HOUR_S, 12 * HOUR_S, noise, "standard deviation of the logarithm"),
    "voltage_sag": Kind(10 * MINUTE_S, 6 * HOUR_S, voltage_sag, "missing share", (VOLTAGE,)),
    "sub_meter": Kind(6 * HOUR_S, 2 * DAY_S, sub_meter, "kW too much; kWh lost where negative", SUB_METERS),
}
