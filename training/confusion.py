"""How often an event's kind is right: the kind of each injected fault against the words that its events were given."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from meterwatch.detection.alarms import widened
from meterwatch.detection.kinds import WORDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meterwatch.detection.faults import Label
    from meterwatch.detection.readings import Event

Table = Counter[tuple[str, str]]  # injected kind, words told → events
MORE, LESS = ("surge", "left_on", "base_load", "night_use"), ("drop", "theft", "outage")
# Of which faults the words of a statistic, less sure than a kind's own, are true as well.
FITS = {
    WORDS["drop"]: ("theft",),  # on its first day they are the same
    "sudden rise": MORE,
    "sudden fall": LESS,
    "unusually high consumption": MORE,
    "unusually low consumption": LESS,
    "base load sunk": LESS,
    "nothing switched on": LESS,
    "unusually restless consumption": ("noise", "night_use"),
    "unusual course of the day": ("shifted_day",),
}


def told(labels: Sequence[Label], events: Sequence[Event]) -> Table:
    """Each event that touches a widened fault, by the fault's kind and its own; `events`: each one's last standing."""
    start, end = widened(labels)
    out: Table = Counter()
    for event in events:
        last = event.peak_at if event.end_at is None else event.end_at
        for label, first, until in zip(labels, start, end, strict=True):
            if event.start_at <= until and last >= first:
                out[label.kind, event.kind] += 1
                break
    return out


def fits(kind: str, words: str) -> bool:
    """Whether words are true of an injected kind."""
    return words == WORDS[kind] or kind in FITS.get(words, ())


def figures(table: Mapping[tuple[str, str], int]) -> dict[str, float]:
    """Share of events told by their fault's own words, and by words that are true of it; nothing without events."""
    events = sum(table.values())
    if not events:
        return {}
    own = sum(count for (kind, words), count in table.items() if words == WORDS[kind])
    true = sum(count for (kind, words), count in table.items() if fits(kind, words))
    return {"kind_events": float(events), "kind_right": own / events, "kind_true": true / events}
