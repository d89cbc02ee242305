"""Mounts the pages into the service's FastAPI app."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dash import Dash, dcc, html

from meterwatch.settings import zone_of
from serving.dashboard import parts
from serving.dashboard.attach import PageServer
from serving.dashboard.callbacks import register
from serving.dashboard.reads import Pages

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

    from meterwatch.settings import Settings
    from serving.drifting import Drift

INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
{%metas%}
<title>{%title%}</title>
{%favicon%}
{%css%}
</head>
<body>
{%app_entry%}
<footer>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>"""


def mount(app: FastAPI, settings: Settings, model: Callable[[], str | None], drift: Callable[[], Drift | None]) -> None:
    """Add the pages to an app; they read the database of `settings` and show times in its zone.

    Call after every other route was added and before the app starts. `model` tells the version that judges, None where
    there is none; `drift` how far the newest readings have moved, None before that was looked at.
    """
    zone = zone_of(settings.timezone)
    pages = Dash(
        __name__,
        server=False,
        backend=PageServer,
        assets_folder=str(Path(__file__).parent / "assets"),
        assets_ignore=r"worker",
        index_string=INDEX,
        title="meterwatch",
        update_title="",
        suppress_callback_exceptions=True,
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
        add_log_handler=False,
    )
    pages.layout = _shell()
    register(pages, Pages(settings, zone, model, drift))
    pages.init_app(app)
    pages._setup_server()  # noqa: SLF001 - else done by the first request, which only `/` would trigger


def _shell() -> html.Div:
    """What every page has around it, and empty boxes of the right size in the place of what is being fetched."""
    waiting = [html.Div(className=f"waiting-box {size}") for size in ("line", "low", "high")]
    return html.Div(
        [
            dcc.Location(id="url", refresh="callback-nav"),
            dcc.Store(id="tick"),
            dcc.Store(id="again"),
            dcc.Store(id="steady"),
            dcc.Download(id="file"),
            html.A("Skip to the content", href="#page", className="skip"),
            html.Header(
                [
                    dcc.Link("meterwatch", href="/", className="brand"),
                    html.Nav(id="nav", **parts.attributes(aria_label="Pages")),
                    html.Span("Connecting", id="connection", className="connection", role="status"),
                ],
                className="top",
            ),
            html.Div(id="toast", className="toast", role="status"),
            _note_dialog(),
            _question_dialog(),
            html.Main(html.Div(waiting, id="page", **parts.attributes(aria_busy="true"))),
        ]
    )


def _note_dialog() -> html.Dialog:
    """Where a note on an event is written; opened and closed by assets/labels.js."""
    buttons = [
        html.Button("Cancel", className="button", value="cancel", formNoValidate=True),
        html.Button("Save", className="button main"),
    ]
    form = html.Form(
        [
            html.Label("Note on this event", htmlFor="note-text"),
            html.Textarea(id="note-text", rows=4, maxLength=2000),
            html.Div([html.Span("Enter saves", className="note with-mouse"), *buttons], className="buttons"),
        ],
        method="dialog",
    )
    return html.Dialog(form, id="note-dialog")


def _question_dialog() -> html.Dialog:
    """Asked before a model is promoted or rolled back; opened and closed by assets/models.js."""
    buttons = [
        html.Button("Cancel", className="button", value="cancel", formNoValidate=True),
        html.Button("Yes, do it", className="button main"),
    ]
    asked = "Why it shall judge all the same"
    why = html.Textarea(
        id="force", rows=3, maxLength="1000", hidden=True, placeholder=asked, **parts.attributes(aria_label=asked)
    )
    form = html.Form([html.H2(), html.P(), why, html.Div(buttons, className="buttons")], method="dialog")
    return html.Dialog(form, id="ask-dialog")
