"""`POST /v1/readings`: readings for the topic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import orjson
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Header, Request, Response

from serving.documentation import body_of, problems
from serving.formats import JSON
from serving.jsontext import validated
from serving.problems import Problem, unavailable
from serving.schemas import MAX_READINGS, SENT_READINGS, Accepted

if TYPE_CHECKING:
    from serving.intake import Outcome
    from serving.parts import Parts

AT_ONCE = 8  # requests that wait for the broker
WAITING = 64


def routes(parts: Parts) -> APIRouter:
    """The route."""
    router = APIRouter(tags=["readings"])
    limiter = CapacityLimiter(AT_ONCE)

    @router.post(
        "/v1/readings",
        status_code=202,
        response_model=Accepted,
        openapi_extra=body_of("SentReadings"),
        responses=problems(408, 413, 415),
    )
    async def readings(
        request: Request, idempotency_key: Annotated[str | None, Header(max_length=200)] = None
    ) -> Response:
        """Put readings on the Kafka topic; answered once the broker has acknowledged all that are accepted.

        A reading that cannot be used is named with its index and a reason, the others are sent. With the header
        `Idempotency-Key` a repeated request is answered alike and not sent again; without it a repeated reading is
        recognised as a duplicate by the stream.
        """
        kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        if kind != JSON:
            raise Problem(415, f"Send {JSON}, not {kind[:100]}.")
        if limiter.statistics().tasks_waiting >= WAITING:
            raise unavailable("Too many requests wait for the broker already.")
        body = await request.body()
        outcome = await to_thread.run_sync(_send, parts, body, idempotency_key, limiter=limiter)
        told = {"accepted": outcome.accepted, "rejected": outcome.rejected}
        return Response(orjson.dumps(told), 202, media_type=JSON)

    return router


def _send(parts: Parts, body: bytes, key: str | None) -> Outcome:
    asked = validated(SENT_READINGS, body)
    if sum(len(meter["readings"]) for meter in asked["meters"]) > MAX_READINGS:
        raise Problem(413, f"A request may have {MAX_READINGS:,} readings; divide it into several.")
    return parts.intake.send(asked, body, key)
