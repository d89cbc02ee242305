"""`/login`: a key for a cookie, because a page cannot send an Authorization header."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from serving.guard import COOKIE, PROVING, unreadable
from serving.keys import SESSION_SECONDS, KeysError
from serving.problems import unavailable

if TYPE_CHECKING:
    from serving.parts import Parts

WAITING = 32  # logins
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Log in · meterwatch</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:15vh auto;padding:0 1rem}}
input,button{{font:inherit;width:100%;padding:.5rem;margin:.4rem 0;box-sizing:border-box}}</style></head>
<body><h1>meterwatch</h1><p role="status">{said}</p><form method="post">
<label for="key">API key</label><input id="key" name="key" type="password" autocomplete="current-password" required>
<button>Log in</button></form></body></html>"""


def routes(parts: Parts) -> APIRouter:
    """The form, and what becomes of it."""
    router = APIRouter(include_in_schema=False)
    proving = CapacityLimiter(PROVING)

    @router.get("/login")
    def form() -> HTMLResponse:
        return _page("Anyone may enter: there is no key file." if parts.keys is None else "Enter your API key.")

    @router.post("/login")
    async def enter(request: Request) -> Response:
        fields = parse_qs((await request.body()).decode("utf-8", "replace"))
        key, keys = fields.get("key", [""])[0].strip(), parts.keys
        target = request.query_params.get("next", "/")
        if not target.startswith("/") or target.startswith(("//", "/\\")):
            target = "/"
        if keys is None:
            return RedirectResponse(target, 303)
        if proving.statistics().tasks_waiting >= WAITING:
            raise unavailable("Too many keys wait to be proved already.")
        try:
            caller = await to_thread.run_sync(keys.caller, key, limiter=proving)
        except KeysError as error:
            raise unreadable(error) from None
        if caller is None:
            return _page("This key is not known.", 401)
        answer = RedirectResponse(target, 303)
        secure = request.url.scheme == "https"
        answer.set_cookie(
            COOKIE, keys.session(key), max_age=SESSION_SECONDS, httponly=True, samesite="strict", secure=secure
        )
        return answer

    return router


def _page(said: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(PAGE.format(said=escape(said)), status, headers={"Cache-Control": "no-store"})
