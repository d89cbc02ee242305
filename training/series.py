"""The readings of one meter, as training and evaluation pass them around."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.readings import Readings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Series:
    """One meter's readings, sorted by time."""

    meter_id: str
    at: NDArray[np.int64]  # (n,) unix seconds UTC, rising
    channels: NDArray[np.float64]  # (7, n), NaN where missing

    def between(self, start: int, end: int) -> Series:
        """The readings with start <= at < end."""
        part = slice(*np.searchsorted(self.at, [start, end]))
        return Series(self.meter_id, self.at[part], self.channels[:, part])


def together(series: Sequence[Series]) -> Readings:
    """Several meters' readings in one call."""
    return Readings(
        np.repeat(np.arange(len(series)), [len(one.at) for one in series]),
        np.concatenate([one.at for one in series]),
        np.concatenate([one.channels for one in series], axis=1),
    )
