"""What goes into a detector and what comes out of it, as columns.

Times are unix seconds in UTC. Missing numbers are NaN. Readings of a call are grouped by meter and stand in
arrival order within each meter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHANNELS = (
    "active_power_kw",
    "reactive_power_kvar",
    "voltage_v",
    "current_a",
    "sub_metering_1_wh",
    "sub_metering_2_wh",
    "sub_metering_3_wh",
)
STATUSES = ("scored", "warming_up", "gap", "late", "duplicate", "rejected")
SCORED, WARMING_UP, GAP, LATE, DUPLICATE, REJECTED = range(6)


@dataclass(frozen=True, slots=True)
class Readings:
    """Readings of several meters, grouped by meter, each meter's in arrival order."""

    meter: NDArray[np.int64]  # (n,) index into the call's meter ids, never falling
    at: NDArray[np.int64]  # (n,) unix seconds UTC
    channels: NDArray[np.float64]  # (7, n) in the order of CHANNELS, NaN where missing


@dataclass(frozen=True, slots=True)
class Verdicts:
    """One verdict a reading, in the readings' order. Numbers are NaN unless the status is SCORED."""

    status: NDArray[np.int8]  # (n,) index into STATUSES
    score: NDArray[np.float64]  # (n,) log10 of the return period in months, higher is worse
    threshold: NDArray[np.float64]  # (n,) anomalous means score >= threshold, nothing else
    anomalous: NDArray[np.bool_]  # (n,) False unless scored
    expected_kw: NDArray[np.float64]  # (n,)
    lower_kw: NDArray[np.float64]  # (n,) 2.5 % quantile of the expectation
    upper_kw: NDArray[np.float64]  # (n,) 97.5 % quantile of the expectation
    reason: NDArray[np.int32]  # (n,) index into reasons
    reasons: tuple[str, ...]  # the distinct texts; a rejected reading's is its reason code


@dataclass(frozen=True, slots=True)
class Event:
    """A run of anomalous readings of one meter, as it stands at the end of the call."""

    meter: int  # index into the call's meter ids
    event_id: str  # the same however the stream is cut
    start_at: int
    end_at: int | None  # its last anomalous reading; None while open
    peak_at: int
    severity: float  # 0 to 100
    kind: str  # a probable kind, in plain words
    energy_kwh: float  # above (positive) or below (negative) the expected


@dataclass(frozen=True, slots=True)
class Observation:
    """What `Detector.observe` answers: new states, verdicts, and each event that opened, changed or closed."""

    states: list[bytes]  # (meters,)
    profiles: list[bytes | None]  # (meters,) None: unchanged, keep the one you have
    verdicts: Verdicts
    events: list[Event]  # the newest standing of each touched event, in order of meter and start
