"""Reading back what was stored of each meter."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BeforeValidator

from meterwatch.storage import queries
from serving import times
from serving.documentation import problems, rows_as
from serving.explanation import explain
from serving.formats import objects, rows
from serving.parts import unknown_meter
from serving.problems import Problem, unavailable
from serving.schemas import ISO_TIME, LONGEST_METER_ID

if TYPE_CHECKING:
    import sqlite3
    from datetime import tzinfo

    from pydantic import JsonValue

    from serving.parts import Parts

MeterId = Annotated[
    str,
    BeforeValidator(unquote),  # not before the route is found: a name may hold a slash
    Path(max_length=LONGEST_METER_ID, description="A meter's id, percent-encoded.", examples=["default"]),
]
Limit = Annotated[int, Query(ge=1, le=50_000, description="Rows of a page.")]
# Told, not checked by the framework: in an address the plus of an offset may have become a space.
TIME_SHAPE: dict[str, JsonValue] = {"pattern": ISO_TIME, "format": "date-time"}
Moment = Annotated[
    str | None,
    Query(description="ISO-8601; without an offset in METERWATCH_TIMEZONE.", json_schema_extra=TIME_SHAPE),
]
Cursor = Annotated[str | None, Query(max_length=512, description="The `next` of the page before.")]
MaxPoints = Annotated[
    int | None,
    Query(ge=2, le=100_000, description="Thin to about so many; every extreme and every anomalous reading stays."),
]
EVENTS_LIMIT = 1000
EXPLAINED_AT_ONCE = 1  # each holds up to a week of readings, and a core that scoring needs too for up to a second
EXPLAINED_WAITING = 16  # further ones that may wait; beyond, the caller is asked to come back


def routes(parts: Parts) -> APIRouter:
    """The routes under `/v1/meters`."""
    router = APIRouter(tags=["meters"])
    settings, zone = parts.settings, parts.zone
    explaining = CapacityLimiter(EXPLAINED_AT_ONCE)

    @router.get("/v1/meters", responses=rows_as("meters", description="Meters in order of their id."))
    def meters(request: Request, limit: Limit = 1000, cursor: Cursor = None) -> Response:
        """Every meter that ever reported, with its span and how many readings are stored."""
        with queries.reading(settings) as db:
            found = queries.meters(db, limit + 1, cursor or "")
        kept = found[:limit]
        names = ("meter_id", "oldest_at", "newest_at", "readings")
        columns = {name: [row[name] for row in kept] for name in names}
        return rows(request, "meters", columns, following=kept[-1]["meter_id"] if len(found) > limit else None)

    @router.get("/v1/meters/{meter_id}", responses=problems(404))
    def meter(meter_id: MeterId) -> dict[str, Any]:
        """One meter: span, cadence, counts by status, and its newest reading with its verdict."""
        with queries.reading(settings) as db:
            found = queries.meter(db, meter_id)
        if found is None:
            raise unknown_meter(meter_id)
        newest = found.pop("newest")
        return {**_one(found), "newest": _one(newest)}

    @router.get("/v1/meters/{meter_id}/readings", responses=rows_as("readings"))
    def readings(
        request: Request,
        meter_id: MeterId,
        start: Moment = None,
        end: Moment = None,
        max_points: MaxPoints = None,
        limit: Limit = 1000,
        cursor: Cursor = None,
    ) -> Response:
        """A meter's readings from `start` to before `end`, oldest first."""
        span = moments(start, end, zone)
        with queries.reading(settings) as db:
            return _stored(db, request, "readings", meter_id, span, max_points, limit, cursor)

    @router.get("/v1/meters/{meter_id}/verdicts", responses=rows_as("verdicts"))
    def verdicts(
        request: Request,
        meter_id: MeterId,
        start: Moment = None,
        end: Moment = None,
        max_points: MaxPoints = None,
        limit: Limit = 1000,
        cursor: Cursor = None,
    ) -> Response:
        """The verdicts on a meter's readings from `start` to before `end`, oldest first."""
        span = moments(start, end, zone)
        with queries.reading(settings) as db:
            return _stored(db, request, "verdicts", meter_id, span, max_points, limit, cursor)

    @router.get("/v1/meters/{meter_id}/events", responses=rows_as("events", description="Events, newest first."))
    def events(
        request: Request,
        meter_id: MeterId,
        start: Moment = None,
        end: Moment = None,
        limit: Annotated[int, Query(ge=1, le=EVENTS_LIMIT)] = 100,
        cursor: Cursor = None,
    ) -> Response:
        """A meter's events that touch the time from `start` to `end`, newest first."""
        span = moments(start, end, zone)
        with queries.reading(settings) as db:
            if queries.newest(db, meter_id) is None:
                raise unknown_meter(meter_id)
            return event_rows(db, request, meter_id, span, limit, cursor)

    @router.get("/v1/meters/{meter_id}/explain", responses=problems(404))
    async def explained(
        meter_id: MeterId,
        at: Annotated[str, Query(description="ISO-8601, the time of a stored reading.", json_schema_extra=TIME_SHAPE)],
        replay: Annotated[  # noqa: FBT002 - a flag of the address
            bool, Query(description="State the verdict as it is computed again, and whether it is the same.")
        ] = False,
    ) -> dict[str, Any]:
        """Why a reading was judged so: what its score is made of, the same hour in earlier weeks, and the lineage.

        The parts of a score sum to it. They are found by judging again: the stored readings since an earlier state of
        the meter, by the models that judged. Where that is not possible, `contributions_missing` says why.
        """
        asked = partial(explain, parts, meter_id, moment("at", at, zone), replay=replay)
        if explaining.statistics().tasks_waiting >= EXPLAINED_WAITING:
            raise unavailable("Too many explanations wait already.")
        async with explaining:
            return await to_thread.run_sync(asked)

    return router


