"""How far a day of readings is from what a model learned from: a distance a signal, and how large it ordinarily gets.

The distance is Wasserstein's first one, taken between ranks: each value is replaced by its rank among the reference's
values (0 to 1), so that 0.2 says that readings have moved by 20 percentile points on average. It is the mean distance
of both distribution functions at the reference's own quantiles. Source: Vallender 1974, after the probability integral
transform. `usual` is the distance that one in a hundred days of the reference itself exceeds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from meterwatch.detection.detector import REFERENCE
from meterwatch.detection.errors import BundleError
from meterwatch.detection.readings import CHANNELS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

POWER_FACTOR, SCORE = "power_factor", "score"
SIGNALS = (*CHANNELS, POWER_FACTOR, SCORE)
QUANTILES = 20
DAY_S, HOUR_S = 86_400, 3_600
FULL_HOURS = 18  # of the 24 of a day that has enough readings to be compared
LEVEL_DAYS, FEWEST_LEVEL_DAYS = 28, 7  # days before, whose mean power is the meter's own scale


class Distance(NamedTuple):
    """How far a signal is from its reference."""

    signal: str
    distance: float | None  # 0 to 1; None: too few readings have it
    usual: float  # one in a hundred days of the reference is beyond

    @property
    def drifted(self) -> bool:
        """Whether it is farther than readings ordinarily get."""
        return self.distance is not None and self.distance > self.usual


@dataclass(frozen=True, slots=True)
class Reference:
    """One signal's distribution: `below[k]` is the share of values under `edges[k]`."""

    edges: Floats  # (k,) rising
    below: Floats  # (k,)
    usual: float

    @classmethod
    def of(cls, values: Floats) -> tuple[Floats, Floats]:
        """Edges and shares below them, by the values' own quantiles; missing ones left out."""
        known = values[np.isfinite(values)]
        edges = np.unique(np.quantile(known, np.arange(1, QUANTILES) / QUANTILES)) if len(known) else np.zeros(0)
        return edges, np.searchsorted(np.sort(known), edges) / max(len(known), 1)

    def counts(self, values: Floats) -> NDArray[np.int64]:
        """(k + 1,) how many values lie before, between and behind the edges; missing ones left out."""
        place = np.searchsorted(self.edges, values[np.isfinite(values)], side="right")
        return np.bincount(place, minlength=len(self.edges) + 1)

    def distance(self, counts: NDArray[np.int64]) -> Floats:
        """(...) from (..., k + 1) counts; NaN where nothing was counted."""
        with np.errstate(invalid="ignore"):
            below = counts.cumsum(axis=-1)[..., :-1] / counts.sum(axis=-1, keepdims=True)
        return np.asarray(np.abs(below - self.below).mean(axis=-1))


def signals(channels: Floats, level_kw: Floats | float, score: Floats) -> Floats:
    """(9, n) what is compared, in the order of SIGNALS.

    Args:
        channels: (7, n) as in `Readings`.
        level_kw: the meter's mean power over the weeks before: power, current and sub-metering count by their share of
            it, so that meters of any size are alike. Voltage and power factor are what they are.
        score: (n,) NaN unless scored.
    """
    power, _, voltage, current = channels[:4]
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = 1000 * power / (voltage * current)
        scaled = channels / level_kw
    scaled[2] = voltage
    return np.vstack([scaled, np.where(np.isfinite(factor), factor, np.nan), score])


def load(directory: Path) -> dict[str, Reference] | None:
    """A bundle's references by signal; None where it has none.

    Raises:
        BundleError: the file is no such file.
    """
    path = directory / REFERENCE
    if not path.is_file():
        return None
    try:
        told: dict[str, dict[str, Any]] = json.loads(path.read_text())
        return {
            name: Reference(np.array(one["edges"], np.float64), np.array(one["below"], np.float64), float(one["usual"]))
            for name, one in told.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path} is no reference; run `dvc repro` to make it again") from error


def save(references: Mapping[str, Reference], directory: Path) -> None:
    """The inverse of `load`; the same bytes for the same numbers."""
    told = {
        name: {"edges": one.edges.tolist(), "below": one.below.tolist(), "usual": one.usual}
        for name, one in references.items()
    }
    (directory / REFERENCE).write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")
