"""The pipeline in a fresh clone: DVC, MLflow and every stage for real, on two months and small models."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from meterwatch.settings import Settings
from tests.households import YEAR
from tests.instances import ROOT

DVC = Path(sys.executable).with_name("dvc")
PARTS = (".dvc/config", ".dvc/.gitignore", ".dvc/plots", ".dvc/plots.html", ".dvcignore", "dvc.yaml", "dvc.lock",
         "params.yaml", "pyproject.toml", "README.md", "LICENSE", "scripts", "training", "meterwatch",
         "data/raw/.gitignore", "data/remote", "mlruns/README.md")  # fmt: skip
RAW = str(YEAR.relative_to(ROOT))
STAGES = ["prepare", "forest", "sequence", "calibrate", "evaluate", "register"]
SMALL = {
    "splits": {"household_power_consumption_2007": {
        "train": "2007-01-01", "calibrate": "2007-02-05", "evaluate": "2007-02-25", "end": "2007-03-15",
    }},
    "detector": {"threshold": -1.0},  # ten alarms a month: a few days bring events
    "forest": {"trees": 8, "sample": 128},
    "sequence": {"filters": 4, "epochs": 1, "segments": 200},
    "calibrate": {"faults": 1, "iterations": 8, "folds": 2, "faults_per_month": 12.0},
    "evaluate": {"copies": 1, "faults_per_month": 6.0},
    "seed_3sigma": {"k": 3.0, "units": 4, "epochs": 1, "windows": 500},
}  # fmt: skip


def clone(place: Path) -> Path:
    """What git holds, committed anew, with the environment beside it."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, place / part, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            (place / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, place / part)
    shutil.copy(ROOT / f"{RAW}.dvc", place / f"{RAW}.dvc")
    (place / ".gitignore").write_text((ROOT / ".gitignore").read_text() + "\n/.venv\n")
    (place / ".venv").symlink_to(Path(sys.executable).parents[1])
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        git(place, *words)
    return place


def git(place: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@t", *words]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, check=True).stdout


def dvc(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("METERWATCH_")}
    return subprocess.run([DVC, *words], cwd=place, capture_output=True, text=True, check=False, env=env)


def told(place: Path, changes: dict[str, dict[str, object]]) -> None:
    path = place / "params.yaml"
    values = yaml.safe_load(path.read_text())
    for section, few in changes.items():
        values[section] |= few
    path.write_text(yaml.safe_dump(values))


def ran(place: Path, *words: str) -> list[str]:
    """The stages that `dvc repro` ran."""
    done = dvc(place, "repro", *words)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")]


def settings(place: Path) -> Settings:
    return Settings(mlflow_tracking_uri=f"sqlite:///{place}/mlruns/mlflow.db")
