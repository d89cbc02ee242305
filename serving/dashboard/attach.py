"""How the pages sit inside the service's FastAPI app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NotRequired

from dash.backends._fastapi import DashMiddleware, FastAPIDashServer, reset_current_request, set_current_request
from dash.exceptions import DependencyException, InvalidResourceError, PreventUpdate
from fastapi import Request, Response
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from typing_extensions import TypedDict

from serving.dashboard import address
from serving.guard import POLICY
from serving.problems import Problem, invalid, respond

if TYPE_CHECKING:
    from dash import Dash
    from starlette.types import Receive, Scope, Send

UPDATE = "/_dash-update-component"  # where the browser asks for the content of pages and for their moving parts


class _Part(TypedDict):
    id: str | dict[str, Any]
    property: str
    value: NotRequired[Any]


class _Asked(TypedDict):
    """The body of an update, as far as Dash takes it for granted."""

    output: str
    inputs: list[_Part | list[_Part]]
    state: NotRequired[list[_Part | list[_Part]]]
    changedPropIds: NotRequired[list[str]]


_ASKED = TypeAdapter(_Asked)


class PageRequests(DashMiddleware):
    """Dash's own, answering what goes wrong as the rest of the service does: the original says 500 and logs nothing."""

    async def _setup_timing(self, request: Request) -> None:
        """Read what a callback is asked; Dash's only place to do so."""
        if request.method == "POST" and request.url.path == UPDATE:
            try:
                body = await request.json()
                output = _ASKED.validate_python(body)["output"]
            except ValidationError as error:
                raise invalid(error.errors(include_url=False), status=400) from None
            except (ValueError, RecursionError):
                raise Problem(400, "The body is not JSON.") from None
            if output not in self.dash_app.callback_map:
                raise Problem(400, "No page has such a part; load the page again.")
            request.state.json_body = body

    async def _handle_error(self, error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what Dash or the guard raised; the rest is for the service, which logs it."""
        if isinstance(error, PreventUpdate):
            answer = Response(status_code=204)
        elif isinstance(error, HTTPException):
            answer = respond(error)
        elif isinstance(error, (DependencyException, InvalidResourceError)):
            answer = respond(Problem(404, "The pages have no such file; load the page again."))
        else:
            raise error
        await answer(scope, receive, send)


class PageServer(FastAPIDashServer):
    """Dash's FastAPI backend, answering the pages' addresses and no others.

    The original answers every unknown path of the whole app with a page, so that a misspelt `/v1/…` looks like success.
    """

    websocket_capability = False  # nothing here uses it; with it, each page would try a socket that is not needed

    def setup_backend(self, dash_app: Dash) -> None:
        """Put what stands before Dash's routes into the app."""
        self.server.add_middleware(
            PageRequests, dash_app=dash_app, dash_server=self, before_request_funcs=self._before_request_funcs
        )

    def setup_index(self, dash_app: Dash) -> None:
        """Answer each page's address with the same document; the browser then asks for that page's content."""

        async def page(request: Request) -> Response:
            token = set_current_request(request)
            try:
                policy = f"{POLICY}; script-src 'self' {' '.join(dash_app.csp_hashes())}"
                return Response(dash_app.index(), media_type="text/html", headers={"content-security-policy": policy})
            finally:
                reset_current_request(token)

        for path in address.NAMES:
            self.add_url_rule(path, page, endpoint=path)

    def setup_catchall(self, dash_app: Dash) -> None:
        """Called by Dash to answer every path there is: not here."""

    def _setup_catchall(self) -> None:
        """Called by Dash when the app starts, to the same end: not here."""
