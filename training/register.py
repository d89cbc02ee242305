"""Stage `register`: the bundle becomes a version of the registered model, and champion if the gate lets it.

It runs with every `dvc repro`, and is done in a moment where the registry holds this bundle already: DVC does not see
what became of the registry.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from meterwatch.detection.detector import Detector
from meterwatch.settings import load as settings_of
from meterwatch.storage import champions, models
from training import gate, lineage, prepared, tracking
from training.native import BUNDLE
from training.outcomes import Outcomes
from training.params import load
from training.registration import register
from training.stages import command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meterwatch.settings import Settings
    from training.gate import Decision
    from training.tracking import Run

OUT = Path("mlruns/model_version.json")
EVALUATION = Path("data/reports/evaluation.json")
OUTCOMES = Path("data/reports/outcomes.json")


def _description(ours: Mapping[str, float], decision: Decision) -> str:
    """What one reads on the version's page."""
    found = (
        f"finds {ours['recall']:.1%} of the injected faults at {ours['false_alarms_a_month']:.2f} false alarms a month"
    )
    shipped = f"{ours['shipped_recall']:.1%} at {ours['shipped_false_alarms_a_month']:.2f} with its own threshold"
    return f"On the evaluation months: {found}, {shipped}. Gate: {decision.why}.\n\n{decision.table()}"


def _record(run: Run, settings: Settings, number: str, ours: Mapping[str, float], decision: Decision) -> None:
    """Keep the decision and its numbers with the version and its run."""
    told = {models.GATE: decision.why, models.GATE_PASSED: str(decision.passed).lower(),
            models.GATE_CHECKS: decision.to_json()}  # fmt: skip
    for key, value in told.items():
        run.client.set_model_version_tag(settings.model_name, number, key, value)
    run.client.update_model_version(settings.model_name, number, _description(ours, decision))
    run.tags({models.GATE: decision.why, models.GATE_PASSED: told[models.GATE_PASSED]})
    run.metrics({f"gate_worse/{one.name.replace(' ', '_')}": one.worse for one in decision.checks})
    run.metrics({f"gate_chance/{one.name.replace(' ', '_')}": one.chance for one in decision.checks})
    run.describe(f"**Version {number} is {'champion' if decision.passed else 'challenger'}.** Gate: {decision.why}.\n\n"
                 f"{decision.table()}")  # fmt: skip
    if decision.checks:
        run.text(f"{decision.why}\n\n{decision.table()}", "reports/gate.md")


def main() -> None:
    """Run the stage."""
    told, settings = load(), settings_of()
    detector = Detector.load(BUNDLE)
    digest = detector.bundle_hash
    held = models.holding(settings, digest)
    if held is not None:
        if models.champion(settings) is None:
            champions.promote(settings, held.version, "there was no champion")
        print(f"register: version {held.version} holds this bundle already")
    else:
        ours = json.loads(EVALUATION.read_text())["detectors"]["meterwatch"]
        found = Outcomes.read(OUTCOMES)
        tags = {models.BUNDLE_SHA256: digest, "recall": str(ours["recall"]), "evaluated_on": found.evaluated_on,
                "false_alarms_a_month": str(ours["false_alarms_a_month"])}  # fmt: skip
        data = prepared.read()
        tags |= {**data.tags, **lineage.revision(), **lineage.lock_hash()}
        with tracking.stage("register", {"register": told.register_.model_dump()}, tags) as run:
            decision = gate.decide(detector, found, models.champion(settings), data, told.evaluate, told.register_)
            number, model_id = register(run, settings, BUNDLE, tags)
            from training.comparison import grouped  # matplotlib: half a second, with every `dvc repro`

            run.model(model_id, grouped(ours))
            _record(run, settings, number, ours, decision)
            if decision.passed:
                champions.promote(settings, number, decision.why)
            else:
                champions.challenge(settings, number)
            print(f"register: version {number} is {'champion' if decision.passed else 'challenger'}: {decision.why}")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"model": settings.model_name, models.BUNDLE_SHA256: digest}, sort_keys=True) + "\n")


if __name__ == "__main__":
    command(main)
