"""What stands before every route: who may ask, how much may be sent, how long it took."""

from __future__ import annotations

import asyncio
import logging
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from anyio import CapacityLimiter, to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse

from serving.formats import ARROW
from serving.keys import Caller, KeysError
from serving.problems import Problem, respond, unavailable

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from serving.keys import Keys
    from serving.metrics import Metrics

LOG = logging.getLogger("meterwatch.service")
MIB = 1024 * 1024
TEXT_LIMIT = 16 * MIB  # of readings as JSON: while a text is read and written, nobody else is answered
ARROW_LIMIT = 128 * MIB
BODY_LIMIT = MIB  # of every other route
BODY_SECONDS = 30.0  # for a small body to arrive, and one second more
BODY_BYTES_A_SECOND = MIB // 64  # for so many bytes of a large one
AT_ONCE = 500  # requests; beyond, the caller is asked to come back
BYTES_AT_ONCE = 512 * MIB  # of bodies in memory
PROVING = 2  # keys at a time: each takes 50 ms of work
OPEN = ("/healthz", "/readyz", "/login")  # without a key
SCORE = "/v1/score"
ENDLESS = "/v1/stream"  # not counted among the requests at once: pages listen for as long as they are open
NAMED = "/v1/meters/"  # whose next part is routed as it was sent, and decoded by the route: it may hold a slash
COOKIE = "meterwatch"
SAFE = ("GET", "HEAD", "OPTIONS")
ANYONE = Caller("", "admin")  # without a key file, which only loopback may do
CLOSE = {"Connection": "close"}
POLICY = (  # nothing from elsewhere; pages with scripts of their own in them name these
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; worker-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'self'; form-action 'self'; object-src 'none'"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "content-security-policy": POLICY,
}


class Guard:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, keys: Keys | None) -> None:
        self._app = app
        self._metrics = metrics
        self._keys = keys
        self._proving = CapacityLimiter(PROVING)
        self._requests = self.held_bytes = 0

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

        counts = scope["path"] not in (*OPEN, ENDLESS)
        self._requests += counts
        headers = Headers(scope=scope)
        body = _Body(_limit(scope["path"], headers), receive, self)
        try:
            try:
                if counts and self._requests > AT_ONCE:
                    raise unavailable("Too many requests at once.")
                scope.setdefault("state", {})["caller"] = await self._admit(scope, headers)
                body.announced(headers)
            except Problem as problem:
                page = problem.status_code == 401 and "text/html" in headers.get("accept", "")  # noqa: PLR2004
                query = scope["query_string"].decode("latin-1")
                target = quote(scope["path"] + ("?" + query if query else ""), safe="/")
                answer = RedirectResponse(f"/login?next={target}", 303) if page else respond(problem)
                await answer(scope, receive, noted)
            else:
                if scope["path"].startswith(NAMED):
                    scope["path"] = scope["raw_path"].decode("ascii")
                await self._app(scope, body.receive, noted)
        finally:
            self._requests -= counts
            self.held_bytes -= body.size
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.answered(str(route), code, time.perf_counter() - begun)

    async def _admit(self, scope: Scope, headers: Headers) -> Caller:
        """Who asks, if they may."""
        method, path = scope["method"], scope["path"]
        if method not in SAFE and headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise Problem(403, "A page of another site may not ask for this.")
        if self._keys is None:
            if not is_here(headers.get("host", "")):
                raise Problem(421, "Without a key file this is answered at localhost alone; ask http://localhost.")
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
        try:
            if kind.lower() == "bearer":
                return keys.remembered(key) or await to_thread.run_sync(keys.caller, key, limiter=self._proving)
            return keys.of_session(cookie_parser(headers.get("cookie", "")).get(COOKIE, ""))
        except KeysError as error:
            raise unreadable(error) from None


def is_here(host: str) -> bool:
    """Whether a Host header names this machine: a loopback address, or a name without a dot.

    Whoever makes a name of his own lead here (DNS rebinding) has one with a dot.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return ip_address(name).is_loopback if set(name) & {".", ":"} else True
    except ValueError:
        return False


def unreadable(error: KeysError) -> Problem:
    """503, told to the log with its reason."""
    LOG.error("nobody is let in: %s", error)
    return unavailable("The keys cannot be read now; the service's log says more.", seconds=5)


def needed(method: str, path: str) -> str:
    """The role that a request needs."""
    if method in SAFE or path.startswith("/_dash"):
        return "read"
    return "admin" if path.startswith("/v1/models") else "score"


def _limit(path: str, headers: Headers) -> int:
    """How many bytes a body may have."""
    if path == SCORE and headers.get("content-type", "").partition(";")[0].strip().lower() == ARROW:
        return ARROW_LIMIT
    return TEXT_LIMIT if path in (SCORE, "/v1/readings") else BODY_LIMIT


class _Body:
    """A request's body as it arrives: ends the request where it is too large, or comes too slowly."""

    def __init__(self, limit: int, receive: Receive, guard: Guard) -> None:
        self._receive = receive
        self._guard = guard
        self._limit = limit
        self._due = asyncio.get_running_loop().time() + BODY_SECONDS
        self._whole = False
        self.size = 0

    def announced(self, headers: Headers) -> None:
        """Refuse by its head alone what says that it is too large."""
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self._limit:
            raise self._too_large()

    async def receive(self) -> Message:
        if self._whole:
            return await self._receive()  # waits for the caller to go away
        try:
            async with asyncio.timeout_at(self._due):
                message = await self._receive()
        except TimeoutError:
            raise Problem(408, "The body came too slowly.", headers=CLOSE) from None
        if message["type"] == "http.request":
            came = len(message.get("body", b""))
            self.size += came
            self._guard.held_bytes += came
            self._due += came / BODY_BYTES_A_SECOND
            self._whole = not message.get("more_body", False)
            if self.size > self._limit:
                raise self._too_large()
            if self._guard.held_bytes > BYTES_AT_ONCE:
                raise unavailable("Too much is being sent at once.")
        return message

    def _too_large(self) -> Problem:
        return Problem(413, f"The body may have {self._limit:,} bytes; divide the request.", headers=CLOSE)
