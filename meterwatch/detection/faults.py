"""Faults of physical size put into real readings, with labels; the same seed gives the same faults.

Used to teach, to evaluate, to replay and to test. A fault is placed clear of gaps, shows in the readings, and
respects the meter: its own level and resolution, current as apparent power through voltage, sub-meters below the
total (but for the fault that breaks just that).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.alarms import MONTH_S
from meterwatch.detection.errors import DataError
from meterwatch.detection.fault_kinds import HOUR_S, KINDS
from meterwatch.detection.fault_physics import DAY_S, POWER, Meter, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    from meterwatch.detection.fault_kinds import Kind
    from meterwatch.detection.fault_physics import Floats, Ints

SPACING_S = 60 * HOUR_S
_CLOSEST_S = 6 * HOUR_S
_EDGE_S = 3 * HOUR_S  # before and after a fault nearly every reading is there
_EDGE_SHARE, _WHOLE_SHARE = 0.95, 0.9
_PROBES = 64  # random places looked at for one fault at one spacing
_SHOWS = 0.5  # this share of the readings has to change
_FELT = 0.02  # and its power by this much of the meter's level, if power is what changes
_LEAST_KNOWN = 48


@dataclass(frozen=True, slots=True)
class Label:
    """One injected fault. Times are those of its first and last reading, unix seconds UTC."""

    kind: str
    start_at: int
    end_at: int
    severity: float  # 0: barely visible, 1: plain
    size: float  # in the unit of its kind, see `KINDS`


def available_kinds(channels: Floats) -> tuple[str, ...]:
    """The kinds that a meter with these channels (7, n) can have."""
    has = [bool(np.nanmax(np.abs(row), initial=0.0) > 0) for row in channels]
    return tuple(name for name, kind in KINDS.items() if any(has[c] for c in kind.needs))


def inject_one(
    at: Ints,
    channels: Floats,
    kind: str,
    start_at: int,
    rng: Generator | int,
    severity: float,
    *,
    duration_s: int | None = None,
) -> tuple[Floats, Label]:
    """Put one fault into a copy of a meter's readings.

    Args:
        at: (n,) unix seconds UTC, rising, of one regular cadence; gaps allowed.
        channels: (7, n) in the order of `CHANNELS`, NaN where missing.
        kind: a name of `KINDS`.
        start_at: the fault begins with the first reading at or after it.
        rng: a generator or a seed.
        severity: 0, barely visible, to 1, plain.
        duration_s: how long; drawn from the kind's range where left out.

    Returns:
        The changed channels (7, n) and the label.

    Raises:
        DataError: the kind is unknown, needs a channel that is not there, or no reading follows `start_at`.
    """
    _check(at, channels, [kind])
    if not 0 <= severity <= 1:
        raise DataError(f"severity {severity} is outside 0..1")
    meter = Meter.of(at, channels)
    random = np.random.default_rng(rng)
    lasts = _duration(KINDS[kind], meter, random) if duration_s is None else duration_s
    first = int(np.searchsorted(at, start_at))
    last = int(np.searchsorted(at, start_at + max(lasts, 1)))
    if first >= min(last, len(at)):
        raise DataError(f"no reading within {lasts} s of {start_at}: choose a start inside the series")
    changed = channels.copy()
    return changed, _apply(at, changed, kind, slice(first, last), meter, random, severity)


def inject_many(
    at: Ints,
    channels: Floats,
    *,
    seed: int,
    per_month: float,
    kinds: Sequence[str] | None = None,
    margin_s: int = SPACING_S,
    start_at: int | None = None,
    end_at: int | None = None,
) -> tuple[Floats, list[Label]]:
    """Mix faults of several kinds and severities into a copy of a meter's readings.

    Args:
        at: (n,) unix seconds UTC, rising, of one regular cadence; gaps allowed.
        channels: (7, n) in the order of `CHANNELS`, NaN where missing.
        seed: the same seed places the same faults.
        per_month: faults a month of 30.44 days; fewer where the series has no room for them.
        kinds: names of `KINDS`; those the meter can have where left out.
        margin_s: time between two faults; halved, down to 6 h, where there is no room.
        start_at: no fault begins before; the series' start where left out.
        end_at: none ends after; the series' end where left out.

    Returns:
        The changed channels (7, n) and the labels in order of time; none where power is missing throughout.

    Raises:
        DataError: a kind is unknown or needs a channel that is not there.
    """
    names = available_kinds(channels) if kinds is None else tuple(kinds)
    _check(at, channels, names)
    changed = channels.copy()
    rng = np.random.default_rng(seed)
    if np.isfinite(channels[POWER]).sum() < _LEAST_KNOWN or not names:
        return changed, []
    meter = Meter.of(at, channels)
    begin = int(at[0]) if start_at is None else start_at
    end = int(at[-1]) if end_at is None else end_at
    wanted = per_month * max(end - begin, 0) / MONTH_S
    count = int(wanted) + int(rng.random() < wanted % 1)
    turns = [rng.permutation(len(names)) for _ in range(-(-count // len(names)))]
    drawn = [names[i] for turn in turns for i in turn][:count]
    # The longest first: they need the room most.
    plan = sorted(((_duration(KINDS[name], meter, rng, (end - begin) // 4), name) for name in drawn), reverse=True)
    places = _Places.of(at, channels, meter, begin, end)
    labels: list[Label] = []
    for lasts, name in plan:
        severity = float(rng.random())
        for part in places.candidates(name, lasts, margin_s, rng):
            label = _apply(at, changed, name, part, meter, rng, severity)
            if _shows(channels[:, part], changed[:, part], KINDS[name], meter):
                places.taken.append((label.start_at, label.end_at))
                labels.append(label)
                break
            changed[:, part] = channels[:, part]
    return changed, sorted(labels, key=lambda label: label.start_at)


def _check(at: Ints, channels: Floats, names: Sequence[str]) -> None:
    if channels.shape != (7, len(at)):
        raise DataError(f"channels have shape {channels.shape}, expected (7, {len(at)})")
    for name in names:
        if name not in KINDS:
            raise DataError(f"no fault is called {name!r}; choose one of {', '.join(KINDS)}")
        if name not in available_kinds(channels):
            raise DataError(f"fault {name!r} needs a channel that this meter does not report, or that is always 0")


def _duration(kind: Kind, meter: Meter, rng: Generator, longest_s: int | None = None) -> int:
    """Log-uniform in the kind's range; at least one reading."""
    longest = kind.longest_s if longest_s is None else min(kind.longest_s, max(kind.shortest_s, longest_s))
    drawn: float = kind.shortest_s * (longest / kind.shortest_s) ** float(rng.random())
    return max(round(drawn / meter.cadence_s), 1) * meter.cadence_s


