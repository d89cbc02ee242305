"""What a fault has to respect: the meter's own level and resolution, and how its channels hang together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

POWER, REACTIVE, VOLTAGE, CURRENT = range(4)
SUB_METERS = (4, 5, 6)
DAY_S = 86_400
NOMINAL_V = 230.0  # for the current of a meter that does not report its voltage
_DECIMALS = range(7)
_NIGHT_H = 5
_BUSIEST = 0.99
_PLAIN = 1e6  # kW; what is beyond is a mistake of units and sets no level


@dataclass(frozen=True, slots=True)
class Meter:
    """One meter's level, from all its readings, so that a fault has a size that fits it."""

    cadence_s: int
    unit_kw: float  # its mean power, or a quarter of what its busiest hundredth reaches, whichever is more
    steps: tuple[float, ...]  # (7,) the channels' resolution; 0 where none is found
    exports: bool  # a negative power is nothing new
    night_s: int  # second of the day at which its quietest five hours begin
    has: tuple[bool, ...]  # (7,) the channel carries values

    @classmethod
    def of(cls, at: Ints, channels: Floats) -> Meter:
        """Look at a series: `at` (n,), `channels` (7, n), sorted by time, power at least once."""
        power = channels[POWER]
        known = np.abs(power) <= _PLAIN  # False where missing
        size = np.abs(power[known])
        unit = max(float(size.mean()), float(np.quantile(size, _BUSIEST)) / 4)
        return cls(
            int(np.median(np.diff(at))) if len(at) > 1 else 60,
            unit if unit > 0 else 1.0,
            tuple(_step(row) for row in channels),
            bool((power[known] < 0).any()),
            _quiet_hours(at[known], size),
            tuple(bool(np.nanmax(np.abs(row), initial=0.0) > 0) for row in channels),
        )


def _step(values: Floats) -> float:
    """The coarsest step of which all values are multiples; 0 where they have more than six decimals."""
    finite = values[np.isfinite(values)]
    probe = finite[:: max(1, len(finite) // 2000)]
    for decimals in _DECIMALS:
        if len(finite) and np.abs(finite).max() <= _PLAIN and np.array_equal(np.round(probe, decimals), probe):
            units = np.rint(finite * 10**decimals).astype(np.int64)
            return float(np.gcd.reduce(units) / 10**decimals)
    return 0.0


def _quiet_hours(at: Ints, size: Floats) -> int:
    hour = at % DAY_S // 3600
    mean = np.bincount(hour, size, 24) / np.maximum(np.bincount(hour, minlength=24), 1)
    windows = [np.roll(mean, -start)[:_NIGHT_H].sum() for start in range(24)]
    return 3600 * int(np.argmin(windows))


@dataclass(frozen=True, slots=True)
class Window:
    """The readings inside one fault, changed in place."""

    at: Ints  # (m,)
    channels: Floats  # (7, m)
    before: Floats  # (7,) the reading before the first one
    meter: Meter

    def hours(self) -> Floats:
        """Hours since the window's first reading."""
        hours: Floats = (self.at - self.at[0]) / 3600
        return hours

    def set_power(self, active: Floats, reactive: Floats) -> None:
        """Put new powers in and let the current follow: it is apparent power through voltage."""
        now = self.channels
        if not self.meter.exports:
            active = np.maximum(active, 0.0)
        volts = np.where(now[VOLTAGE] > 0, now[VOLTAGE], NOMINAL_V)
        more = np.hypot(active, reactive) - np.hypot(now[POWER], np.nan_to_num(now[REACTIVE]))
        now[CURRENT] = np.maximum(now[CURRENT] + 1000 * more / volts, 0.0)
        now[POWER] = active
        now[REACTIVE] = np.where(np.isfinite(now[REACTIVE]), reactive, np.nan)

    def add_load(self, kw: Floats, power_factor: float, sub_meter: int | None) -> None:
        """Switch a load on: `kw` (m,), behind `sub_meter` (a channel) or behind none."""
        now = self.channels
        reactive = np.nan_to_num(now[REACTIVE]) + kw * np.sqrt(1 / power_factor**2 - 1)
        self.set_power(now[POWER] + kw, reactive)
        if sub_meter is not None:
            now[sub_meter] += kw * 1000 * self.meter.cadence_s / 3600

    def scale_load(self, factor: Floats) -> None:
        """Multiply all that flows through the meter by `factor` (m,)."""
        now = self.channels
        self.set_power(now[POWER] * factor, np.nan_to_num(now[REACTIVE]) * factor)
        for channel in SUB_METERS:
            now[channel] *= factor

    def round_off(self) -> None:
        """Bring every channel back to the resolution that the meter reports."""
        for channel, step in enumerate(self.meter.steps):
            if step > 0:
                # Dividing by a whole number gives the same double as reading the decimal text does.
                parts = round(1 / step) if step < 1 else 1
                whole = step if step >= 1 else 1.0
                exact = abs(parts * step - 1) < 1e-9 or step >= 1  # noqa: PLR2004 - a rounding error
                units = np.rint(self.channels[channel] / step)
                self.channels[channel] = units * whole / parts if exact else np.round(units * step, 6)
