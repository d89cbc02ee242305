"""Every error the service answers, as RFC 9457 problem details."""

from __future__ import annotations

import logging
import sqlite3
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from meterwatch.storage.models import RegistryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fastapi import FastAPI
    from starlette.requests import Request

LOG = logging.getLogger("meterwatch.service")
MEDIA_TYPE = "application/problem+json"
MOST_ERRORS = 20  # of a body with a thousand faults the first ones say enough


class Problem(HTTPException):
    """An answer that is not the one asked for.

    Args:
        status: the HTTP status.
        detail: the fact and the next step, for people.
        errors: (path, detail) of each fault in a body.
        headers: further headers, such as Retry-After.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, headers)
        self.errors = errors


def unavailable(detail: str, *, seconds: int = 1) -> Problem:
    """503 with the time after which to try again."""
    return Problem(503, detail, headers={"Retry-After": str(seconds)})


def respond(problem: HTTPException) -> Response:
    """The body of a problem."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status_code).phrase,
        "status": problem.status_code,
        "detail": str(problem.detail),
    }
    if errors := getattr(problem, "errors", ()):
        body["errors"] = [{"path": path, "detail": detail} for path, detail in errors[:MOST_ERRORS]]
    return Response(orjson.dumps(body), problem.status_code, headers=problem.headers, media_type=MEDIA_TYPE)


def invalid(errors: Iterable[Mapping[str, Any]], *, status: int = 422) -> Problem:
    """What pydantic found, each fault with its path as in `meters[0].readings[3].at`."""
    found = [(path_of(error["loc"]), _fact(error)) for error in errors]
    return Problem(status, f"{found[0][0]}: {found[0][1]}", errors=found)


def _fact(error: Mapping[str, Any]) -> str:
    if error["type"] == "string_pattern_mismatch" and error["loc"][-1] == "at":
        return "a time is written as 2007-11-01T18:04:00Z"  # rather than the pattern
    return str(error["msg"])


def path_of(steps: Iterable[object]) -> str:
    """`("meters", 0, "at")` as `meters[0].at`."""
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return path.lstrip(".") or "body"


_SAID = {  # in the place of the framework's bare words
    404: "There is nothing at this address; /docs lists what there is.",
    405: "This address does not take this method; the header Allow lists those that it takes.",
}


def _methods(app: FastAPI, request: Request) -> str | None:
    """What the routes of this address take, as far as it is documented."""
    path = getattr(request.scope.get("route"), "path", "")
    return ", ".join(sorted(app.openapi()["paths"].get(path, {}))).upper() or None


def install(app: FastAPI) -> None:
    """Answer every error of an app as a problem, also those of the framework."""

    async def http(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise TypeError from error
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:  # the framework names those of one route only
            headers = {"Allow": allowed} if (allowed := _methods(app, request)) else error.headers
            error = HTTPException(error.status_code, error.detail, headers)
        if error.detail == HTTPStatus(error.status_code).phrase and (said := _SAID.get(error.status_code)):
            error = HTTPException(error.status_code, said, error.headers)
        return respond(error)

    async def validation(_: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise TypeError from error
        found = error.errors()
        malformed = any(item["type"] == "json_invalid" for item in found)
        return respond(invalid(found, status=400 if malformed else 422))

    async def database(_: Request, error: Exception) -> Response:
        LOG.error("the database cannot be read: %s", error)
        return respond(unavailable("The database cannot be read now; `meterwatch doctor` says more.", seconds=5))

    async def unforeseen(request: Request, error: Exception) -> Response:
        LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return respond(Problem(500, "This request met a fault of the program; its log says more."))

    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, validation)

    async def registry(_: Request, error: Exception) -> Response:
        return respond(Problem(409, str(error)))

    app.add_exception_handler(sqlite3.Error, database)
    app.add_exception_handler(RegistryError, registry)
    app.add_exception_handler(Exception, unforeseen)
