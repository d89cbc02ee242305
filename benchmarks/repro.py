"""How long the pipeline takes, from nothing and when nothing changed: `python -m benchmarks.repro`.

In a fresh clone of the last commit, so that neither models nor registry are there. The figures go to
benchmarks/results/repro.txt.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._report import RESULTS, keep, machine

ROOT = Path(__file__).resolve().parents[1]
RUNS = (
    ("from nothing: data fetched, six stages, registered", 180.0, ["repro"]),
    ("nothing changed", 3.0, ["repro"]),
    ("a registry that is not there, all stages made before", 180.0, ["repro"]),
)


def main() -> None:
    """Measure, print, keep."""
    lines = [machine(), ""]
    with tempfile.TemporaryDirectory(prefix="meterwatch-bench-") as directory:
        clone = Path(directory) / "clone"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        (clone / ".venv").symlink_to(Path(sys.prefix))
        for what, goal, words in RUNS:
            if "registry" in what:
                for path in (clone / "mlruns/mlflow.db", clone / "mlruns/model_version.json"):
                    path.unlink()
            begun = time.perf_counter()
            subprocess.run([clone / ".venv/bin/dvc", *words], cwd=clone, check=True, stdout=subprocess.DEVNULL)
            took = time.perf_counter() - begun
            lines.append(f"{what:55s} {took:7.1f} s, <= {goal:g} s{'' if took <= goal else '  FALLS SHORT'}")
    keep("\n".join(lines), RESULTS / "repro.txt")


if __name__ == "__main__":
    main()
