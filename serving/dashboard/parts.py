"""The pieces that pages are made of: cards, tiles, notices, tables, the meter's choice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from dash import dcc, html

from serving.dashboard import theme

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from serving.dashboard.theme import Figure

Content: TypeAlias = Any  # what Dash takes as children: a component, a text, or a list of them
METERS_OFFERED = 500  # a list beyond this is not read; the address takes any meter


def attributes(**values: str) -> dict[str, Any]:
    """HTML attributes with a hyphen in their name, which Python writes with an underscore: `aria_label="Pages"`."""
    return {name.replace("_", "-"): value for name, value in values.items()}


def card(title: str, *content: Content, note: Content = "", wide: bool = False) -> html.Section:
    """A titled box; `note` says in one line what is seen or where it comes from."""
    heading = [html.H2(title), html.P(note, className="note")] if note else [html.H2(title)]
    return html.Section(
        [html.Header(heading), *content], className="card wide" if wide else "card", **attributes(aria_label=title)
    )


def chart(figure: Figure, label: str, *, size: str = "medium", chart_id: str | None = None) -> html.Figure:
    """A chart in a box of a fixed height, so that nothing jumps when it is drawn; `label` is read out."""
    options: dict[str, Any] = {"id": chart_id} if chart_id else {}
    graph = dcc.Graph(figure=figure, config=theme.CONFIG, className="graph", responsive=True, **options)
    return html.Figure(graph, className=f"chart {size}", **attributes(aria_label=label))


def tile(name: str, value: str, note: str = "", *, state: str = "") -> html.Div:
    """One figure with its name."""
    lines = [html.Dt(name), html.Dd(value, className="value")]
    if note:
        lines.append(html.Dd(note, className="note"))
    return html.Div(lines, className=f"tile {state}".strip())


def heading(name: str, *controls: Content) -> html.Div:
    """A page's name, and beside it what can be chosen."""
    return html.Div([html.H1(name), *controls], className="controls")


def notice(
    title: str, *sentences: Content, steps: Sequence[tuple[str, str]] = (), state: str = "empty"
) -> html.Section:
    """What a page says when it has nothing else to show: the fact, and the next step.

    Args:
        title: the fact.
        sentences: what there is to say about it.
        steps: what can be done: (what for, the command) of each.
        state: `empty`, or `broken` where something is wrong.
    """
    lines: list[Any] = [html.H2(title), *(html.P(sentence) for sentence in sentences)]
    for purpose, command in steps:
        lines += [html.P(purpose), html.Pre(html.Code(command))]
    return html.Section(lines, className=f"card notice {state}", role="status")


def table(
    columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[Any]], *, caption: str, name: str = ""
) -> html.Div:
    """A table that scrolls sideways in itself on a narrow screen.

    The roles are told again because the style sheet may lay rows out as boxes, which takes the browser's own from them.

    Args:
        columns: (heading, classes) of each column; class `number` stands right with figures of equal width.
        rows: the cells of each row.
        caption: what the table holds, read out and not shown.
        name: a class, for a table that the style sheet lays out differently on a phone.
    """
    kinds = [kind for _, kind in columns]
    head = html.Tr([html.Th(title, className=kind, scope="col", role="columnheader") for title, kind in columns])
    body = [
        html.Tr([html.Td(cell, className=kind, role="cell") for cell, kind in zip(one, kinds, strict=True)], role="row")
        for one in rows
    ]
    return html.Div(
        html.Table(
            [html.Caption(caption), html.Thead(head, role="rowgroup"), html.Tbody(body, role="rowgroup")], role="table"
        ),
        className=f"scroll {name}".strip(),
        tabIndex=0,
        role="region",
        **attributes(aria_label=caption),
    )


def meter_choice(meters: Sequence[str], chosen: str | None, *, everyone: bool = False) -> html.Div:
    """The meter's name as a list to choose from and search in.

    Args:
        meters: the ids offered; the chosen one is added where it is missing.
        chosen: the meter that is looked at; None with `everyone` is all of them.
        everyone: whether no meter may be chosen.
    """
    offered = [*meters] if chosen is None or chosen in meters else [chosen, *meters]
    return html.Div(
        [
            html.Span("Meter", className="label", id="meter-label"),
            dcc.Dropdown(
                id="meter",
                options=[{"label": name, "value": name} for name in offered],
                value=chosen,
                clearable=everyone,
                placeholder="All meters" if everyone else "Choose a meter",
                className="choice",
                maxHeight=320,
                labels={"search": "Search meters"},
            ),
        ],
        className="field",
    )


def segmented(links: Iterable[tuple[str, str, bool]], *, label: str) -> html.Nav:
    """Links beside each other of which at most one is where the reader is: (name, address, current)."""
    items = [
        dcc.Link(
            [name, html.Span(", shown", className="unseen")] if current else name,
            href=address,
            className="segment current" if current else "segment",
        )
        for name, address, current in links
    ]
    return html.Nav(items, className="segmented", **attributes(aria_label=label))
