"""What each candidate threshold would mean, before one is applied."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from meterwatch.detection.suggestion import STEPS, candidates, lowest
from meterwatch.storage import models
from meterwatch.storage.evidence import evidence

if TYPE_CHECKING:
    from meterwatch.settings import Settings


def suggestion(settings: Settings, budget: float) -> dict[str, Any]:
    """Candidates around the champion's threshold with what stored scores and labels say of each.

    Args:
        settings: where registry and database are.
        budget: false alarms a meter and month that are wanted at most.

    Returns:
        `threshold` (the champion's), `suggested` (the lowest candidate within the budget; null where none is, or
        nothing was judged), `months` judged, `versions` that judged, counts of labels, and `candidates`.

    Raises:
        RegistryError: there is no champion.
    """
    champion = models.champion(settings)
    if champion is None:
        raise models.RegistryError("there is no champion whose threshold could change; `dvc repro` makes one")
    now = float(json.loads((champion.bundle_dir / "params.json").read_text())["threshold"])
    known = evidence(settings, now + min(STEPS))
    found = candidates(known.meters, known.wrong, known.months, [now + step for step in STEPS]) if known.months else []
    best = lowest(found, budget)
    return {
        "threshold": now,
        "budget": budget,
        "suggested": best.threshold if best else None,
        "months": known.months,
        "versions": known.versions,
        "real": sum(len(one.labels) for one in known.meters),
        "false_alarms": sum(len(one) for one in known.wrong),
        "candidates": [asdict(one) for one in found],
    }
