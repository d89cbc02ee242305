"""How long the pipeline takes, from nothing and when nothing changed: `python -m benchmarks.repro`.

In a fresh clone of the last commit, so that neither models nor registry are there. The figures go to
benchmarks/results/repro.txt.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/repro.txt"
RUNS = (
    ("from nothing: data fetched, six stages, registered", 180.0, ["repro"]),
    ("nothing changed", 3.0, ["repro"]),
    ("a registry that is not there, all stages made before", 180.0, ["repro"]),
)


def main() -> None:
    """Measure, print, keep."""
    lines = [f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}", ""]
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
    text = "\n".join(lines) + "\n"
    print(text)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(text)


if __name__ == "__main__":
    main()
