"""The pieces that pages are made of: cards, tiles, notices, tables, the meter's choice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from dash import dcc, html

from serving.dashboard import theme, wording

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import tzinfo

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
    picture = theme.CONFIG["toImageButtonOptions"] | {"filename": f"meterwatch {chart_id or label}".replace(" ", "-")}
    config: Any = theme.CONFIG | {"toImageButtonOptions": picture}
    graph = dcc.Graph(figure=figure, config=config, className="graph", responsive=True, **options)
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


def saved() -> html.Button:
    """What is seen as a file."""
    return html.Button("CSV", id="save", className="button", type="button", n_clicks=0, title="Save what is seen")


def keys(*told: tuple[str, str]) -> html.Span:
    """What single keys do: (keys, what they do) of each; not shown where there is no keyboard."""
    shown: list[Any] = []
    for names, what in told:
        shown += [*(html.Kbd(name) for name in names.split()), html.Span(what)]
    return html.Span(shown, className="keys with-mouse")


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
    columns: Sequence[tuple[Content, str]],
    rows: Iterable[Sequence[Any]],
    *,
    caption: str,
    name: str = "",
    sorted_by: tuple[int, str] = (-1, ""),
    marked: Sequence[dict[str, Any]] = (),
) -> html.Div:
    """A table that scrolls sideways in itself on a narrow screen.

    The roles are told again because the style sheet may lay rows out as boxes, which takes the browser's own from them.

    Args:
        columns: (heading, classes) of each column; class `number` stands right with figures of equal width.
        rows: the cells of each row.
        caption: what the table holds, read out and not shown.
        name: a class, for a table that the style sheet lays out differently on a phone.
        sorted_by: which column the rows are ordered by, and `ascending` or `descending`; -1: none.
        marked: further attributes of each row; none where it is empty.
    """
    kinds = [kind for _, kind in columns]
    head = html.Tr(
        [
            html.Th(
                title,
                className=kind,
                scope="col",
                role="columnheader",
                **(attributes(aria_sort=sorted_by[1]) if k == sorted_by[0] else {}),
            )
            for k, (title, kind) in enumerate(columns)
        ],
        role="row",
    )
    body = [
        html.Tr(
            [html.Td(cell, className=kind, role="cell") for cell, kind in zip(one, kinds, strict=True)],
            role="row",
            **(marked[k] if marked else {}),
        )
        for k, one in enumerate(rows)
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


def grade(severity: float) -> html.Span:
    """A severity from 0 to 100, as a bar and a number."""
    bar = html.Span(className="fill", style={"width": f"{min(max(severity, 0), 100):.0f}%"})
    return html.Span(
        [
            html.Span(bar, className="bar", **attributes(aria_hidden="true")),
            html.Span(f"{severity:.0f}", className="grade"),
        ],
        className="severity",
    )


def field(name: str, control: Content) -> html.Div:
    """A control with its name before it."""
    return html.Div([html.Span(name, className="label"), control], className="field")


def period(prefix: str, start: int | None, end: int | None, zone: tzinfo) -> list[html.Div]:
    """Two typed times, `<prefix>-start` and `<prefix>-end`, which count once they are left or Enter is pressed."""
    return [
        html.Div(
            [
                html.Label(name, htmlFor=f"{prefix}-{end_name}", className="label"),
                dcc.Input(
                    id=f"{prefix}-{end_name}",
                    value="" if at is None else wording.moment(at, zone),
                    debounce=True,
                    placeholder="2007-11-30 18:00" if end_name == "start" else "2007-12-01",
                    className="text-input time",
                    autoComplete="off",
                ),
            ],
            className="field",
        )
        for name, end_name, at in (("From", "start", start), ("To", "end", end))
    ]


def pager(told: str, *, before: str | None, after: str | None) -> html.Nav:
    """Where in a list one is, and the addresses of the pages before and after; both None: it has one page only."""
    links = [
        dcc.Link(name, href=href, className="button") if href else html.Span(name, className="button off")
        for name, href in (("Previous", before), ("Next", after))
        if before or after
    ]
    return html.Nav(
        [html.Span(told, className="note"), *links], className="pager", **attributes(aria_label="Pages of the list")
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


def segmented(links: Iterable[tuple[str, str, bool]], *, label: str, titled: bool = False) -> html.Nav:
    """Links beside each other of which at most one is where the reader is: (name, address, current).

    `label` is read out, and shown before them where they are `titled`.
    """
    items = [
        dcc.Link(
            [name, html.Span(", shown", className="unseen")] if current else name,
            href=address,
            className="segment current" if current else "segment",
        )
        for name, address, current in links
    ]
    title = [html.Span(label, className="segment title")] if titled else []
    return html.Nav([*title, *items], className="segmented", **attributes(aria_label=label))
