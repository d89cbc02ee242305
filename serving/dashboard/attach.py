"""How the pages sit inside the service's FastAPI app."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dash.backends._fastapi import FastAPIDashServer, reset_current_request, set_current_request
from fastapi import Request, Response

from serving.dashboard import address

if TYPE_CHECKING:
    from dash import Dash


class PageServer(FastAPIDashServer):
    """Dash's FastAPI backend, answering the pages' addresses and no others.

    The original answers every unknown path of the whole app with a page, so that a misspelt `/v1/…` looks like success.
    """

    websocket_capability = False  # nothing here uses it; with it, each page would try a socket that is not needed

    def setup_catchall(self, dash_app: Dash) -> None:
        """Answer each page's address with the same document; the browser then asks for that page's content."""

        async def page(request: Request) -> Response:
            token = set_current_request(request)
            try:
                return Response(dash_app.index(), media_type="text/html")
            finally:
                reset_current_request(token)

        for path in address.NAMES.keys() - {address.NOW}:  # Dash itself answers `/`
            self.add_url_rule(path, page, endpoint=path)

    def _setup_catchall(self) -> None:
        """Called by Dash when the app starts, to answer every path there is: not here."""
