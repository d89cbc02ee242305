"""The original project's two routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import orjson
from fastapi import APIRouter, Query, Response

from meterwatch.storage import queries
from serving.documentation import problems
from serving.formats import JSON, objects
from serving.parts import unknown_meter
from serving.schemas import LONGEST_METER_ID

if TYPE_CHECKING:
    from serving.parts import Parts

AVERAGE_DAYS = 7
INTERNAL = ("partition", "record_offset")


def routes(parts: Parts) -> APIRouter:
    """`/data` and `/daily_total`."""
    router = APIRouter(tags=["original"])
    settings, zone = parts.settings, parts.zone

    @router.get("/data", response_model=list[dict[str, Any]], responses=problems())
    def data(limit: Annotated[int, Query(ge=1, le=100_000)] = 1000) -> Response:
        """The newest rows of `power_data` over all meters, newest first, in its own column names."""
        with queries.reading(settings) as db:
            found = queries.newest_rows(db, limit)
        names = [name for name in (found[0] if found else {}) if name not in INTERNAL]
        return Response(orjson.dumps(objects({name: [row[name] for row in found] for name in names})), media_type=JSON)

    @router.get("/daily_total", response_model=list[dict[str, Any]], responses=problems(404))
    def daily_total(
        meter_id: Annotated[
            str | None, Query(max_length=LONGEST_METER_ID, description="Default: the meter that reported last.")
        ] = None,
    ) -> Response:
        """Energy of each day in kWh with its seven-day moving average; null where it is not known."""
        with queries.reading(settings) as db:
            if meter_id is not None and queries.newest(db, meter_id) is None:
                raise unknown_meter(meter_id)
            chosen = meter_id if meter_id is not None else queries.latest_meter(db)
            days, totals, averages = queries.daily(db, chosen or "", AVERAGE_DAYS, zone)
        told = [
            {"date": day, "total_kwh": total, "moving_average": average}  # NaN is written as null
            for day, total, average in zip(days, totals.tolist(), averages.tolist(), strict=True)
        ]
        return Response(orjson.dumps(told), media_type=JSON)

    return router
