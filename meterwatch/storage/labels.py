"""Analysts' judgements of events: the only thing about a meter that the service writes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from meterwatch.storage.lending import writing

if TYPE_CHECKING:
    from meterwatch.settings import Settings

_PUT = (
    "INSERT INTO labels (event_id, meter_id, start_at, end_at, label, note, labelled_by, labelled_at) "
    "SELECT event_id, meter_id, start_at, end_at, :label, :note, :by, :now FROM events WHERE event_id = :event "
    "ON CONFLICT (event_id) DO UPDATE SET start_at = excluded.start_at, end_at = excluded.end_at, "
    "label = excluded.label, note = excluded.note, labelled_by = excluded.labelled_by, "
    "labelled_at = excluded.labelled_at"
)


def put(settings: Settings, event_id: str, *, label: str, note: str, by: str) -> bool:
    """Label an event, in the place of an earlier label; False where there is no such event.

    The event's time is kept with the label, so that it can be taught from after the event itself is pruned.

    Raises:
        sqlite3.Error: the database cannot be written now.
    """
    with writing(settings) as db:
        said = {"event": event_id, "label": label, "note": note, "by": by, "now": int(time.time())}
        return db.execute(_PUT, said).rowcount == 1


def withdraw(settings: Settings, event_id: str) -> None:
    """Take the label off an event; one without a label stays so.

    Raises:
        sqlite3.Error: the database cannot be written now.
    """
    with writing(settings) as db:
        db.execute("DELETE FROM labels WHERE event_id = ?", (event_id,))
