"""One plainly labelled fault put into lines on their way to the topic, so that somebody can see an event appear."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.faults import inject_one
from meterwatch.detection.readings import CHANNELS
from streaming.decide import equal
from streaming.errors import StreamError
from streaming.lines import TIME, numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

SEED = 1
SECONDS = 8 * 3600
PLAIN = 1.0  # severity
WHERE = 0.75  # of the lines come before it


def with_fault(lines: Sequence[bytes], kind: str, first: int | None = None) -> tuple[list[bytes], str]:
    """Put a fault of eight hours into UCI lines.

    Args:
        lines: one meter's, in order of time; what is not a reading is passed over.
        kind: as `left_on`, see `meterwatch.detection.fault_kinds.KINDS`.
        first: index of the line at which it begins; default: after three quarters of them.

    Returns:
        The lines, changed where the fault shows, and a sentence that labels it.

    Raises:
        DataError: an unknown kind, or one that needs a channel that is missing.
        StreamError: there are no readings to put it into.
    """
    begin = int(len(lines) * WHERE) if first is None else first
    rows, at, channels = _in_order(lines)
    if not len(rows) or rows[-1] < begin:
        raise StreamError("no UCI lines to put a fault into; --inject needs a file of readings of one meter")
    start = int(at[np.searchsorted(rows, begin)])
    changed, label = inject_one(at, channels, kind, start, SEED, PLAIN, duration_s=SECONDS)
    new = list(lines)
    for column in np.flatnonzero(~equal(changed, channels).all(axis=0)).tolist():
        new[rows[column]] = _written(lines[rows[column]], changed[:, column].tolist())
    return new, (
        f"Not real: a fault {label.kind!r} (size {label.size:.1f}) is put into the readings from "
        f"{_told(label.start_at)} to {_told(label.end_at)}."
    )


def _in_order(lines: Sequence[bytes]) -> tuple[Ints, Ints, Floats]:
    """(n,) rows, (n,) times, (7, n) channels of the readings; late and double ones are passed over, and stay."""
    found = [(row, moment, values) for row, line in enumerate(lines)
             if (values := numbers(line)) is not None and (moment := _seconds(line)) is not None]  # fmt: skip
    rows, at = np.array([(row, moment) for row, moment, _ in found], np.int64).reshape(-1, 2).T
    channels = np.array([values for *_, values in found]).reshape(len(found), len(CHANNELS)).T
    rises = np.diff(np.maximum.accumulate(at), prepend=-1) > 0
    return rows[rises], at[rises], channels[:, rises]


def _written(line: bytes, values: list[float]) -> bytes:
    separator = b";" if b";" in line else b","
    time = line.split(separator)[:TIME]
    return separator.join([*time, *(b"?" if math.isnan(value) else f"{value:.3f}".encode() for value in values)])


def _seconds(line: bytes) -> int | None:
    """The line's time as if it were in UTC: only distances count."""
    date, time = line.decode().replace(",", ";").split(";")[:TIME]
    try:
        moment = dt.datetime.strptime(f"{date.strip()} {time.strip()} +0000", "%d/%m/%Y %H:%M:%S %z")
    except ValueError:
        return None
    return int(moment.timestamp())


def _told(at: int) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%d %b %Y %H:%M")
