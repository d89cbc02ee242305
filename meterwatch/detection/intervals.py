"""Closed 95 % intervals of counts and shares."""

from __future__ import annotations

import math

Z = 1.959963984540054  # of a normal distribution's middle 95 %


def wilson(hits: int, tries: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (E. B. Wilson 1927, doi:10.1080/01621459.1927.10502953); (0, 1) of none."""
    if tries == 0:
        return 0.0, 1.0
    share = hits / tries
    scale = 1 + Z**2 / tries
    middle = (share + Z**2 / (2 * tries)) / scale
    half = Z * math.sqrt(share * (1 - share) / tries + Z**2 / (4 * tries**2)) / scale
    return max(middle - half, 0.0), min(middle + half, 1.0)


def byar(count: int) -> tuple[float, float]:
    """Byar's 95 % interval of a Poisson count's mean, within 2 % of the exact one but for the least counts.

    Source: Breslow and Day 1987, Statistical Methods in Cancer Research II, p. 69.
    """
    low = count * (1 - 1 / (9 * count) - Z / (3 * math.sqrt(count))) ** 3 if count else 0.0
    more = count + 1
    return max(low, 0.0), more * (1 - 1 / (9 * more) + Z / (3 * math.sqrt(more))) ** 3
