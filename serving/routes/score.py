"""`POST /v1/score`: readings and states in, verdicts and new states out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request, Response

from serving import arrow, jsontext
from serving.documentation import body_of, problems
from serving.formats import ARROW, JSON, wanted
from serving.judging import Together, judge
from serving.problems import Problem, unavailable
from serving.schemas import ScoreAnswer

if TYPE_CHECKING:
    from meterwatch.detection.readings import Observation
    from serving.champion import Model
    from serving.parts import Parts
    from serving.question import Question

FEW_READINGS = 64  # so many are judged at once, without a thread's detour
FEW_BYTES = 64 * 1024
BULK_AT_ONCE = 2  # the cores a process keeps busy
BULK_WAITING = 16  # further bulk requests that may wait; beyond, the caller is asked to come back


def routes(parts: Parts) -> APIRouter:
    """The route, with its documentation: it reads its body by itself, for speed."""
    router = APIRouter(tags=["score"])
    bulk = CapacityLimiter(BULK_AT_ONCE)
    together = Together(parts.metrics)

    @router.post(
        "/v1/score",
        response_model=ScoreAnswer,
        openapi_extra=body_of("ScoreRequest", ARROW),
        responses=problems(406, 408, 413, 415),
    )
    async def score(request: Request) -> Response:
        """Judge readings. A pure function: the state goes in and comes out, nothing is kept here.

        Send each meter's readings in the order of their arrival, with the `state` and `profile` that were last answered
        for it (null at first). Cut a series into any calls: the verdicts are the same, to the last bit. As Arrow: one
        row a meter with the columns `meter_id`, `state`, `profile` (binary) and `readings` (a list of structs with a
        timestamp `at`), not compressed, its batches without metadata, and no views.
        """
        kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        if kind not in (JSON, ARROW):
            raise Problem(415, f"Send {JSON} or {ARROW}, not {kind[:100]}.")
        answer = wanted(request.headers.get("accept"), (JSON, ARROW), kind)
        model = parts.model()
        body = await request.body()
        if len(body) <= FEW_BYTES:
            question = _question(body, kind, parts)
            if len(question.readings.at) <= FEW_READINGS:
                observed = await together.judge(question, model)
                return Response(_told(question, observed, model, answer), media_type=answer)
        if bulk.statistics().tasks_waiting >= BULK_WAITING:
            raise unavailable("Too many bulk requests wait already.")
        content = await to_thread.run_sync(_bulk, body, kind, model, answer, parts, limiter=bulk)
        return Response(content, media_type=answer)

    return router


def _question(body: bytes, kind: str, parts: Parts) -> Question:
    return (arrow.decode if kind == ARROW else jsontext.decode)(body, parts.zone)


def _bulk(body: bytes, kind: str, model: Model, answer: str, parts: Parts) -> bytes:
    question = _question(body, kind, parts)
    return _told(question, judge(question, model, parts.metrics), model, answer)


def _told(question: Question, observed: Observation, model: Model, kind: str) -> bytes:
    if kind == ARROW:
        return arrow.encode(question, observed, model)
    return jsontext.encode(question, observed, model.version)
