"""Why a reading was judged so: its score as a sum of named parts.

The readings are judged once more through `Detector.observe`, with a trace; nothing of the score is computed twice. A
score is the rarer of two surprises, and only the one that decided is taken apart:

- the last closed slot's statistics. What the weigher says beyond an ordinary quarter hour is shared out among them by
  `Trees.shares`, exactly; a straight line from the ordinary quarter hour to this one turns what the weigher says into
  the return period, so that the shares stay in proportion. What the last day has told already is a part of its own.
- or the reading's own distance from the expected value.

What is left is where an ordinary one stands, which is below zero: it comes more often than once a month.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.catalogue import SLOW_SERIES_ONLY, STATISTICS
from meterwatch.detection.readings import SCORED, STATUSES, Readings
from meterwatch.detection.rounds import Trace
from meterwatch.detection.slots import (
    DEVIATION,
    MAX,
    MEAN,
    MIN,
    MISMATCH,
    REACTIVE,
    RESIDUAL,
    REST,
    RUN,
    VOLTAGE,
)
from meterwatch.detection.statistics import ORDINARY, suspicious
from meterwatch.detection.thresholds import FAST_GIVES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from meterwatch.detection.detector import Detector
    from meterwatch.detection.forest import Trees
    from meterwatch.detection.thresholds import Tail

    Floats = NDArray[np.float64]

DIGITS = 6  # to which amounts are stated; so stated they sum to the score
SLOT_MIN = 15
# channel, unit, and what one of it is in the slot series
_SHOWN = {
    MEAN: ("active power", "kW", 1e6),
    MAX: ("active power", "kW", 1e6),
    MIN: ("active power", "kW", 1e6),
    RUN: ("all channels", "readings in a row", 1e3),
    DEVIATION: ("active power", "logarithm of the ratio to the usual", 1e3),
    REST: ("active power outside the sub-meters", "kW", 1e6),
    VOLTAGE: ("voltage", "V", 1e3),
    MISMATCH: ("power against voltage and current", "kVA", 1e6),
    RESIDUAL: ("active power against the expected", "half widths of the band", 1e3),
    REACTIVE: ("reactive power", "kVAr", 1e6),
}


@dataclass(frozen=True, slots=True)
class Contribution:
    """One part of a score. What does not apply is None."""

    amount: float  # in the score's unit, log10 of months, to `DIGITS`
    words: str
    channel: str | None = None
    window_min: int | None = None  # time scale: the trailing minutes that were looked at
    value: float | None = None  # in `unit`
    usual: float | None = None  # median of the context
    usual_low: float | None = None  # its lower and upper quartile; of the expectation the 95 % band
    usual_high: float | None = None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A reading's verdict, computed again, and what it is made of."""

    status: str
    score: float | None  # None unless scored; so the numbers below
    threshold: float | None
    anomalous: bool
    expected_kw: float | None
    lower_kw: float | None
    upper_kw: float | None
    reason: str
    decided_by: str | None  # "statistics" or "expectation"
    judged_at: int | None  # when the deciding quarter hour was closed, where these readings closed it
    contributions: tuple[Contribution, ...]  # statistics, largest first; then what is not one. They sum to the score


def explain(
    detector: Detector,
    meter_id: str,
    state: bytes | None,
    profile: bytes | None,
    readings: Readings,
    place: int,
    most: int = 8,
) -> Explanation:
    """Judge one meter's readings and take the score of one of them apart.

    Args:
        detector: the model that judged it.
        meter_id: whose they are.
        state: the meter's before the first of the readings, None for a new meter.
        profile: likewise.
        readings: of this meter alone (`meter` all 0), in arrival order. Where they begin too shortly before the
            explained one, the quarter hour behind it was judged before them and is a single part.
        place: index of the explained reading; those after it are not looked at.
        most: statistics named one by one; what the others contribute is one part.

    Raises:
        StateError: the state or profile is damaged, foreign or of another schema.
    """
    until = slice(place + 1)
    trace = Trace(want_usual=True)
    part = Readings(readings.meter[until], readings.at[until], readings.channels[:, until])
    verdicts = detector.observe([meter_id], [state], [profile], part, trace).verdicts
    scored = bool(verdicts.status[place] == SCORED)

    def known(values: Floats) -> float | None:
        return float(values[place]) if scored and not np.isnan(values[place]) else None

    score, numbers = known(verdicts.score), (verdicts.expected_kw, verdicts.lower_kw, verdicts.upper_kw)
    expected, lower, upper = (known(values) for values in numbers)
    decided, judged_at, parts = None, None, []
    models = detector.models
    if score is not None and models.fast and models.slow and models.forest and models.weigher:  # a score needs all
        slow, fast = float(trace.slow[-1][-1]), float(trace.fast[-1][-1])
        decided = "expectation" if np.isnan(slow) or slow < fast else "statistics"
        if decided == "expectation":
            power = float(part.channels[0, place])
            parts = _of_expectation(models.fast, fast, (power, expected, lower, upper))
        elif trace.raw:
            judged_at = int(trace.slot_at[-1][-1])
            parts = _of_statistics(models.forest, models.weigher, models.slow, trace, most)
        else:
            parts = [Contribution(slow, "a quarter hour that was judged before these readings")]
        parts = _summing(parts, score, models.offset)
    return Explanation(
        STATUSES[verdicts.status[place]], score, known(verdicts.threshold), bool(verdicts.anomalous[place]),
        expected, lower, upper, verdicts.reasons[verdicts.reason[place]], decided, judged_at, tuple(parts),
    )  # fmt: skip


