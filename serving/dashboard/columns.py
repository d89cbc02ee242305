"""From the database's columns to what a chart takes: local times and compact arrays."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUARTER = 900  # every zone's offset changes on a quarter of an hour
MILLISECONDS = 1000.0
HOLE = 6.0  # usual steps without a reading that make a hole


def local_seconds(at: NDArray[np.int64], zone: tzinfo) -> NDArray[np.int64]:
    """Unix seconds (n,) to seconds on the wall clock of a zone (n,)."""
    quarters, back = np.unique(at // QUARTER, return_inverse=True)
    offsets = [int(_offset(int(quarter) * QUARTER, zone)) for quarter in quarters]
    return at + np.asarray(offsets, np.int64)[back] if len(at) else at


def _offset(at: int, zone: tzinfo) -> float:
    offset = datetime.fromtimestamp(at, UTC).astimezone(zone).utcoffset()
    return offset.total_seconds() if offset else 0.0


def times(at: NDArray[np.int64], zone: tzinfo) -> dict[str, str]:
    """Unix seconds (n,) as a date axis' values: milliseconds on the zone's wall clock."""
    return packed(local_seconds(at, zone) * MILLISECONDS, "f8")


def packed(values: NDArray[Any], kind: str = "f4") -> dict[str, str]:
    """Numbers (n,) as plotly's typed array: an eighth of the bytes of a JSON list, and NaN stays a gap."""
    data = np.ascontiguousarray(values, dtype=f"<{kind}").tobytes()
    return {"dtype": kind, "bdata": base64.b64encode(data).decode("ascii")}


def with_breaks(
    at: NDArray[np.int64], columns: dict[str, NDArray[np.float64]], *, resolution: float
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """Times (n,) and columns (n,) with a NaN in each hole, so that a line shows that nothing was measured there.

    A hole is a step of more than six usual ones. `resolution` is the coarsest usual step in seconds: a thinned series
    keeps all anomalous readings, whose close steps say nothing about the others.
    """
    steps = np.diff(at)
    usual = max(float(np.median(steps)), resolution) if len(steps) else resolution
    where = np.flatnonzero(steps > HOLE * usual) + 1
    return np.insert(at, where, at[where - 1] + 1), {
        name: np.insert(np.asarray(values, np.float64), where, np.nan) for name, values in columns.items()
    }
