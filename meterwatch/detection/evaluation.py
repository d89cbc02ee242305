"""Measures of a detector: recall at a false-alarm budget, by kind and severity, delay, band, range-aware area.

Alarms are counted as `meterwatch.detection.alarms` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.alarms import DAY_S, Counted, Scored, alarms, count, false_alarms, quiet, quiet_months
from meterwatch.detection.faults import Label

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BUDGETS = (0.5, 1.0, 2.0, 4.0)  # false alarms a meter and month
_GRID = 384  # thresholds looked at before the neighbourhood of the best is looked at again
_HOUR_S = 3_600


@dataclass(frozen=True, slots=True)
class AtBudget:
    """The lowest threshold that keeps within a budget, and what is found there."""

    budget: float
    threshold: float  # infinite where every score is over the budget
    counted: Counted


def recall_at_budgets(meters: Sequence[Scored], budgets: Sequence[float] = BUDGETS) -> list[AtBudget]:
    """The best recall over all thresholds whose false alarms stay within each budget.

    A lower threshold finds what a higher one does, so the lowest that keeps within the budget is the best. The rate
    is not monotone (alarms merge as a threshold sinks), so thresholds are searched from below: all distinct scores
    where they are few, otherwise a grid of them and then all around the best.

    Args:
        meters: scores and labels of each meter, pooled.
        budgets: false alarms a meter and month.
    """
    pooled = _pool(meters)
    months = sum(quiet_months(one) for one in meters)
    return [_best(pooled, months, budget, meters) for budget in budgets]


def recall_at_budget(meters: Sequence[Scored], budget: float = 1.0) -> AtBudget:
    """`recall_at_budgets` for one budget."""
    return recall_at_budgets(meters, [budget])[0]


def _pool(meters: Sequence[Scored]) -> Scored:
    """All meters on one line of time, far enough apart that no alarm reaches from one to the next."""
    at, score, labels, base = [], [], [], 0
    for one in meters:
        if not len(one.at):
            continue
        reach = [int(one.at[0]), int(one.at[-1]), *(t for label in one.labels for t in (label.start_at, label.end_at))]
        shift = base - min(reach)
        at.append(one.at + shift)
        score.append(one.score)
        labels += [
            Label(fault.kind, fault.start_at + shift, fault.end_at + shift, fault.severity, fault.size)
            for fault in one.labels
        ]
        base += 2 * (max(reach) - min(reach)) + 2 * DAY_S
    if not at:
        return Scored(np.zeros(0, np.int64), np.zeros(0), [], 1)
    return Scored(np.concatenate(at), np.concatenate(score), labels, 1)


def _best(pooled: Scored, months: float, budget: float, meters: Sequence[Scored]) -> AtBudget:
    allowed = budget * months + 1e-9
    peaks = -np.sort(-_quiet_peaks(pooled))
    # So many quiet days may be hot before the budget is surely spent; what is below need not be looked at.
    days = 4 * int(allowed) + 4 * len(pooled.labels) + 8
    while True:
        floor = peaks[days] if days < len(peaks) else -np.inf
        kept = pooled.score >= floor
        part = Scored(pooled.at[kept], pooled.score[kept], pooled.labels, pooled.cadence_s)
        candidates = np.append(np.unique(part.score), np.inf)
        threshold = _lowest_within(part, candidates, allowed)
        if threshold > candidates[0] or floor == -np.inf:
            return AtBudget(budget, threshold, count(meters, threshold))
        days *= 4


def _quiet_peaks(pooled: Scored) -> Floats:
    known = np.isfinite(pooled.score)
    known[known] = quiet(pooled.at[known], pooled.labels)
    _, day = np.unique(pooled.at[known] // DAY_S, return_inverse=True)
    peaks = np.full(day.max() + 1 if len(day) else 0, -np.inf)
    np.maximum.at(peaks, day, pooled.score[known])
    return peaks


def _lowest_within(part: Scored, candidates: Floats, allowed: float) -> float:
    low, high = 0, len(candidates) - 1
    while True:
        places = np.unique(np.linspace(low, high, _GRID).round().astype(np.int64)).tolist()
        costs = (false_alarms(*alarms(part.at, part.score >= candidates[i]), part.labels) for i in places)
        first = next(k for k, cost in enumerate(costs) if cost <= allowed)
        if first == 0 or places[first] == places[first - 1] + 1:
            return float(candidates[places[first]])
        low, high = places[first - 1] + 1, places[first]


def by_kind(labels: Sequence[Label], found: NDArray[np.bool_]) -> dict[str, float]:
    """Recall of each kind."""
    return _recalls(labels, found, lambda label: label.kind)


def by_severity(labels: Sequence[Label], found: NDArray[np.bool_]) -> dict[str, float]:
    """Recall of faint, clear and plain faults: thirds of severity."""
    return _recalls(labels, found, lambda label: ("faint", "clear", "plain")[min(int(3 * label.severity), 2)])


def _recalls(labels: Sequence[Label], found: NDArray[np.bool_], key: Callable[[Label], str]) -> dict[str, float]:
    keys = np.array([key(label) for label in labels])
    return {str(name): float(found[keys == name].mean()) for name in np.unique(keys)}


def coverage(actual: Floats, lower: Floats, upper: Floats) -> float:
    """Share of readings inside the band, of those that have one; NaN where none has."""
    known = np.isfinite(actual) & np.isfinite(lower) & np.isfinite(upper)
    inside = (actual >= lower) & (actual <= upper)
    return float(inside[known].mean()) if known.any() else float("nan")


def pinball(actual: Floats, predicted: Floats, quantile: float) -> float:
    """Mean pinball loss of a predicted quantile, in the readings' unit; NaN where nothing is known."""
    error = actual - predicted
    error = error[np.isfinite(error)]
    return float(np.maximum(quantile * error, (quantile - 1) * error).mean()) if len(error) else float("nan")


