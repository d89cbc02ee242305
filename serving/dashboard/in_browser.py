"""What the browser does by itself: functions of assets/live.js, mostly from what the reader did to an address."""

from __future__ import annotations

from dash import ClientsideFunction, Dash, Input, Output, State

SEARCH = State("url", "search")
AT_ONCE = {
    "drawn": (Output("page", "aria-busy"), Input("page", "children")),
    "explained": (Output("explained", "data"), Input("url", "search")),
    "said": (Output("now-search", "value"), Input("url", "search")),
    "pause": ([Output("pause", "children"), Output("pause", "aria-pressed")], Input("pause", "n_clicks")),
}
SEVERAL = {"narrowed": ("event-kind", "event-start", "event-end"), "spanned": ("meter-start", "meter-end")}
# What the reader chooses goes into the address, which then asks for the page.
CHOSEN = {
    "searched": Input("now-search", "value"),
    "choose": Input("meter", "value"),
    "clicked": Input("live-chart", "clickData"),
    "zoomed": Input("live-chart", "relayoutData"),
}


def in_the_browser(app: Dash) -> None:
    """Connect the browser's functions."""
    for name, (outputs, asked) in AT_ONCE.items():
        app.clientside_callback(ClientsideFunction("meterwatch", name), outputs, asked)
    target = Output("url", "search", allow_duplicate=True)
    for name, fields in SEVERAL.items():
        typed = [Input(field, "value") for field in fields]
        app.clientside_callback(
            ClientsideFunction("meterwatch", name), target, *typed, SEARCH, prevent_initial_call=True
        )
    for name, chosen in CHOSEN.items():
        app.clientside_callback(
            ClientsideFunction("meterwatch", name), target, chosen, SEARCH, prevent_initial_call=True
        )