def _apply(at: Ints, changed: Floats, name: str, part: slice, meter: Meter, rng: Generator, severity: float) -> Label:
    window = Window(at[part], changed[:, part], changed[:, max(part.start - 1, 0)].copy(), meter)
    size = KINDS[name].apply(window, rng, severity)
    window.round_off()
    return Label(name, int(window.at[0]), int(window.at[-1]), severity, size)


def _shows(before: Floats, after: Floats, kind: Kind, meter: Meter) -> bool:
    known = np.isfinite(before)
    if ((before != after) & known).any(axis=0).mean() < _SHOWS:
        return False
    return POWER not in kind.needs or float(np.nanmean(np.abs(after[POWER] - before[POWER]))) >= _FELT * meter.unit_kw


@dataclass(frozen=True, slots=True)
class _Places:
    """Where faults may be: inside begin..end, where readings are, away from each other."""

    at: Ints
    known: Ints  # (n + 1,) readings with power before each place
    meter: Meter
    begin: int
    end: int
    taken: list[tuple[int, int]]

    @classmethod
    def of(cls, at: Ints, channels: Floats, meter: Meter, begin: int, end: int) -> _Places:
        return cls(at, np.append(0, np.cumsum(np.isfinite(channels[POWER]))), meter, begin, end, [])

    def candidates(self, name: str, lasts: int, margin_s: int, rng: Generator) -> list[slice]:
        """Random places for one fault, those farther from all others first."""
        room = self.end - self.begin - lasts
        if room < 0:
            return []
        start = self._snapped(name, lasts, self.begin + rng.integers(0, room + 1, _PROBES))
        end = start + lasts
        good = (start >= self.begin) & (end <= self.end + self.meter.cadence_s) & self._covered(start, end)
        apart = np.full(_PROBES, np.iinfo(np.int64).max)
        for taken_from, taken_to in self.taken:
            apart = np.minimum(apart, np.maximum(taken_from - end, start - taken_to))
        found = []
        while margin_s >= _CLOSEST_S:
            fits = np.flatnonzero(good & (apart >= margin_s))
            first, last = np.searchsorted(self.at, start[fits]), np.searchsorted(self.at, end[fits])
            found += [slice(*pair) for pair in zip(first.tolist(), last.tolist(), strict=True)]
            good[fits] = False
            margin_s //= 2
        return found

    def _snapped(self, name: str, lasts: int, start: Ints) -> Ints:
        """A shifted day begins at midnight, night use in the meter's quietest hours."""
        if name == "shifted_day":
            return start // DAY_S * DAY_S
        if name == "night_use":
            return start // DAY_S * DAY_S + self.meter.night_s + start % max(5 * HOUR_S - lasts, 1)
        return start

    def _covered(self, start: Ints, end: Ints) -> NDArray[np.bool_]:
        """Nearly all readings are there, at both ends and in between."""
        return (
            (self._share(start, end) >= _WHOLE_SHARE)
            & (self._share(start - _EDGE_S, start + _EDGE_S) >= _EDGE_SHARE)
            & (self._share(end - _EDGE_S, end + _EDGE_S) >= _EDGE_SHARE)
        )

    def _share(self, start: Ints, end: Ints) -> Floats:
        start, end = np.maximum(start, self.at[0]), np.minimum(end, self.at[-1] + self.meter.cadence_s)
        first, last = np.searchsorted(self.at, start), np.searchsorted(self.at, end)
        due = np.maximum((end - start) // self.meter.cadence_s, 1)
        share: Floats = (self.known[last] - self.known[first]) / due
        return share
