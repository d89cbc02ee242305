"""Whether the service lives, is ready, and what it counted; and what is new, as it comes."""

from __future__ import annotations

import logging
import sqlite3
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST

from meterwatch.storage import queries
from serving.documentation import problems
from serving.problems import unavailable

if TYPE_CHECKING:
    from serving.parts import Parts

LOG = logging.getLogger("meterwatch.service")


def routes(parts: Parts) -> APIRouter:
    """`/healthz`, `/readyz`, `/metrics` and `/v1/stream`."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Answers as long as the process lives."""
        return {"status": "alive"}

    @router.get("/readyz", responses=problems())
    def readyz() -> dict[str, str]:
        """Answers once a model is loaded and the database can be read; one that does not exist yet is empty."""
        model = parts.model()
        try:
            with queries.reading(parts.settings) as db:
                db.execute("SELECT 1 FROM power_data LIMIT 1").fetchone()
        except sqlite3.Error as error:
            LOG.warning("the database cannot be read: %s", error)
            raise unavailable("The database cannot be read; `meterwatch doctor` says more.", seconds=5) from None
        return {"status": "ready", "model_version": model.version}

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def metrics() -> Response:
        """Counts since the start of this process, for Prometheus."""
        return Response(parts.metrics.exposed(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/v1/stream", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
    async def stream() -> StreamingResponse:
        """Server-sent events `reading`, `verdict` and `event` in the columns of the tables, and `commit` after them."""
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(parts.feed.listen(), media_type="text/event-stream", headers=headers)

    return router
