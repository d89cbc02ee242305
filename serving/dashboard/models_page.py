"""The models: champion, challengers and those before, side by side on the same evaluation; promote and roll back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dash import html

from meterwatch.storage.models import CHALLENGER, CHAMPION, GATE
from serving.dashboard import parts, wording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo

    from meterwatch.storage.models import ModelVersion

SIDE_BY_SIDE = 4  # versions that are compared, champion and challenger among them
MLFLOW_UI = "http://127.0.0.1:5000"  # where `make mlflow` opens it
KIND, SEVERITY = "by_kind_recall/", "by_severity_recall/"
MEASURES = (
    ("at_budget/recall", "Faults found", "at one false alarm a meter and month"),
    ("at_budget/precision", "Alarms that were faults", "at the same threshold"),
    ("shipped/recall", "Faults found as shipped", "at the threshold that it judges with"),
)
COUNTS = (
    ("shipped/false_alarms_a_month", "False alarms as shipped", "a meter and month", 2),
    ("at_budget/delay_h", "Delay, median", "hours from the fault's start", 1),
)


def page(body: Sequence[Any], live: Sequence[Any]) -> list[Any]:
    """The whole page; `live` is what moves."""
    return [
        parts.heading("Models"),
        html.Div([*body, html.Div(live, id="models-watch", className="stack")], id="models-body", className="stack"),
    ]


def models_body(
    known: Sequence[ModelVersion],
    figures: Mapping[str, Mapping[str, float]],
    experiments: Mapping[str, str],
    *,
    serving: str | None,
    admin: bool,
    zone: tzinfo,
) -> list[Any]:
    """What the registry holds, and what can be done with it.

    Args:
        known: registered versions, the newest first.
        figures: metrics of each version's evaluation by their MLflow name.
        experiments: the MLflow experiment of each run.
        serving: the version that judges here now; None while there is none.
        admin: whether the reader may promote and roll back.
        zone: the zone of times.
    """
    if not known:
        step = ("Make one from the shipped year:", "dvc repro")
        return [parts.notice("No model yet", "The registry holds no version, and nothing is judged.", steps=[step])]
    compared = sorted(
        known, key=lambda one: (CHAMPION not in one.aliases, CHALLENGER not in one.aliases, -int(one.version))
    )
    return [
        _registry(known, experiments, serving=serving, admin=admin, zone=zone),
        _comparison(compared[:SIDE_BY_SIDE], figures),
    ]


def _comparison(compared: Sequence[ModelVersion], figures: Mapping[str, Mapping[str, float]]) -> html.Section:
    told = [figures.get(one.version, {}) for one in compared]
    first = compared[0].tags.get("evaluated_on")
    same = [one.tags.get("evaluated_on") == first and first is not None for one in compared]
    kinds = sorted({name for one in told for name in one if name.startswith(KIND)})
    severities = [f"{SEVERITY}{name}" for name in ("clear", "plain", "faint")]
    rows: list[list[Any]] = [
        [_named(title, note), *(_share(one.get(name)) for one in told)] for name, title, note in MEASURES
    ]
    rows += [
        [_named(title, note), *(wording.number(one.get(name), digits) for one in told)]
        for name, title, note, digits in COUNTS
    ]
    for names, prefix, title in ((severities, SEVERITY, "Found of faults that are"), (kinds, KIND, "Found:")):
        rows += [
            [f"{title} {name[len(prefix) :].replace('_', ' ')}", *(_share(one.get(name)) for one in told)]
            for name in names
            if any(name in one for one in told)
        ]
    heads = [(_head(one, like), "model") for one, like in zip(compared, same, strict=True)]
    note = "More is better, but for false alarms and delay. The faults are injected, for every version the same."
    if not any(told):
        return parts.card("Side by side", html.P("MLflow holds no evaluation of these versions."), wide=True)
    columns = [("On injected faults", "measure"), *heads]
    table = parts.table(columns, rows, caption="Versions side by side", name="compared")
    return parts.card("Side by side", table, note=note, wide=True)


def _named(title: str, note: str) -> html.Span:
    return html.Span([title, html.Span(note, className="note")], className="measure-name")


def _head(model: ModelVersion, like: bool) -> html.Span:  # noqa: FBT001 - a zip's column
    other = [] if like else [html.Span("other faults: do not compare", className="note")]
    return html.Span([f"Version {model.version} ", *_badges(model), *other])


def _badges(model: ModelVersion) -> list[html.Span]:
    return [html.Span(alias, className=f"badge {alias}") for alias in sorted(model.aliases)]


def _share(value: float | None) -> parts.Content:
    if value is None:
        return wording.MISSING
    bar = html.Span(className="fill", style={"width": f"{100 * min(max(value, 0.0), 1.0):.0f}%"})
    return html.Span(
        [
            html.Span(bar, className="bar calm", **parts.attributes(aria_hidden="true")),
            html.Span(f"{100 * value:.0f} %", className="grade"),
        ],
        className="severity",
    )


def _registry(
    known: Sequence[ModelVersion],
    experiments: Mapping[str, str],
    *,
    serving: str | None,
    admin: bool,
    zone: tzinfo,
) -> html.Section:
    rows = [
        [
            html.Span([f"{model.version} ", *_badges(model)]),
            "judges here" if model.version == serving else "",
            model.gate or wording.MISSING,
            _decided(model, zone),
            html.Code(model.tags.get("git_revision", "")[:10]),
            _in_mlflow(model, experiments),
            _promote(model, admin=admin),
        ]
        for model in known
    ]
    columns = [
        ("Version", ""), ("Now", ""), ("Gate when it was registered", "wrap"), (f"Became champion ({zone})", ""),
        ("Code", ""), ("MLflow", ""), ("Change", ""),
    ]  # fmt: skip
    champions = sum(bool(model.tags.get("decisions")) for model in known)
    back = html.Button(
        "Roll back to the champion before", className="button", type="button", disabled=not admin or champions < 2,  # noqa: PLR2004
        **parts.attributes(data_model="rollback"),
    )  # fmt: skip
    may = "" if admin else "Only an admin's key may promote or roll back. "
    note = f"{may}Links to MLflow open the UI that “make mlflow” starts on this machine."
    table = parts.table(columns, rows, caption="Registered versions", name="registry")
    return parts.card("Registry", table, html.Div(back, className="pager"), note=note, wide=True)


def _decided(model: ModelVersion, zone: tzinfo) -> parts.Content:
    decisions = json.loads(model.tags.get("decisions", "[]"))
    if not decisions:
        return "never"
    last = decisions[-1]
    return html.Span(wording.moment(int(last["at"]), zone), title=str(last.get("reason") or ""))


def _in_mlflow(model: ModelVersion, experiments: Mapping[str, str]) -> parts.Content:
    experiment = experiments.get(model.run_id or "")
    if experiment is None:
        return wording.MISSING
    address = f"{MLFLOW_UI}/#/experiments/{experiment}/runs/{model.run_id}"
    return html.A("Run", href=address, target="_blank", rel="noopener")


def _promote(model: ModelVersion, *, admin: bool) -> parts.Content:
    if CHAMPION in model.aliases:
        return ""
    refused = {"data_refused": model.tags.get(GATE, "")} if model.refused else {}
    return html.Button(
        "Promote", className="button", type="button", disabled=not admin,
        **parts.attributes(data_model="promote", data_version=model.version, **refused),
    )  # fmt: skip
