"""What stands before every route: who may ask, how much may be sent, how long it took."""

from __future__ import annotations

import time
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse

from serving.keys import Caller
from serving.problems import Problem, respond

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from serving.keys import Keys
    from serving.metrics import Metrics

MIB = 1024 * 1024
BODY_LIMITS = {"/v1/score": 128 * MIB, "/v1/readings": 16 * MIB}
BODY_LIMIT = MIB  # of every other route
OPEN = ("/healthz", "/readyz", "/login")  # without a key
COOKIE = "meterwatch"
SAFE = ("GET", "HEAD", "OPTIONS")
ANYONE = Caller("", "admin")  # without a key file, which only loopback may do
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "content-security-policy": "frame-ancestors 'none'; base-uri 'self'; form-action 'self'; object-src 'none'",
}


class Guard:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, keys: Keys | None) -> None:
        self._app = app
        self._metrics = metrics
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, code = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            headers = Headers(scope=scope)
            try:
                scope.setdefault("state", {})["caller"] = await self._admit(scope, headers)
                limited = _limited(scope["path"], headers, receive)
            except Problem as problem:
                page = problem.status_code == 401 and "text/html" in headers.get("accept", "")  # noqa: PLR2004
                target = quote(scope["path"], safe="/")
                answer = RedirectResponse(f"/login?next={target}", 303) if page else respond(problem)
                await answer(scope, receive, noted)
            else:
                await self._app(scope, limited, noted)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.answered(str(route), code, time.perf_counter() - begun)

    async def _admit(self, scope: Scope, headers: Headers) -> Caller:
        """Who asks, if they may."""
        method, path = scope["method"], scope["path"]
        if method not in SAFE and headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise Problem(403, "A page of another site may not ask for this.")
        if self._keys is None:
            return ANYONE
        if path in OPEN:
            return Caller("", "read")
        caller = await self._caller(self._keys, headers)
        if caller is None:
            raise Problem(
                401,
                "Send an API key as `Authorization: Bearer …`, or log in at /login.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if not caller.may(needed(method, path)):
            raise Problem(403, f"This needs the role {needed(method, path)}; this key has {caller.role}.")
        return caller

    async def _caller(self, keys: Keys, headers: Headers) -> Caller | None:
        kind, _, key = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return keys.remembered(key) or await run_in_threadpool(keys.caller, key)
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return None
        return keys.of_session(cookie.value) if cookie is not None else None


def needed(method: str, path: str) -> str:
    """The role that a request needs."""
    if method in SAFE or path.startswith("/_dash"):
        return "read"
    return "admin" if path.startswith("/v1/models") else "score"


def _limited(path: str, headers: Headers, receive: Receive) -> Receive:
    """`receive` that stops in the middle of a body that is too large."""
    limit = BODY_LIMITS.get(path, BODY_LIMIT)
    too_large = Problem(413, f"The body may have {limit:,} bytes; divide the request.", headers={"Connection": "close"})
    length = headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise too_large
    left = limit

    async def counted() -> Message:
        nonlocal left
        message = await receive()
        if message["type"] == "http.request":
            left -= len(message.get("body", b""))
            if left < 0:
                raise too_large
        return message

    return counted
