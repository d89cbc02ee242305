"""Events across meters, and an analyst's label on each."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from meterwatch.storage import labels, queries
from serving.documentation import problems, rows_as
from serving.formats import objects
from serving.problems import Problem, unavailable
from serving.routes.meters import EVENTS_LIMIT, Cursor, Moment, event_rows, moments
from serving.schemas import LabelledEvent, LabelRequest

if TYPE_CHECKING:
    from serving.parts import Parts


def routes(parts: Parts) -> APIRouter:
    """The routes under `/v1/events`."""
    router = APIRouter(tags=["events"])

    @router.get("/v1/events", responses=rows_as("events", description="Events, newest first."))
    def events(
        request: Request,
        start: Moment = None,
        end: Moment = None,
        limit: Annotated[int, Query(ge=1, le=EVENTS_LIMIT)] = 100,
        cursor: Cursor = None,
    ) -> Response:
        """Events of all meters that touch the time from `start` to `end`, newest first."""
        span = moments(start, end, parts.zone)
        with queries.reading(parts.settings) as db:
            return event_rows(db, request, None, span, limit, cursor)

    def stored(event_id: str) -> dict[str, Any]:
        with queries.reading(parts.settings) as db:
            found = queries.event(db, event_id)
        if found is None:
            raise _unknown(event_id)
        return objects({name: [value] for name, value in found.items()})[0]

    @router.put("/v1/events/{event_id}/label", response_model=LabelledEvent, responses=problems(404, 408, 413, 503))
    def label(request: Request, event_id: Annotated[str, Path(max_length=200)], wanted: LabelRequest) -> dict[str, Any]:
        """Say whether an event was a real one; a later label takes the place of an earlier one."""
        stored(event_id)
        by = request.state.caller.name or wanted.labelled_by or "analyst"
        try:
            known = labels.put(parts.settings, event_id, label=wanted.label, note=wanted.note, by=by)
        except sqlite3.OperationalError as error:
            raise unavailable(f"The label cannot be written now ({error}); try again.") from None
        if not known:
            raise _unknown(event_id)
        return stored(event_id)

    @router.delete("/v1/events/{event_id}/label", response_model=LabelledEvent, responses=problems(404, 503))
    def withdraw(event_id: Annotated[str, Path(max_length=200)]) -> dict[str, Any]:
        """Take an event's label off; one without a label stays so."""
        stored(event_id)
        try:
            labels.withdraw(parts.settings, event_id)
        except sqlite3.OperationalError as error:
            raise unavailable(f"The label cannot be taken off now ({error}); try again.") from None
        return stored(event_id)

    return router


def _unknown(event_id: str) -> Problem:
    return Problem(404, f"There is no event {event_id!r}.")
