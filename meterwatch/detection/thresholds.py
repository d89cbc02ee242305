"""From a raw score to a return period: how seldom a quiet day reaches it.

The largest value of each quiet day is what counts, since an alarm is what one answers once. Within the sample the
return period is the empirical one; beyond it an exponential tail (a generalised Pareto tail of shape zero, Coles
2001, section 4.2) fitted to the excesses over the upper decile goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MONTH_DAYS = 30.44
# A score is the rarer of a reading's own surprise (fast) and of the last closed slot's (slow). Single readings surprise
# often in a household, and say less than a quarter hour does: by so much, in log10 of months, theirs must be rarer.
FAST_GIVES = 1.5
# Of a tail, in units of the score: quiet days that hardly differ do not make the first one that does a marvel.
LEAST_SCALE = 0.25


@dataclass(frozen=True, slots=True)
class Tail:
    """A piecewise linear map from a raw score to log10 of the return period in months."""

    scores: tuple[float, ...]  # rising
    periods: tuple[float, ...]  # rising, log10 of months
    slope: float  # log10 of months a unit of score, beyond the last

    @classmethod
    def fit(cls, daily_maxima: Floats, knots: int = 64) -> Tail:
        """Learn from the largest raw score of each quiet day, (days,), pooled over meters."""
        values = np.sort(np.asarray(daily_maxima, np.float64))
        n = len(values)
        exceed = (n - np.arange(n) - 0.5) / n  # share of days at or above, Hazen's plotting position
        keep = np.unique(np.linspace(0, n - 1, min(n, knots)).round().astype(int))
        edge = values[int(0.9 * (n - 1))]
        excess = values[values > edge] - edge
        scale = max(float(excess.mean()) if len(excess) else 0.0, LEAST_SCALE)
        # The tail goes through the upper decile; above it the sample's own steps would be noise.
        body = keep[values[keep] <= edge]
        xs, first = np.unique(values[body], return_index=True)
        ys = np.log10(1 / (exceed[body][first] * MONTH_DAYS))
        return cls(tuple(xs.tolist()), tuple(ys.tolist()), 1 / (scale * float(np.log(10))))

    def period(self, scores: Floats) -> Floats:
        """Log10 of the return period in months, any shape; NaN stays NaN. Linear beyond both ends."""
        inside = np.interp(scores, self.scores, self.periods)
        above = np.maximum(scores - self.scores[-1], 0.0)
        below = np.minimum(scores - self.scores[0], 0.0)
        return inside + (above + below) * self.slope

    def to_dict(self) -> dict[str, Any]:
        """For `calibration.json`."""
        return {"scores": list(self.scores), "periods": list(self.periods), "slope": self.slope}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Tail:
        """The inverse of `to_dict`."""
        return cls(tuple(values["scores"]), tuple(values["periods"]), float(values["slope"]))