def _of_expectation(tail: Tail, fast: float, shown: tuple[float | None, ...]) -> list[Contribution]:
    """What the reading's distance from the expected adds to what one without any would score."""
    ordinary = float(tail.period(np.zeros(1))[0]) - FAST_GIVES
    power, expected, lower, upper = shown
    far = Contribution(
        fast - ordinary, "far from the expected", "active power", None, power, expected, lower, upper, "kW"
    )
    return [far, Contribution(ordinary, "an ordinary reading")]


def _of_statistics(forest: Trees, weigher: Trees, tail: Tail, trace: Trace, most: int) -> list[Contribution]:
    """The last judged slot's parts: its statistics and forest, what the last day told, where an ordinary one stands."""
    row = suspicious(trace.deviations[-1][-1:].astype(np.float64))
    plain = np.full_like(row, ORDINARY)
    seldom = forest.score(np.concatenate([row, plain])[:, SLOW_SERIES_ONLY])
    row, plain = np.append(row, seldom[0]), np.append(plain, seldom[1])
    raw, weighed = trace.raw[-1][-1], trace.weighed[-1][-1]
    none = float(weigher.score(plain[None])[0])
    ordinary, told, new = (float(p) for p in tail.period(np.array([none, raw, weighed])))
    amounts = weigher.shares(row, plain) * ((told - ordinary) / (raw - none) if raw != none else 0.0)
    parts = [_of_statistic(k, float(amounts[k]), trace.usual[-1][:, k, -1]) for k in range(len(STATISTICS))]
    value, usual = np.round(seldom, DIGITS).tolist()
    parts.append(
        Contribution(
            float(amounts[-1]), "a seldom combination", value=value, usual=usual, unit="score of the isolation forest"
        )
    )
    parts = sorted((part for part in parts if part.amount), key=lambda part: -abs(part.amount))
    if len(parts) > most:
        rest = parts[most:]
        parts[most:] = [Contribution(sum(part.amount for part in rest), f"{len(rest)} smaller contributions")]
    if new != told:
        parts.append(Contribution(new - told, "told already within the last day"))
    return [*parts, Contribution(ordinary, "an ordinary quarter hour")]


def _of_statistic(k: int, amount: float, usual: Floats) -> Contribution:
    """A statistic's part; `usual` is its value, the median and both quartiles of its context, (4,)."""
    statistic = STATISTICS[k]
    channel, unit, one = _SHOWN[statistic.series]
    value, middle, low, high = (None if np.isnan(v) else round(float(v) / one, DIGITS) for v in usual)
    minutes = statistic.window * SLOT_MIN
    return Contribution(amount, statistic.words, channel, minutes, value, middle, low, high, unit)


def _summing(parts: list[Contribution], score: float, offset: float) -> list[Contribution]:
    """Round so that the parts sum to the rounded score; the last one, the ordinary, gives up the offset."""
    *named, last = parts
    beyond = score - (sum(part.amount for part in parts) - offset)
    if abs(beyond) > 10.0**-DIGITS:
        named.append(Contribution(beyond, "the scale ends here"))
    named = [replace(part, amount=round(part.amount, DIGITS)) for part in named]
    left = round(round(score, DIGITS) - math.fsum(part.amount for part in named), DIGITS)
    return [*named, replace(last, amount=left)]
