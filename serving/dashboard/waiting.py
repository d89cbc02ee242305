"""What the pages say while there is nothing to show, or nobody who judges, and the next step."""

from __future__ import annotations

from typing import Any

from dash import dcc, html

from serving.dashboard import address, parts

MODEL_STEP = ("No model judges yet, and readings wait until one does. Make one:", "dvc repro")
STEPS = (
    ("Start everything and send a file of readings:", "meterwatch up --replay FILE"),
    ("Or send it to what runs already:", "meterwatch replay FILE"),
)


def page(name: str, *, model: str | None, records: int) -> list[Any]:
    """A page of a database without a reading.

    Args:
        name: the page's.
        model: the version that judges; None where there is none.
        records: how many records came all the same.
    """
    said: list[Any] = ["This page fills by itself as readings come."]
    if records:
        count = f"{records:,} record{'' if records == 1 else 's'} came, but no reading among them: "
        said.append([count, dcc.Link("what was wrong", href=address.HEALTH)])
    steps = STEPS if model is not None else (MODEL_STEP, *STEPS)
    return [parts.heading(name), parts.notice("No readings yet", *said, steps=steps)]


def no_model() -> html.Div:
    """A line above a page whose newest readings nobody judges."""
    said, command = MODEL_STEP
    return html.Div([said, " ", html.Code(command)], className="banner", role="status")
