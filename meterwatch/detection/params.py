"""What a fitted detector is told once and never changes: it travels in the bundle as `params.json`."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from meterwatch.detection.errors import BundleError

SLOT_S = 900  # the grid of the statistics
SLOTS_A_DAY = 86_400 // SLOT_S
HISTORY = 56 * SLOTS_A_DAY  # mean power is remembered for eight weeks
SHORT_HISTORY = 28 * SLOTS_A_DAY  # everything else for four
HOT = SLOTS_A_DAY + 4  # slots since the profile last changed; an hourly reading fills four at once
RECEPTIVE = 64  # readings that the sequence model sees, the judged one excluded
PAST = RECEPTIVE + 1  # one more, for the pause before the first
RECENT = 32  # accepted readings against which a repeat is recognised


@dataclass(frozen=True, slots=True)
class DetectorParams:
    """What changes a verdict and is not learned. Times in seconds, power in kW and kVAr."""

    limit_power: float = 1_000_000.0  # |active| and |reactive| beyond are out_of_range
    limit_other: float = 1_000_000.0  # voltage, current and sub-metering lie in 0..this
    clock_jump_s: int = 30 * 86_400
    clock_return_readings: int = 32  # so many in a row from before a jump show that the jump was a wrong clock
    allowed_lateness_s: int = 0  # the stream puts readings in order within this bound; at most clock_jump_s
    warm_up_s: int = 86_400
    absence_s: int = 3_600  # a pause longer than this and than three cadences
    settle_s: int = 3_600  # readings so soon after an absence are not judged
    merge_gap_s: int = 3_600  # anomalous readings closer than this are one event
    acceptance_days: int = 21  # a change flagged on so many of the last 28 days is the new normal
    threshold: float = 0.0  # log10 of months: 0 is one false alarm a meter and month

    def __post_init__(self) -> None:
        """Raises BundleError: the order of readings would have no rule."""
        if not 0 <= self.allowed_lateness_s <= self.clock_jump_s:
            raise BundleError(
                f"allowed_lateness_s = {self.allowed_lateness_s}: set it in params.yaml to 0 up to clock_jump_s "
                f"({self.clock_jump_s})"
            )
        if not 2 <= self.clock_return_readings <= RECENT:  # noqa: PLR2004 - a single one may be any stray
            raise BundleError(f"clock_return_readings = {self.clock_return_readings}: set it to 2 up to {RECENT}")

    def to_json(self) -> str:
        """Canonical text, the same bytes for the same values."""
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DetectorParams:
        """Build from a mapping; an unknown name is a `BundleError`."""
        unknown = set(values) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise BundleError(f"unknown detector parameters {sorted(unknown)}; the bundle is of another version")
        return cls(**values)
