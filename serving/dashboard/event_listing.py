"""Which events the page of events shows, in its address."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from meterwatch.storage.event_list import LABELS, Narrowed
from serving.dashboard.address import (
    LONGEST_ID,
    AddressError,
    page_number,
    read_query,
    read_time,
    write_query,
    written_time,
)

if TYPE_CHECKING:
    from datetime import tzinfo

SEVERITIES = (25, 50, 75)
LONGEST_KIND = 100
EVERY = Narrowed()


@dataclass(frozen=True, slots=True)
class EventListing:
    """Which events are looked at, and which page of them."""

    asked: Narrowed = EVERY
    page: int = 1

    def query(self, zone: tzinfo) -> str:
        """The address' query, `?` included; empty for every event."""
        asked = self.asked
        told = {
            "meter": asked.meter_id,
            "start": None if asked.start is None else written_time(asked.start, zone),
            "end": None if asked.end is None else written_time(asked.end, zone),
            "severity": f"{asked.severity:g}" if asked.severity else None,
            "kind": asked.kind,
            "label": asked.label,
            "page": str(self.page) if self.page > 1 else None,
        }
        return write_query(told)

    def labelled(self, label: str) -> EventListing:
        """The same with another label, from the first page on."""
        return EventListing(replace(self.asked, label=label))

    def at_least(self, severity: float) -> EventListing:
        """The same from another severity on, and from the first page."""
        return EventListing(replace(self.asked, severity=severity))


def parse(search: str | None, zone: tzinfo) -> EventListing:
    """Read the query of an address, as in `?meter=home&start=2007-11-01&severity=50&label=open`.

    Raises:
        AddressError: a time that is none, an end before its start, an unknown label, or a severity that is no number.
    """
    query = read_query(search)
    meter_id, kind, label = query.get("meter"), query.get("kind", ""), query.get("label", "")
    if len(meter_id or "") > LONGEST_ID or len(kind) > LONGEST_KIND:
        raise AddressError(f"This address names a meter or a kind that is too long; at most {LONGEST_ID} characters.")
    start, end = (read_time(query[name], zone) if name in query else None for name in ("start", "end"))
    if start is not None and end is not None and end <= start:
        raise AddressError("The end of this range is not after its start.")
    if label and label not in LABELS:
        raise AddressError(f"There is no label {label!r}; choose one of {', '.join(LABELS)}.")
    severity = query.get("severity", "0")
    if not (severity.isascii() and severity.isdigit() and int(severity[:4]) <= 100):  # noqa: PLR2004 - the most there is
        raise AddressError(f"{severity!r} is no severity; it runs from 0 to 100.")
    asked = Narrowed(meter_id, start, end, float(severity), kind, label)
    return EventListing(asked, page_number(query.get("page", "1")))
