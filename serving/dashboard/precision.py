"""What labels say of the alarms: the share that was real, with its uncertainty, now and at higher thresholds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

Z = 1.959963984540054  # of a normal distribution's middle 95 %
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


def wilson(hits: int, tries: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (E. B. Wilson 1927, doi:10.1080/01621459.1927.10502953); (0, 1) of none."""
    if tries == 0:
        return 0.0, 1.0
    share = hits / tries
    scale = 1 + Z**2 / tries
    middle = (share + Z**2 / (2 * tries)) / scale
    half = Z * math.sqrt(share * (1 - share) / tries + Z**2 / (4 * tries**2)) / scale
    return max(middle - half, 0.0), min(middle + half, 1.0)


def kept(labelled: Sequence[tuple[float, bool]]) -> list[Kept]:
    """What would remain of labelled alarms (severity, real) at each of the higher thresholds."""
    found = []
    for raised in RAISED:
        least = round(100.0 * (1.0 - 0.5**raised), 3)  # the severity of an alarm that far above the threshold
        real = [true for severity, true in labelled if severity >= least]
        found.append(Kept(raised, sum(real), len(real) - sum(real)))
    return found
