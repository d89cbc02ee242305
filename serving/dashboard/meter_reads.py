"""What the page of a meter shows, read from the database."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from meterwatch.storage import queries
from meterwatch.storage.marks import marks
from serving.dashboard import address, live_page, theme, wording
from serving.dashboard.channel_panels import with_channels, with_marks
from serving.dashboard.live_figures import Span, live_figure, resolution

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from datetime import tzinfo

    from numpy.typing import NDArray

    from serving.dashboard.address import View

POINTS = 2400  # readings of a picture, half of them for the line with its band: four columns each
EVENTS_BELOW = 5  # events under the live chart


class UnknownMeterError(Exception):
    """An address names a meter that never reported."""


class Moved(NamedTuple):
    """What of the live page moves."""

    figure: theme.Figure | None  # None: stays
    verdict: list[Any]
    events: list[Any]
    newest: int  # unix seconds of the newest reading
    panels: int = 0  # of the figure, below the power


def moved(db: sqlite3.Connection, meter_id: str, view: View, *, zone: tzinfo, price: float) -> Moved:
    """What of a meter's page moves."""
    newest = queries.newest(db, meter_id)
    if newest is None:
        raise UnknownMeterError(meter_id)
    last = int(newest["at"])
    figure, drawn, window = power(db, meter_id, view, zone)
    panels = _below(db, meter_id, figure, drawn, window, zone)
    recent, _ = queries.events(db, meter_id, limit=EVENTS_BELOW)
    why = address.METER + replace(view, at=last).search(zone)
    return Moved(
        figure,
        live_page.verdict_card(newest, why=why, zone=zone),
        live_page.recent_events(recent, view, zone=zone, price=price, newest=last),
        last,
        panels,
    )


def power(
    db: sqlite3.Connection, meter_id: str, view: View, zone: tzinfo
) -> tuple[theme.Figure, Mapping[str, NDArray[Any]], tuple[int, int]]:
    """A picture of a meter's power, what is drawn in it, and its window."""
    oldest, last = queries.span(db, meter_id)
    start, end = view.window(oldest, last)
    events, _ = queries.events(db, meter_id, start=start, end=end)
    spans = [
        Span(int(event["start_at"]), last if event["end_at"] is None else int(event["end_at"]), str(event["kind"]))
        for event in events
    ]
    drawn = queries.picture(db, meter_id, start, end, POINTS)
    figure = live_figure(
        drawn,
        spans,
        window=(start, end),
        zone=zone,
        view=view.search(zone),
        nothing=f"No readings in this range.<br>There are some from {wording.moment(oldest, zone)}"
        f"<br>to {wording.moment(last, zone)} ({zone}).",
    )
    return figure, drawn, (start, end)


def _below(
    db: sqlite3.Connection,
    meter_id: str,
    figure: theme.Figure,
    drawn: Mapping[str, NDArray[Any]],
    window: tuple[int, int],
    zone: tzinfo,
) -> int:
    """Add the other channels and the marks to a picture of the power; answers how many panels came below."""
    at = drawn["at"]
    if not len(at):
        return 0
    stored = queries.at_times(db, "readings", meter_id, at.tolist())
    channels = {name: np.array(stored[name], np.float64) for name in queries.CHANNEL_COLUMNS}
    panels = with_channels(figure, at, channels, resolution=resolution(drawn, window), zone=zone)
    with_marks(figure, marks(db, meter_id, *window), zone=zone)
    return panels
