"""What the pages of overview and health show, read from the database: sums over all that is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meterwatch.storage import queries
from serving.dashboard import health_page, overview_figures, parts, pattern_figures, wording
from serving.dashboard.overview_page import Overview

if TYPE_CHECKING:
    import sqlite3
    from datetime import tzinfo

    from serving.dashboard.running import Watch

CLOUD_POINTS = 4000  # readings of the scatter, half of them for anomalous ones
AVERAGE_DAYS = 7
VOLTAGE_BINS = 1000  # fine ones, so that some remain where the readings are when there are zeros far away


def overview(db: sqlite3.Connection, meter_id: str, zone: tzinfo) -> Overview:
    """What of the overview moves."""
    oldest, newest = queries.span(db, meter_id)
    cloud = queries.picture(db, meter_id, oldest, newest, CLOUD_POINTS)
    days = queries.daily(db, meter_id, AVERAGE_DAYS, zone)
    return Overview(
        spanned=f"{wording.moment(oldest, zone)} to {wording.moment(newest, zone)} ({zone}).",
        scatter=overview_figures.scatter_figure(cloud, zone=zone, view=meter_id),
        daily=overview_figures.daily_figure(*days, window=AVERAGE_DAYS, zone=zone, view=meter_id),
        monthly=overview_figures.monthly_figure(*queries.monthly(db, meter_id, zone), view=meter_id),
        week=pattern_figures.week_figure(queries.week(db, meter_id, zone), zone=zone, view=meter_id),
        voltage=pattern_figures.voltage_figure(*queries.voltage(db, meter_id, VOLTAGE_BINS), view=meter_id),
        correlation=pattern_figures.correlation_figure(*queries.correlation(db, meter_id), view=meter_id),
    )


def health(db: sqlite3.Connection, watch: Watch, model: str | None, zone: tzinfo) -> list[Any]:
    """What of the page of health moves; `model` is the version that judges."""
    latest, ledger = queries.latest_meter(db), queries.ledger(db)
    now = health_page.now_card(
        model=model,
        newest=queries.newest(db, latest) if latest is not None else None,
        events=queries.events(db, limit=1)[1],
        running=watch.look(db, ledger),
        zone=zone,
    )
    if not ledger:
        nothing = parts.notice(
            "Nothing has been read yet",
            "The stream has not committed a record.",
            steps=[("Start everything:", "meterwatch up"), ("Or the stream alone:", "meterwatch stream")],
        )
        return [now, nothing]
    return [
        now,
        health_page.ledger_card(ledger),
        health_page.verdicts_card(queries.statuses(db)),
        health_page.rejected_card(queries.rejected(db)),
    ]
