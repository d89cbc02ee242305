"""The overview: a meter's whole history in six pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dash import html

from serving.dashboard import parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serving.dashboard.theme import Figure


class Overview(NamedTuple):
    """What of the page moves. Each field is put into the element `overview-<its name>`."""

    spanned: str  # which time the pictures cover, in words
    scatter: Figure
    daily: Figure
    monthly: Figure
    week: Figure
    voltage: Figure
    correlation: Figure


def page(meters: Sequence[str], meter_id: str, shown: Overview) -> list[Any]:
    """The whole page."""

    def picture(name: str, label: str) -> html.Figure:
        return parts.chart(getattr(shown, name), label, chart_id=f"overview-{name}")

    cards = [
        parts.card(
            "Power over time",
            picture("scatter", "Power over time, anomalous readings marked"),
            note=[
                html.Span(shown.spanned, id="overview-spanned"),
                " Thinned to what the screen can show: every extreme is kept, every anomaly is in a red mark.",
            ],
            wide=True,
        ),
        parts.card(
            "Daily totals",
            picture("daily", "Energy of each day with its moving average"),
            note="The first and the last day may be incomplete.",
            wide=True,
        ),
        parts.card(
            "Monthly mean",
            picture("monthly", "Mean power of each month with its two-month moving average"),
            note="The average is that of a month and the one before.",
        ),
        parts.card("Hours of the week", picture("week", "Mean power by weekday and hour"), note="Mean power in kW."),
        parts.card(
            "Voltage",
            picture("voltage", "How often each voltage was read"),
            note="Where nearly all readings lie; double-click for the whole range.",
        ),
        parts.card(
            "How the channels go together",
            picture("correlation", "Correlation of the channels"),
            note="Correlation r: 1, they rise and fall together; −1, one falls as the other rises.",  # noqa: RUF001
        ),
    ]
    return [parts.heading("Overview", parts.meter_choice(meters, meter_id)), html.Div(cards, className="grid")]
