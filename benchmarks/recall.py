"""What is found at how many false alarms in meters' later part, after training on the earlier one, peers beside it.

    python -m benchmarks.recall FILE --train-end TIME [--copies N] [--peers NAME,…] [--out FILE]

FILE is what `meterwatch backtest` reads, or the London households as they are published (a tar of CSV files with
LCLid, tstp and energy(kWh/hh)). Models are made of what is before TIME, as in a backtest. What follows is judged once
as it is and then in copies with injected faults of other seeds, which the peers judge as well.
"""

from __future__ import annotations

import argparse
import tarfile
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmarks._report import RESULTS, keep, machine
from meterwatch.detection.alarms import Scored, count
from meterwatch.detection.detector import Detector
from meterwatch.detection.evaluation import BUDGETS, by_kind, by_severity, recall_at_budgets
from meterwatch.detection.faults import inject_many
from training.baselines import BASELINES
from training.checks import cadence_s
from training.fit import FitParams, fit
from training.meter_files import meters, read_frame
from training.series import Series, together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meterwatch.detection.faults import Label
    from meterwatch.detection.readings import Observation

LONDON = {"LCLid": "meter_id", "tstp": "at", "energy(kWh/hh)": "energy_kwh"}
FEWEST = 14 * 48  # readings on either side of the moment; a meter with fewer is left out
PER_MONTH = 4.0
SEED = 770_001


def frame_of(file: Path) -> pd.DataFrame:
    """A file of readings, or the London households."""
    if ".tar" not in file.suffixes:
        return read_frame(file)
    with tarfile.open(file) as archive:
        parts = [pd.read_csv(archive.extractfile(one)) for one in archive if one.name.endswith(".csv")]  # type: ignore[arg-type]
    return pd.concat(parts).rename(columns=LONDON)


def judged(
    detector: Detector, known: Observation, after: Sequence[Series], labels: Sequence[Sequence[Label]]
) -> list[Scored]:
    """Scores of each meter's later part, from the states that the earlier one left."""
    ids = [one.meter_id for one in after]
    score = detector.observe(ids, known.states, known.profiles, together(after)).verdicts.score
    edges = np.cumsum([0, *(len(one.at) for one in after)])
    return [Scored(one.at, score[edges[i] : edges[i + 1]], labels[i], cadence_s(one.at)) for i, one in enumerate(after)]


def row(name: str, scored: list[Scored]) -> str:
    """A detector's recall at each budget."""
    return f"{name:18}" + "".join(f"{at.counted.recall:>9.1%}" for at in recall_at_budgets(scored))


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--train-end", required=True)
    parser.add_argument("--copies", type=int, default=3)
    parser.add_argument("--peers", default="weekly-z,seed-iforest")
    parser.add_argument("--out", type=Path)
    told = parser.parse_args()
    where, since = machine(), int(pd.Timestamp(told.train_end, tz="UTC").timestamp())
    every = meters(frame_of(told.file), "UTC", None).series
    parts = [(one.between(0, since), one.between(since, np.iinfo(np.int64).max)) for one in every]
    before, after = zip(*(pair for pair in parts if min(len(part.at) for part in pair) >= FEWEST), strict=True)
    with tempfile.TemporaryDirectory() as scratch:
        detector = Detector.load(fit(before, FitParams(), Path(scratch), progress=print))
    threshold = detector.params.threshold
    ids: list[str] = [one.meter_id for one in before]
    known = detector.observe(ids, [None] * len(ids), [None] * len(ids), together(before))
    clean = judged(detector, known, after, [[] for _ in after])
    ours: list[Scored] = []
    peers: dict[str, list[Scored]] = {name: [] for name in told.peers.split(",") if name}
    for copy in range(told.copies):
        faulty, labels = [], []
        for i, one in enumerate(after):
            channels, found = inject_many(one.at, one.channels, seed=SEED + copy * 1000 + i, per_month=PER_MONTH)
            faulty.append(Series(one.meter_id, one.at, channels))
            labels.append(found)
        ours += judged(detector, known, faulty, labels)
        for name, scored in peers.items():
            for history, one, found in zip(before, faulty, labels, strict=True):
                at, score = BASELINES[name](history, one)
                scored.append(Scored(at, score, found, max(cadence_s(at), cadence_s(one.at))))
    every_label = [label for one in ours for label in one.labels]
    best = recall_at_budgets(ours, [1.0])[0].counted
    shipped, ordinary = count(ours, threshold), count(clean, threshold)
    kinds = Counter(label.kind for label in every_label)
    lines = [
        f"{told.file.name}: {len(before)} meters, trained before {told.train_end}, {len(every_label)} faults injected",
        where,
        "recall at so many false alarms a meter and month:",
        f"{'':18}" + "".join(f"{budget:>9g}" for budget in BUDGETS),
        row("meterwatch", ours),
        *(row(name, scored) for name, scored in peers.items()),
        f"as shipped: {shipped.recall:.1%} at {shipped.rate:.2f} a month; ordinary months {ordinary.rate:.2f}",
        f"median delay at 1: {np.nanmedian(best.delay_s) / 3600:.1f} h",
        "recall at 1 by kind: "
        + ", ".join(f"{kind} {value:.0%} of {kinds[kind]}" for kind, value in by_kind(every_label, best.found).items()),
        "by severity: "
        + ", ".join(f"{name} {value:.0%}" for name, value in by_severity(every_label, best.found).items()),
    ]
    keep("\n".join(lines), told.out or RESULTS / f"recall-{told.file.name.split('.')[0]}.txt")


if __name__ == "__main__":
    main()