def vus_pr(meters: Sequence[Scored], buffers_s: Sequence[int] = (0, 6 * _HOUR_S, 12 * _HOUR_S, 24 * _HOUR_S)) -> float:
    """Volume under the surface of range-aware precision and recall, over thresholds and buffers around faults.

    Source: Paparrizos et al. 2022, VLDB 15(11), doi 10.14778/3551793.3551830, with four buffers and the area by
    rank instead of 250 thresholds: a reading next to a fault counts in part, sqrt(1 - distance / buffer), recall is
    multiplied by the share of faults of which a reading was reached. NaN where there is no fault or no score.
    """
    pooled = _pool(meters)
    known = np.isfinite(pooled.score)
    if not pooled.labels or not known.any():
        return float("nan")
    at, score = pooled.at[known], pooled.score[known]
    return float(np.mean([_range_area(at, score, pooled.labels, buffer) for buffer in buffers_s]))


def _range_area(at: NDArray[np.int64], score: Floats, labels: Sequence[Label], buffer_s: int) -> float:
    soft, peaks = np.zeros(len(at)), []
    for label in labels:
        part = slice(*np.searchsorted(at, [label.start_at - buffer_s, label.end_at + buffer_s + 1]))
        away = np.maximum(np.maximum(label.start_at - at[part], at[part] - label.end_at), 0)
        soft[part] = np.maximum(soft[part], np.sqrt(np.maximum(1 - away / max(buffer_s, 1), 0)))
        if part.stop > part.start:
            peaks.append(score[part].max())
    hard = int((soft == 1).sum())
    positives = (hard + soft.sum()) / 2
    if not peaks or positives == 0:
        return float("nan")
    order = np.argsort(-score, kind="stable")
    last = np.append(score[order][1:] != score[order][:-1], True)  # equal scores come in together
    hits = np.cumsum(soft[order])[last]
    ranks = np.arange(1, len(order) + 1)[last]
    reached = 1 - np.searchsorted(np.sort(peaks), score[order][last], side="left") / len(peaks)
    recall = np.minimum(hits / positives, 1) * reached
    precision = hits / ranks
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def summary(meters: Sequence[Scored], shipped: float, budgets: Sequence[float] = BUDGETS) -> dict[str, float]:
    """The named figures of a run, flat, ready for a table of metrics.

    Args:
        meters: scores and labels of each meter.
        shipped: the threshold that the detector comes with.
        budgets: false alarms a meter and month.
    """
    labels = [label for one in meters for label in one.labels]
    figures = {"faults": float(len(labels)), "vus_pr": vus_pr(meters)}
    for at_budget in recall_at_budgets(meters, budgets):
        figures |= _figures(f"at_{at_budget.budget:g}", at_budget.counted, labels)
        figures[f"at_{at_budget.budget:g}_threshold"] = at_budget.threshold
    return figures | _figures("shipped", count(meters, shipped), labels)


def _figures(prefix: str, counted: Counted, labels: Sequence[Label]) -> dict[str, float]:
    delay = counted.delay_s[np.isfinite(counted.delay_s)]
    figures = {
        "recall": counted.recall,
        "rate": counted.rate,
        "precision": counted.precision,
        "delay_h": float(np.median(delay)) / _HOUR_S if len(delay) else float("nan"),
    }
    kinds = np.array([label.kind for label in labels])
    for kind in np.unique(kinds):
        mine = counted.delay_s[kinds == kind]
        mine = mine[np.isfinite(mine)]
        figures[f"delay_h_{kind}"] = float(np.median(mine)) / _HOUR_S if len(mine) else float("nan")
    figures |= {f"recall_{name}": value for name, value in by_kind(labels, counted.found).items()}
    figures |= {f"recall_{name}": value for name, value in by_severity(labels, counted.found).items()}
    return {f"{prefix}_{name}": value for name, value in figures.items()}
