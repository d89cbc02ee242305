"""Times of a request and of an answer: ISO-8601 text outside, unix seconds inside."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from serving.schemas import ISO_TIME

if TYPE_CHECKING:
    from datetime import tzinfo

    from numpy.typing import NDArray

LAST = 253_402_300_799  # the end of the year 9999
OUTSIDE = "times before 1970 or after 9999 are not taken"


class TimeError(ValueError):
    """A text that names no instant; the message says why."""


def unix(text: str, zone: tzinfo) -> int:
    """The unix second that an ISO-8601 text names, of the first kind where the clock shows it twice.

    Args:
        text: matches `ISO_TIME`.
        zone: of a text without an offset.

    Raises:
        TimeError: no such day or hour, an hour that the clock jumped over, or a time before 1970 or after 9999.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise TimeError(f"there is no such time: {error}") from None
    if moment.tzinfo is None:
        local = moment.replace(tzinfo=zone)
        if zone is not UTC and local.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != moment:
            raise TimeError(f"there is no such time in {zone}: the clock was put forward")
        moment = local
    seconds = (moment - _EPOCH) // _SECOND
    if not 0 <= seconds <= LAST:
        raise TimeError(OUTSIDE)
    return seconds


_EPOCH, _SECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(seconds=1)
_ISO = re.compile(ISO_TIME)


def parse(text: str, zone: tzinfo) -> int:
    """As `unix`, for a text that nobody has looked at."""
    if not _ISO.fullmatch(text):
        raise TimeError("a time is written as 2007-11-01T18:04:00Z")
    return unix(text, zone)


def texts(at: NDArray[np.int64]) -> list[str]:
    """Unix seconds (n,) as ISO-8601 in UTC with Z."""
    written: list[str] = np.datetime_as_string(at.astype("datetime64[s]"), timezone="UTC").tolist()
    return written


def text(at: int) -> str:
    """One unix second as ISO-8601 in UTC with Z."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
