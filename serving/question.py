"""What `/v1/score` is asked, as columns: the one form that JSON and Arrow both come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np  # noqa: TC002

from serving.problems import Problem
from serving.schemas import LONGEST_METER_ID, MAX_METERS, MAX_READINGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from meterwatch.detection.readings import Readings


@dataclass(frozen=True, slots=True)
class Question:
    """Meters with their states, and their readings grouped by meter in arrival order."""

    meter_ids: list[str]
    states: list[bytes | None]
    profiles: list[bytes | None]
    readings: Readings
    first: int = 0  # of a piece: the place of its first meter in the request


def check_size(meters: int, readings: int) -> None:
    """Refuse too much at once.

    Raises:
        Problem: 413.
    """
    if meters > MAX_METERS or readings > MAX_READINGS:
        raise Problem(
            413, f"A request may have {MAX_METERS:,} meters and {MAX_READINGS:,} readings; divide it into several."
        )


def check_meters(meter_ids: Sequence[str], counts: NDArray[np.int64]) -> None:
    """Refuse what no answer can be given to: a meter twice, an endless name, too much at once.

    Raises:
        Problem: 413 or 422.
    """
    check_size(len(meter_ids), int(counts.sum()))
    seen: dict[str, int] = {}
    for k, meter_id in enumerate(meter_ids):
        path = f"meters[{k}].meter_id"
        if not meter_id or len(meter_id) > LONGEST_METER_ID or len(meter_id.encode()) > LONGEST_METER_ID:
            fact = f"must have 1 to {LONGEST_METER_ID} bytes"
            raise Problem(422, f"{path}: {fact}", errors=[(path, fact)])
        if seen.setdefault(meter_id, k) != k:
            fact = f"is the same as of meters[{seen[meter_id]}]; put a meter's readings into one list"
            raise Problem(422, f"{path}: {fact}", errors=[(path, fact)])
