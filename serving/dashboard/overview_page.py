"""The overview: a meter's whole history in six pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import html

from serving.dashboard import parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serving.dashboard.address import View
    from serving.dashboard.theme import Figure


def page(meters: Sequence[str], view: View, body: Sequence[Any]) -> list[Any]:
    """The whole page; `body` is the pictures or what stands in for them."""
    return [
        parts.heading("Overview", parts.meter_choice(meters, view.meter_id)),
        html.Div(body, id="overview-body", className="grid"),
    ]


def overview_body(
    *, scatter: Figure, monthly: Figure, daily: Figure, week: Figure, voltage: Figure, correlation: Figure, spanned: str
) -> list[Any]:
    """The six pictures; `spanned` says in words which time they cover."""
    return [
        parts.card(
            "Power over time",
            parts.chart(scatter, "Power over time, anomalous readings marked"),
            note=f"{spanned}. Thinned to what the screen can show: every extreme and every anomaly is kept.",
            wide=True,
        ),
        parts.card(
            "Daily totals",
            parts.chart(daily, "Energy of each day with its moving average"),
            note="The first and the last day may be incomplete.",
            wide=True,
        ),
        parts.card(
            "Monthly mean",
            parts.chart(monthly, "Mean power of each month with its two-month moving average"),
            note="The average is that of a month and the one before.",
        ),
        parts.card(
            "Hours of the week",
            parts.chart(week, "Mean power by weekday and hour"),
            note="Mean power in kW.",
        ),
        parts.card(
            "Voltage",
            parts.chart(voltage, "How often each voltage was read"),
            note="Where nearly all readings lie; double-click for the whole range.",
        ),
        parts.card(
            "How the channels go together",
            parts.chart(correlation, "Correlation of the channels"),
            note="Correlation r: 1, they rise and fall together; −1, one falls as the other rises.",  # noqa: RUF001
        ),
    ]
