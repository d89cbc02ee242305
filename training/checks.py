"""Is a data file what it says it is? Each check is a fact with the rows that break it; none repairs anything."""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.readings import CHANNELS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

DAY_S = 86_400
SLOWEST_S = 3_600
SHOWN = 5  # rows named
RATIO = (0.5, 1.5)  # active power to volts times amperes: one phase, or the mean of balanced ones
SUBMETERS_SHARE = 0.01  # of the readings may have sub-meters above the total
SUBMETERS_SLACK_WH = 2.0  # each of three is rounded to whole watt-hours


@dataclass(frozen=True, slots=True)
class Check:
    """One check's outcome."""

    name: str
    passed: bool
    fact: str
    rows: tuple[str, ...] = ()  # the first few that break it


def check_all(
    at: Ints,
    channels: Floats,
    *,
    ranges: Mapping[str, tuple[float, float]],
    starts: Mapping[str, int],
    max_missing_share: float,
    max_gap_days: float,
    least_days: float,
) -> list[Check]:
    """Run every check.

    Args:
        at: (n,) unix seconds in the file's order.
        channels: (7, n) in the order of `CHANNELS`, NaN where missing.
        ranges: lowest and highest value of each channel.
        starts: first moment of each part, `end` last.
        max_missing_share: of the readings that the cadence lets expect.
        max_gap_days: the longest run without power.
        least_days: of readings with power in each part.
    """
    ordered = _order(at)
    if not ordered.passed:
        return [ordered]
    cadence = cadence_s(at)
    return [
        ordered,
        _cadence(at, cadence),
        _gaps(at, channels[0], cadence, max_missing_share, max_gap_days),
        *(_range(at, row, name, *ranges[name]) for name, row in zip(CHANNELS, channels, strict=True)),
        _units(at, channels),
        _submeters(at, channels, cadence),
        *_parts(at, channels[0], cadence, starts, least_days),
    ]


def cadence_s(at: Ints) -> int:
    """The usual pause between two readings; 0 for fewer than two."""
    if len(at) < 2:  # noqa: PLR2004 - a pause has two ends
        return 0
    pauses, often = np.unique(np.diff(at), return_counts=True)
    return int(pauses[np.argmax(often)])


def gaps(at: Ints, power: Floats, cadence: int) -> list[tuple[int, int]]:
    """Runs without power, as first and last moment missing, the longest first."""
    known = at[np.isfinite(power)]
    wide = np.flatnonzero(np.diff(known) > cadence)
    found = [(int(known[i]) + cadence, int(known[i + 1]) - cadence) for i in wide]
    return sorted(found, key=lambda gap: gap[0] - gap[1])


def when(moment: int) -> str:
    """A moment as text."""
    return dt.datetime.fromtimestamp(moment, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _rows(at: Ints, bad: NDArray[np.bool_], values: Floats | None = None) -> tuple[str, ...]:
    places = np.flatnonzero(bad)[:SHOWN].tolist()
    return tuple(
        f"row {i + 1} ({when(int(at[i]))})" + (f": {values[i]:g}" if values is not None else "") for i in places
    )


def _order(at: Ints) -> Check:
    back = np.append(False, np.diff(at) <= 0)[: len(at)]
    if not len(at):
        return Check("order of time", passed=False, fact="the file holds no readings")
    fact = f"{back.sum()} of {len(at)} readings are not later than the one before"
    return Check("order of time", not back.any(), fact, _rows(at, back))


def _cadence(at: Ints, cadence: int) -> Check:
    pauses = np.diff(at, prepend=at[0] - cadence)
    off = pauses % max(cadence, 1) != 0
    passed = 1 <= cadence <= SLOWEST_S and not off.any()
    return Check("cadence", passed, f"a reading every {cadence} s, {off.sum()} off that grid", _rows(at, off))


def _gaps(at: Ints, power: Floats, cadence: int, most: float, longest_days: float) -> Check:
    due = (int(at[-1]) - int(at[0])) // max(cadence, 1) + 1
    missing = due - int(np.isfinite(power).sum())
    found = gaps(at, power, cadence)
    longest = (found[0][1] - found[0][0] + cadence) / DAY_S if found else 0.0
    share = f"{missing:,} of {due:,} readings lack power ({missing / due:.2%})"
    fact = f"{share}, {len(found)} gaps, longest {longest:.2f} days"
    rows = tuple(f"{when(first)} to {when(last)}" for first, last in found[:SHOWN])
    return Check("gaps", missing <= most * due and longest <= longest_days, fact, rows)


def _range(at: Ints, values: Floats, name: str, low: float, high: float) -> Check:
    known = np.isfinite(values)
    bad = known & ((values < low) | (values > high))
    seen = f"{values[known].min():g} to {values[known].max():g}" if known.any() else "no values"
    fact = f"{seen}; {bad.sum()} readings outside {low:g} to {high:g}"
    return Check(f"range of {name}", not bad.any(), fact, _rows(at, bad, values))


def _units(at: Ints, channels: Floats) -> Check:
    """Watts instead of kilowatts, milliamperes or a shifted column show in P / (V x I)."""
    apparent = channels[2] * channels[3] / 1000
    known = np.isfinite(channels[0]) & np.isfinite(apparent) & (apparent > 0)
    if not known.any():
        return Check("units", passed=True, fact="no voltage and current to compare power with")
    ratio = np.full(len(at), np.nan)
    ratio[known] = np.abs(channels[0, known]) / apparent[known]
    middle = float(np.nanmedian(ratio))
    passed = RATIO[0] <= middle <= RATIO[1]
    fact = f"active power is {middle:.3g} times volts x amperes in the median"
    if middle > 100 * RATIO[0]:
        fact += ": active power looks like W, kW is expected"
    bad = np.zeros(len(at), np.bool_) if passed else np.isfinite(ratio) & ((ratio < RATIO[0]) | (ratio > RATIO[1]))
    return Check("units", passed, fact, _rows(at, bad, channels[0]))


def _submeters(at: Ints, channels: Floats, cadence: int) -> Check:
    total = channels[0] * 1e6 * cadence / 3.6e6
    over = channels[4:].sum(axis=0) > total + SUBMETERS_SLACK_WH
    known = int(np.isfinite(channels[4:].sum(axis=0) + total).sum())
    passed = int(over.sum()) <= SUBMETERS_SHARE * known
    fact = f"the sub-meters exceed the total in {over.sum()} of {known} readings"
    return Check("sub-meters", passed, fact, () if passed else _rows(at, over))


def _parts(at: Ints, power: Floats, cadence: int, starts: Mapping[str, int], least: float) -> list[Check]:
    out = []
    for name, after in itertools.pairwise(starts):
        part = slice(*np.searchsorted(at, [starts[name], starts[after]]))
        days = int(np.isfinite(power[part]).sum()) * cadence / DAY_S
        fact = f"{when(starts[name])} to {when(starts[after])}: {days:.1f} days of readings, {least:g} are needed"
        out.append(Check(f"part {name}", days >= least, fact))
    return out