def moment(name: str, text: str, zone: tzinfo) -> int:
    """A time of the query as unix seconds.

    Raises:
        Problem: 422 with its name.
    """
    try:
        return times.parse(text[:16] + text[16:].replace(" ", "+"), zone)  # the offset's `+` came as a space
    except times.TimeError as error:
        raise Problem(422, f"query.{name}: {error}", errors=[(f"query.{name}", str(error))]) from None


def moments(start: str | None, end: str | None, zone: tzinfo) -> tuple[int | None, int | None]:
    """`start` and `end` of the query as unix seconds."""
    return (
        None if start is None else moment("start", start, zone),
        None if end is None else moment("end", end, zone),
    )


def _one(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its times as text."""
    told = {name: [value] for name, value in row.items()}
    for name in ("oldest_at", "newest_at"):
        if name in row:
            told[name] = [times.text(row[name])]
    shown = objects({name: values for name, values in told.items() if name != "anomalous" or "at" in row})[0]
    return shown if "at" in row else {**shown, "anomalous": row["anomalous"]}


def _stored(
    db: sqlite3.Connection,
    request: Request,
    table: str,
    meter_id: str,
    span: tuple[int | None, int | None],
    max_points: int | None,
    limit: int,
    cursor: str | None,
) -> Response:
    oldest, newest = queries.span(db, meter_id)
    if newest == 0 and queries.newest(db, meter_id) is None:
        raise unknown_meter(meter_id)
    start = oldest if span[0] is None else max(span[0], oldest)
    end = newest + 1 if span[1] is None else min(span[1], newest + 1)
    said = {"meter_id": meter_id}
    if max_points is None:
        page = queries.page(db, table, meter_id, start, end, after=_second(cursor), limit=limit)
        following = None if page.after is None else str(page.after)
        return rows(request, table, page.columns, following=following, said=said)
    kept = queries.series(db, meter_id, start, end - 1, max_points)["at"].tolist() if end > start else []
    return rows(request, table, queries.at_times(db, table, meter_id, kept), said=said)


def _second(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 12):  # noqa: PLR2004 - the year 9999 has 12
        raise _bad_cursor()
    return int(cursor)


def event_rows(
    db: sqlite3.Connection,
    request: Request,
    meter_id: str | None,
    span: tuple[int | None, int | None],
    limit: int,
    cursor: str | None,
) -> Response:
    """A page of events; the cursor is the last one's start and id."""
    before = None
    if cursor is not None:
        start, _, event_id = cursor.partition("~")
        second = _second(start)
        if second is None or not event_id:
            raise _bad_cursor()
        before = (second, event_id)
    found, total = queries.events(db, meter_id, start=span[0], end=span[1], before=before, limit=limit + 1)
    kept = found[:limit]
    names = (*queries.EVENT_COLUMNS, "label", "note")
    columns = {name: [event[name] for event in kept] for name in names}
    following = f"{kept[-1]['start_at']}~{kept[-1]['event_id']}" if len(found) > limit else None
    return rows(request, "events", columns, following=following, said={"total": total})


def _bad_cursor() -> Problem:
    fact = "is not one that was answered as `next`"
    return Problem(422, f"query.cursor: {fact}", errors=[("query.cursor", fact)])
