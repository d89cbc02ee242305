"""What a page shows as CSV: every row that was asked for, beyond the page of the list too."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from meterwatch.storage import event_list, queries
from serving.dashboard.standings import since

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence
    from datetime import tzinfo

    from meterwatch.storage.event_list import Narrowed
    from serving.dashboard.listing import Listing
    from serving.dashboard.standings import Standings

POINTS = 4000  # readings of a file, thinned as the picture is: every extreme and every anomaly
EVENTS = 50_000
METERS = ("meter_id", "state", "since", "last_reading_at", "active_power_kw", "expected_kw", "lower_kw", "upper_kw",
          "event_severity", "event_kind")  # fmt: skip


def meters(db: sqlite3.Connection, standings: Standings, asked: Listing, zone: tzinfo) -> str:
    """Every meter that a listing asks for, in its order."""
    rows = [
        (one.meter_id, state, since(db, state, one), one.at, one.power, one.expected, one.lower, one.upper,
         *((one.severity, one.kind) if state == "anomalous" else (None, None)))
        for state, one in standings.found(db, asked)
    ]  # fmt: skip
    return _written(METERS, rows, zone, times=("since", "last_reading_at"))


def events(db: sqlite3.Connection, asked: Narrowed, zone: tzinfo, *, price: float) -> str:
    """Every event that is asked for, newest first, with its cost."""
    names = (*queries.EVENT_COLUMNS, "label", "note")
    rows = [
        (
            *(event[name] for name in names),
            None if event["energy_kwh"] is None else round(event["energy_kwh"] * price, 4),
        )
        for event in event_list.listed(db, asked, offset=0, limit=EVENTS).rows
    ]
    return _written((*names, "cost"), rows, zone, times=("start_at", "end_at", "peak_at"))


def readings(db: sqlite3.Connection, meter_id: str, window: tuple[int, int], zone: tzinfo) -> str:
    """A meter's readings in a window (both ends included), each with its verdict."""
    at = queries.series(db, meter_id, *window, POINTS)["at"].tolist()
    found = [queries.at_times(db, table, meter_id, at) for table in ("readings", "verdicts")]
    columns = {name: values for one in found for name, values in one.items()}
    return _written(list(columns), zip(*columns.values(), strict=True), zone, times=("at",))


def _written(heads: Sequence[str], rows: Iterable[Sequence[Any]], zone: tzinfo, *, times: Sequence[str]) -> str:
    """CSV with times in the zone, each with its offset; what is unknown is empty."""
    moments = {heads.index(name) for name in times}
    text = io.StringIO()
    file = csv.writer(text, lineterminator="\n")
    file.writerow(heads)
    for row in rows:
        file.writerow(_moment(value, zone) if k in moments else value for k, value in enumerate(row))
    return text.getvalue()


def _moment(at: int | None, zone: tzinfo) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).astimezone(zone).isoformat()
