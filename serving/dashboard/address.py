"""What a page shows is in its address, so that a link can be shared and the back button works."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW, METER, EVENTS, OVERVIEW, MODELS, HEALTH = "/", "/meter", "/events", "/overview", "/models", "/health"
NAMES = {
    NOW: "Now",
    METER: "Meter",
    EVENTS: "Events",
    OVERVIEW: "Overview",
    MODELS: "Models",
    HEALTH: "Health",
}
RANGES = {  # seconds; 0: all there is
    "10min": 600,
    "1h": 3600,
    "6h": 6 * 3600,
    "1d": 86_400,
    "1w": 7 * 86_400,
    "30d": 30 * 86_400,
    "1y": 365 * 86_400,
    "all": 0,
}
RANGE_NAMES = {
    "10min": "10 min",
    "1h": "1 h",
    "6h": "6 h",
    "1d": "1 day",
    "1w": "1 week",
    "30d": "30 days",
    "1y": "1 year",
    "all": "All",
}
DEFAULT_RANGE = "1d"
LONGEST_ID = 256
SHORTEST = 600  # seconds of a range up to now, however few readings there are
LAST_TIME = 7_258_118_400  # 2200-01-01
LAST_PAGE = 10**6


class AddressError(Exception):
    """An address asks for something that cannot be; the message is shown on the page."""


@dataclass(frozen=True, slots=True)
class View:
    """What is looked at: a meter (None: the one that reported last) and either a range up to now or a fixed window."""

    meter_id: str | None = None
    range: str = DEFAULT_RANGE
    start: int | None = None  # unix seconds; both are set, or none
    end: int | None = None
    at: int | None = None  # a reading that is explained

    @property
    def live(self) -> bool:
        """Whether the view follows the newest reading."""
        return self.start is None

    def window(self, oldest: int, newest: int) -> tuple[int, int]:
        """(start, end) in unix seconds, for a meter with readings from `oldest` to `newest`."""
        if self.start is not None and self.end is not None:
            return self.start, self.end
        begin = max(newest - RANGES[self.range], oldest) if RANGES[self.range] else oldest
        return min(begin, newest - SHORTEST), newest

    def with_range(self, name: str) -> View:
        """The same meter up to now."""
        return replace(self, range=name, start=None, end=None)

    def of_window(self, start: int, end: int) -> View:
        """The same meter in a fixed window."""
        return replace(self, start=start, end=end)

    def search(self, zone: tzinfo) -> str:
        """The address' query, `?` included."""
        query = {"meter": self.meter_id} if self.meter_id is not None else {}
        if self.start is not None and self.end is not None:
            query |= {"start": written_time(self.start, zone), "end": written_time(self.end, zone)}
        else:
            query |= {"range": self.range}
        if self.at is not None:
            query |= {"at": written_time(self.at, zone)}
        return "?" + urlencode(query)


def parse(search: str | None, zone: tzinfo) -> View:
    """Read the query of an address.

    Args:
        search: as in `?meter=default&range=1d` or `?meter=default&start=2007-11-01T10:00&end=2007-11-02`.
        zone: the zone of times that name none.

    Raises:
        AddressError: an unknown range, a time that is none, or an end before its start.
    """
    query = {name: values[-1] for name, values in parse_qs((search or "").lstrip("?"), keep_blank_values=True).items()}
    meter_id = query.get("meter") or None
    if meter_id is not None and len(meter_id) > LONGEST_ID:
        raise AddressError(f"This address names a meter of {len(meter_id):,} characters; at most {LONGEST_ID} can be.")
    chosen = query.get("range", DEFAULT_RANGE)
    if chosen not in RANGES:
        raise AddressError(f"There is no range {chosen!r}; choose one of {', '.join(RANGES)}.")
    at = read_time(query["at"], zone) if query.get("at") else None
    if "start" not in query and "end" not in query:
        return View(meter_id, chosen, at=at)
    if "start" not in query or "end" not in query:
        raise AddressError("A range needs both a start and an end.")
    start, end = read_time(query["start"], zone), read_time(query["end"], zone)
    if end <= start:
        raise AddressError("The end of this range is not after its start.")
    return View(meter_id, chosen, start, end, at)


def name(path: str) -> str:
    """The name of the page at a path."""
    return NAMES.get(path, "No such page")


def steady(path: str, search: str) -> str:
    """What of an address makes a page another one; the rest of it is followed by one of the page's parts alone."""
    if path == NOW:
        return path
    query = {name: values for name, values in parse_qs(search.lstrip("?")).items() if name != "at"}
    return f"{path}?{urlencode(sorted(query.items()), doseq=True)}" if path == METER else ""


def meter_query(meter_id: str | None) -> str:
    """The query of an address that names no more than a meter; empty where there is none."""
    return "?" + urlencode({"meter": meter_id}) if meter_id else ""


def read_query(search: str | None) -> dict[str, str]:
    """What the query of a list's address says; what is empty says nothing."""
    return {name: values[-1] for name, values in parse_qs((search or "").lstrip("?")).items()}


def write_query(told: Mapping[str, str | None]) -> str:
    """The query of a list's address, `?` included, without what is empty; empty where nothing is told."""
    kept = {name: value for name, value in told.items() if value}
    return "?" + urlencode(kept) if kept else ""


def page_number(text: str) -> int:
    """The number of a list's page, from 1 on.

    Raises:
        AddressError: it is none.
    """
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= LAST_PAGE):
        raise AddressError(f"{text!r} is no page; the first is 1.")
    return int(text)


def read_time(text: str, zone: tzinfo) -> int:
    """A typed time as unix seconds; without an offset it is the zone's.

    Raises:
        AddressError: it is none, or far off.
    """
    try:
        moment = datetime.fromisoformat(text.strip().replace(" ", "T", 1))
        at = int((moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp())
    except (ValueError, OverflowError):
        raise AddressError(f"{text!r} is not a time; write it as 2007-11-30T18:00.") from None
    if not 0 <= at <= LAST_TIME:
        raise AddressError(f"{text!r} lies outside the years 1970 to 2199.")
    return at


def written_time(at: int, zone: tzinfo) -> str:
    """Unix seconds as `read_time` reads them."""
    local = datetime.fromtimestamp(at, UTC).astimezone(zone)
    # The offset is written where the wall clock alone would be ambiguous: the hour that daylight saving repeats.
    ambiguous = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
    return local.isoformat() if ambiguous else local.replace(tzinfo=None).isoformat()
