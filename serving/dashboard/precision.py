"""What labels say of the alarms: the share that was real, with its uncertainty, now and at higher thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

RAISED = (0.0, 0.5, 1.0, 2.0)  # how much higher the threshold might be, log10 of the return period


class Kept(NamedTuple):
    """What of the labelled alarms would remain at a threshold higher by `raised`."""

    raised: float
    real: int
    false: int

    @property
    def total(self) -> int:
        """Alarms that remain."""
        return self.real + self.false


def kept(labelled: Sequence[tuple[float, bool]]) -> list[Kept]:
    """What would remain of labelled alarms (severity, real) at each of the higher thresholds."""
    found = []
    for raised in RAISED:
        least = round(100.0 * (1.0 - 0.5**raised), 3)  # the severity of an alarm that far above the threshold
        real = [true for severity, true in labelled if severity >= least]
        found.append(Kept(raised, sum(real), len(real) - sum(real)))
    return found
