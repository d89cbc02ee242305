"""What `evaluate` found, written down to be compared: runs, metrics in groups, figures, and a page in Markdown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np

from training import figures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from training.judged import Judged
    from training.tracking import Run

    Figures = Mapping[str, Mapping[str, float]]  # of each detector by name

TITLES = {  # of the detectors' runs: a stage has the same name as what it makes
    "meterwatch": "meterwatch",
    "forest": "forest alone",
    "weigher": "weigher alone",
    "sequence": "sequence model alone",
    "seed-3sigma": "seed-3sigma",
}
SEVERITIES = ("faint", "clear", "plain")  # thirds of the severity
_AT_BUDGET = ("recall", "false_alarms_a_month", "precision", "delay_h", "threshold")
# What a metric's name begins with → the group that MLflow's pages show it in; they sort the groups by name.
_GROUPS = {
    "shipped_": "shipped",
    "recall_": "by_kind_recall",
    "delay_h_": "by_kind_delay_h",
    "pinball_": "pinball",
    "kind_": "kind_told",
    "lasting_": "lasting",
}


def grouped(values: Mapping[str, float]) -> dict[str, float]:
    """Metrics by the names under which MLflow's pages group them: `recall_surge` becomes `by_kind_recall/surge`."""
    first = sorted(values, key=lambda key: key not in _AT_BUDGET)  # MLflow's comparison begins with the first
    return {_grouped(key): values[key] for key in first}


def _grouped(key: str) -> str:
    if key in _AT_BUDGET:
        return f"at_budget/{key}"
    start = next((start for start in _GROUPS if key.startswith(start)), None)
    if start is None:
        return key
    name = key.removeprefix(start)
    return f"by_severity_recall/{name}" if start == "recall_" and name in SEVERITIES else f"{_GROUPS[start]}/{name}"


def recalls(values: Mapping[str, float]) -> dict[str, float]:
    """Kind of fault → recall, of one detector's figures."""
    names = (key.removeprefix("recall_") for key in values if key.startswith("recall_"))
    return {name: values[f"recall_{name}"] for name in names if name not in SEVERITIES}


def page(found: Figures, counts: Mapping[str, int], budget: float) -> str:
    """The comparison in Markdown: a row a detector, then a row a kind of fault and a third of severity."""
    names = list(found)
    lines = [
        f"Share of {sum(counts.values())} injected faults found at {budget:g} false alarm a meter and month.",
        "*As shipped*: at the threshold that the detector comes with.",
        "",
        "| detector | found | precision | median delay (h) | as shipped: found | as shipped: false alarms a month |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        own = found[name]
        cells = [f"{own['recall']:.1%}", _cell(own.get("precision"), ".2f"), _cell(own.get("delay_h"), ".2f"),
                 _cell(own.get("shipped_recall"), ".1%"),
                 _cell(own.get("shipped_false_alarms_a_month"), ".2f")]  # fmt: skip
        lines.append(f"| {TITLES.get(name, name)} | " + " | ".join(cells) + " |")
    lines += ["", "| kind of fault | how many | " + " | ".join(TITLES.get(name, name) for name in names) + " |"]
    lines.append("|---" * (len(names) + 2) + "|")
    by_name = {name: recalls(values) for name, values in found.items()}
    for kind in sorted(counts):
        cells = [_cell(by_name[name].get(kind), ".0%") for name in names]
        lines.append(f"| {kind.replace('_', ' ')} | {counts[kind]} | " + " | ".join(cells) + " |")
    for third in SEVERITIES:
        cells = [_cell(found[name].get(f"recall_{third}"), ".0%") for name in names]
        lines.append(f"| *any, {third}* | | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def log(
    run: Run, found: Figures, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    counts: Mapping[str, int], budget: float,
) -> None:  # fmt: skip
    """A run a detector, the overall figures with the parent, and the figures that compare.

    Args:
        run: of the stage.
        found: each detector's figures, ours first.
        curves: detector → false alarms a month, recall.
        counts: kind of fault → how many there were.
        budget: false alarms a meter and month.
    """
    ours = found[next(iter(found))]
    run.metrics({"faults": sum(counts.values())})
    run.overall({**grouped(ours), **{f"by_detector_recall/{name}": values["recall"] for name, values in found.items()}})
    beside = []
    for name, values in found.items():
        with run.beside(name, TITLES.get(name, name)) as one:
            one.metrics(grouped({key: value for key, value in values.items() if key != "faults"}))
            beside.append(one.run_id)
    kinds = {TITLES.get(name, name): recalls(values) for name, values in found.items()}
    title = f"Share of faults found at {budget:g} false alarm a meter and month"
    run.figure(figures.recall_by_kind(kinds, counts, title), "recall_by_kind")
    lines = {TITLES.get(name, name): (np.array(alarms), np.array(recall)) for name, (alarms, recall) in curves.items()}
    run.figure(figures.recall_against_alarms(lines), "recall_against_alarms")
    text = page(found, counts, budget)
    run.text(text, "reports/comparison.md")
    where = f"runs={quote(json.dumps(beside))}&experiments={quote(json.dumps([run.experiment]))}"
    run.describe(f"[The detectors' runs side by side](#/compare-runs?{where}), the table below them.\n\n{text}")


def scatters(clean: Judged, faulty: Judged, seed: NDArray[np.bool_]) -> dict[str, Figure]:
    """The original's scatter of ordinary readings, of readings with faults, and the same as its own rule judges them.

    Args:
        clean: the evaluation months as they are.
        faulty: a copy with faults.
        seed: (n,) what of the copy `seed-3sigma` flags as it was shipped.
    """
    out = {}
    for name, what, judged, flagged in (
        ("anomalies", "Readings with injected faults", faulty, faulty.verdicts.anomalous),
        ("anomalies_ordinary", "Ordinary readings", clean, clean.verdicts.anomalous),
        ("anomalies_seed_3sigma", "Readings with injected faults, judged by seed-3sigma", faulty, seed),
    ):
        series = judged.series
        title = f"{what}: {flagged.sum():,} of {len(flagged):,} anomalous"
        out[name] = figures.anomalies(series.at, series.channels[0], flagged, title, judged.labels)
    return out


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"
