"""The pipeline's description: every stage names what it reads, so that a change runs just the right stages."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# Where things run and what is written down about them changes no output.
APART = {"training/tracking.py", "training/lineage.py", "training/stages.py", "training/figures.py",
         "meterwatch/settings.py"}  # fmt: skip
ORDER = ["prepare", "forest", "sequence", "calibrate", "evaluate", "register"]
READS = {  # sections of params.yaml
    "prepare": {"prepare", "splits"},
    "forest": {"forest", "detector"},
    "sequence": {"sequence", "detector"},
    "calibrate": {"calibrate", "detector"},
    "evaluate": {"evaluate", "seed_3sigma"},
    "register": {"evaluate", "register"},
}


def sources(module: str) -> set[str]:
    """The project's files that importing a module at run time reads, itself included; type checkers' imports apart."""
    found: set[str] = set()
    queue = [module]
    while queue:
        path = next((p for p in (f"{queue[-1].replace('.', '/')}.py",) if (ROOT / p).is_file()), None)
        name = queue.pop()
        if path is None or path in found or path in APART:
            continue
        found.add(path)
        tree = ast.parse((ROOT / path).read_text())
        typing_only = {
            id(node)
            for block in ast.walk(tree)
            if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
            for node in ast.walk(block)
        }
        for node in ast.walk(tree):
            if id(node) in typing_only:
                continue
            if isinstance(node, ast.Import):
                queue += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                queue += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        assert name
    return found


def files(entries: list[str | dict[str, object]]) -> set[str]:
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


def test_stages_stand_in_the_contracts_order() -> None:
    assert list(STAGES) == ORDER


@pytest.mark.parametrize("stage", ORDER)
def test_a_stage_depends_on_every_module_it_imports(stage: str) -> None:
    expected = sources(f"training.{stage}")

    named = {path for path in files(STAGES[stage]["deps"]) if path.endswith(".py")}

    # The model's code is copied, not imported.
    assert expected == named - {"training/mlflow_model.py"}


@pytest.mark.parametrize("stage", ORDER)
def test_a_stage_depends_on_its_parameters(stage: str) -> None:
    assert READS[stage] == set(STAGES[stage]["params"])


def test_every_output_that_a_stage_reads_is_made_by_one_before() -> None:
    made: set[str] = set()
    for stage in ORDER:
        inputs = {path for path in files(STAGES[stage]["deps"]) if path.startswith("data/") and "raw" not in path}
        assert inputs <= made, stage
        for kind in ("outs", "metrics"):
            made |= files(STAGES[stage].get(kind, []))


def test_no_output_needs_a_remote() -> None:
    """`dvc pull` in a fresh clone must not look for what was never pushed."""
    for name, stage in STAGES.items():
        for entry in (*stage.get("outs", []), *stage.get("metrics", [])):
            assert isinstance(entry, dict), f"{name}: {entry}"
            assert next(iter(entry.values()))["cache"] is False, f"{name}: {entry}"
